//! Base URLs as people type them.

use ergane_core::{ProviderError, Text, TypedUrl};
use reqwest::Url;
use secrecy::SecretString;

use crate::provider::invalid;

/// Where a provider is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    url: Url,
    shown: Text,
}

/// What belongs to an API's base and what to its calls.
pub(crate) struct PathRules {
    /// Ends that people copy along with the base, the longest first.
    pub(crate) strip: &'static [&'static str],
    /// The path when none is given.
    pub(crate) default: &'static str,
}

impl BaseUrl {
    /// Reads what somebody typed: with or without a scheme, a slash at the end, the version, or a call's whole path.
    pub(crate) fn parse(typed: &str, rules: &PathRules) -> Result<Self, ProviderError> {
        let bad = |why: &str| {
            let quoted = TypedUrl::new(typed).shown();
            invalid(format!("{quoted:?} is no base URL: {why}; it looks like http://localhost:8080/v1"))
        };
        let trimmed = typed.trim();
        let mut url = match trimmed.split_once("://") {
            Some(_) => Url::parse(trimmed),
            None => {
                let plain = Url::parse(&format!("http://{trimmed}"));
                match &plain {
                    Ok(url) if !is_near(url) => Url::parse(&format!("https://{trimmed}")),
                    _ => plain,
                }
            }
        }
        .map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("it must begin with http:// or https://"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(bad("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not quoted: there is a password in it.
            return Err(invalid(
                "the base URL holds a user name or password; keys come from an environment variable or a file only",
            ));
        }
        url.set_fragment(None);
        let mut path = url.path().trim_end_matches('/').to_owned();
        if let Some(end) = rules.strip.iter().find(|end| path.ends_with(**end)) {
            path.truncate(path.len() - end.len());
        }
        if path.is_empty() {
            path.push_str(rules.default);
        }
        url.set_path(&path);
        let shown = format!("{}{}", url.origin().ascii_serialization(), url.path().trim_end_matches('/'));
        Ok(Self { url, shown: shown.into() })
    }

    /// Whether there is a query, and so perhaps a secret.
    pub(crate) fn has_query(&self) -> bool {
        self.url.query().is_some()
    }

    /// What stands in the query, as it is meant and as it is sent: some gateways take their key there.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = SecretString> {
        let meant = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let pairs = self.url.query().unwrap_or_default().split('&');
        let sent = pairs.filter_map(|pair| pair.split_once('=')).map(|(_, value)| value.to_owned());
        meant.chain(sent).map(SecretString::from)
    }

    /// For people: without a query, which may hold a secret.
    pub(crate) fn shown(&self) -> &Text {
        &self.shown
    }

    /// The URL of a call. A query of its own comes before that of the base.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&(base + path));
        if let Some(query) = query {
            let both = url.query().map_or_else(|| query.to_owned(), |own| format!("{query}&{own}"));
            url.set_query(Some(&both));
        }
        url
    }

    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port, also where the scheme implies it.
    pub(crate) fn port(&self) -> Option<u16> {
        self.url.port_or_known_default()
    }

    pub(crate) fn same_server(&self, other: &Self) -> bool {
        self.url.origin() == other.url.origin()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.url)
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a host without a scheme most likely means plain HTTP: this machine, an address, a name without dots.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    is_loopback(url) || host.parse::<std::net::IpAddr>().is_ok() || !host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: PathRules = PathRules { strip: &["/chat/completions"], default: "/v1" };

    fn shown(typed: &str) -> String {
        BaseUrl::parse(typed, &RULES).unwrap().shown.to_string()
    }

    #[test]
    fn a_base_url_is_understood_in_every_way_it_is_typed() {
        for typed in [
            "http://localhost:8080",
            "http://localhost:8080/",
            "http://localhost:8080/v1",
            "http://localhost:8080/v1/",
            "http://localhost:8080/v1/chat/completions",
            " localhost:8080 ",
            "localhost:8080/v1/",
        ] {
            assert_eq!(shown(typed), "http://localhost:8080/v1", "{typed:?}");
        }
        assert_eq!(shown("https://openrouter.ai/api/v1"), "https://openrouter.ai/api/v1");
        assert_eq!(shown("api.example.com"), "https://api.example.com/v1");
        assert_eq!(shown("192.168.1.7:1234"), "http://192.168.1.7:1234/v1");
        assert_eq!(shown("[::1]:1234"), "http://[::1]:1234/v1");
        let azure = BaseUrl::parse("https://x.example/openai/deployments/d?api-version=1", &RULES).unwrap();
        assert_eq!(
            azure.join("/chat/completions").as_str(),
            "https://x.example/openai/deployments/d/chat/completions?api-version=1"
        );
        assert_eq!(&**azure.shown(), "https://x.example/openai/deployments/d");
        let local = BaseUrl::parse("localhost:8080", &RULES).unwrap();
        assert_eq!((local.join("/../props").path(), local.port()), ("/props", Some(8080)));
        assert_eq!(azure.join("/models?limit=9").query(), Some("limit=9&api-version=1"));
    }

    #[test]
    fn what_is_no_base_url_is_refused_and_a_password_in_it_is_not_quoted() {
        for typed in ["", "http://", "ftp://host/", "http://exa mple", "file:///etc/passwd"] {
            assert!(BaseUrl::parse(typed, &RULES).is_err(), "{typed:?}");
        }
        let error = BaseUrl::parse("https://me:planted@host/v1", &RULES).unwrap_err();
        assert!(!error.to_string().contains("planted"), "{error}");
    }
}
