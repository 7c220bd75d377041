//! Takes secrets out of what is written down: whoever knows how a key may be written is the provider's [`Redactor`].

use std::sync::Arc;

use bytes::Bytes;
use ergane_provider::wire::Redactor;
use reqwest::Url;

use super::file::Part;

/// Headers that carry a key.
const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// What the formats themselves ask by a query is no secret, and what a base URL brings along may be one whatever it is
/// called.
fn is_told_by_the_format(name: &str) -> bool {
    matches!(name, "alt" | "limit" | "pageSize" | "pageToken" | "after_id" | "before_id" | "api-version")
}

/// The secrets that are known so far.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    known: Vec<Arc<str>>,
    redactor: Redactor,
}

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if !self.known.iter().any(|known| **known == *secret) {
            self.known.push(secret.into());
            self.redactor = Redactor::new(self.known.iter().map(|known| known.to_string().into()));
        }
    }

    /// Learns the keys that a request carries.
    pub(super) fn learn(&mut self, headers: &[(String, String)], path: &str) {
        for (name, value) in headers {
            if KEY_HEADERS.iter().any(|key| name.eq_ignore_ascii_case(key)) {
                self.add(value.rsplit(' ').next().unwrap_or(value));
            }
        }
        // As they were sent, and as they are meant: a server may say them back in either way.
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let sent = query.split('&').filter_map(|pair| pair.split_once('='));
        for (_, value) in sent.filter(|(name, _)| !is_told_by_the_format(name)) {
            self.add(value);
        }
        if let Ok(url) = Url::parse(&format!("http://localhost{path}")) {
            for (_, value) in url.query_pairs().filter(|(name, _)| !is_told_by_the_format(name)) {
                self.add(&value);
            }
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        self.redactor.redact(text)
    }

    pub(super) fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut parts = vec![Part { after_ms: 0, bytes: Bytes::copy_from_slice(bytes) }];
        self.parts(&mut parts);
        parts.pop().map(|part| part.bytes.to_vec()).unwrap_or_default()
    }

    /// In a body that came in pieces: what stands in a secret's place goes to the piece in which it began.
    pub(super) fn parts(&self, parts: &mut [Part]) {
        let whole: Vec<u8> = parts.iter().flat_map(|part| part.bytes.iter().copied()).collect();
        let hits = self.redactor.find(&whole);
        if hits.is_empty() {
            return;
        }
        let (mut at, mut hits) = (0, hits.into_iter().peekable());
        for part in parts {
            let mut scrubbed = Vec::with_capacity(part.bytes.len());
            for byte in &part.bytes {
                hits.next_if(|hit| hit.end <= at);
                match hits.peek() {
                    Some(hit) if hit.start == at => scrubbed.extend_from_slice(Redactor::REDACTED.as_bytes()),
                    Some(hit) if hit.contains(&at) => {}
                    _ => scrubbed.push(*byte),
                }
                at += 1;
            }
            part.bytes = scrubbed.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(pieces: &[&str]) -> Vec<String> {
        let mut secrets = Secrets::default();
        secrets.learn(&[("Authorization".into(), "Bearer sk-secret".into())], "/v1/x?key=other-key&b=1");
        let part = |text: &&str| Part { after_ms: 0, bytes: Bytes::copy_from_slice(text.as_bytes()) };
        let mut parts: Vec<Part> = pieces.iter().map(part).collect();
        secrets.parts(&mut parts);
        parts.iter().map(|part| String::from_utf8_lossy(&part.bytes).into_owned()).collect()
    }

    #[test]
    fn what_a_base_url_brings_in_its_query_is_a_secret_whatever_it_is_called() {
        let mut secrets = Secrets::default();
        secrets.learn(&[], "/v1/x?alt=sse_events&sig=a%2Bb%3Dc&api-version=2024-10-21&team=blue-team");
        let heard = "sig a%2Bb%3Dc or a+b=c of blue-team by sse_events and 2024-10-21";
        assert_eq!(
            secrets.text(heard),
            "sig [redacted] or [redacted] of [redacted] by sse_events and 2024-10-21"
        );
    }

    #[test]
    fn a_switch_in_the_query_is_no_secret_and_leaves_the_bodies_as_they_are() {
        let mut secrets = Secrets::default();
        secrets.learn(&[], "/v1/messages?beta=true&trace=false&key=a-key");
        assert_eq!(
            secrets.text(r#"{"stream":true,"store":false,"k":"a-key"}"#),
            r#"{"stream":true,"store":false,"k":"[redacted]"}"#
        );
    }

    #[test]
    fn a_secret_is_found_however_a_server_writes_it() {
        let mut secrets = Secrets::default();
        secrets.add("a+b/\"c");
        secrets.add("x");
        for written in [r#"a+b/"c"#, r#"a+b/\"c"#, r#"a+b\/\"c"#, "a%2Bb%2F%22c", "a%2bb%2f%22c"] {
            assert_eq!(secrets.text(&format!("x <{written}>")), "x <[redacted]>", "{written}");
        }
    }

    #[test]
    fn a_secret_is_found_where_it_is_whole_and_where_it_is_split() {
        assert_eq!(scrubbed(&["a sk-secret b"]), ["a [redacted] b"]);
        assert_eq!(scrubbed(&["a sk-se", "cret b"]), ["a [redacted]", " b"]);
        assert_eq!(scrubbed(&["s", "k", "-secre", "t", "!"]), ["[redacted]", "", "", "", "!"]);
        assert_eq!(scrubbed(&["sk-secretsk-secret", " other-key"]), ["[redacted][redacted]", " [redacted]"]);
        assert_eq!(scrubbed(&["sk-secre", " t"]), ["sk-secre", " t"]);
    }
}
