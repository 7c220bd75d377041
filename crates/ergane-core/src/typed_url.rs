//! A base URL as somebody typed it, taken apart into what can be shown and what may be a secret.
//!
//! It is read without asking whether it is a URL at all: what is no URL may hold a secret as well, and its mistakes are
//! told to people. So there is one reader for all who keep such a text, show it, or tell two of them apart.

/// A base URL as it was typed.
///
/// ```
/// use ergane_core::TypedUrl;
///
/// let gateway = TypedUrl::new("https://gateway.example/v1?key=sk-1");
/// assert_eq!((gateway.shown(), gateway.query()), ("https://gateway.example/v1", Some("key=sk-1")));
/// assert!(gateway.may_hold_a_secret());
/// assert!(!TypedUrl::new("http://gpu-box:11434/v1").may_hold_a_secret());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TypedUrl<'a> {
    /// What stands before a `?` or a `#`.
    place: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> TypedUrl<'a> {
    /// Takes it apart.
    pub fn new(typed: &'a str) -> Self {
        let (rest, fragment) = typed.split_once('#').unwrap_or((typed, ""));
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        Self { place: place.trim(), query: query.trim(), fragment: fragment.trim() }
    }

    /// Whether there may be a secret in it: something in a query, behind a `#`, or before an `@`.
    pub fn may_hold_a_secret(&self) -> bool {
        !self.query.is_empty() || !self.fragment.is_empty() || self.names_a_user()
    }

    /// What may be shown of it: no query, nothing behind a `#`, and none of it when there may be a password.
    pub fn shown(&self) -> &'a str {
        if self.names_a_user() { "a URL that is not shown" } else { self.place }
    }

    /// What its query holds; `None` when there is nothing in it.
    pub fn query(&self) -> Option<&'a str> {
        Some(self.query).filter(|query| !query.is_empty())
    }

    /// Whether a user's name, and a password perhaps, may stand before its host. A `/`, `?` or `#` in a password ends what looks
    /// like the server, and then what stands behind the colon there is no port. Only an `@` in a path tells nothing.
    fn names_a_user(&self) -> bool {
        let rest = self.place.split_once("://").map_or(self.place, |(_, rest)| rest);
        let (server, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
        let port = server.rsplit_once([':', ']']).map_or("", |(_, port)| port);
        let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
        [server, self.query, self.fragment].iter().any(|part| part.contains('@'))
            || (!is_port && path.contains('@'))
    }
}

impl std::fmt::Debug for TypedUrl<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedUrl").field(&self.shown()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_url_is_known_and_not_shown_however_it_is_typed() {
        for plain in [
            "",
            "localhost:8080",
            "http://host/v1/",
            "http://host/@team/v1",
            "http://host:80/@team",
            "[::1]:80/@a",
            "http://[::1]/@a",
            "host/a@b",
        ] {
            let url = TypedUrl::new(plain);
            assert!(!url.may_hold_a_secret(), "{plain}");
            assert_eq!((url.shown(), url.query()), (plain, None));
        }
        assert!(!TypedUrl::new("https://host/v1?").may_hold_a_secret());
        for secret in [
            "http://host/v1?key=planted",
            "host?planted",
            "http://host/v1#planted",
            "http://host/v1#?planted",
            "http://planted@host",
            "me:planted@host/v1",
            "http://me:planted@not a host/v1",
            "http://me:planted/planted@host/v1",
            "http://me:planted?planted@host/v1",
            "planted#planted@host/v1",
            "planted@host\\x",
        ] {
            let url = TypedUrl::new(secret);
            assert!(url.may_hold_a_secret(), "{secret}");
            assert!(!url.shown().contains("planted") && !format!("{url:?}").contains("planted"), "{secret}");
        }
    }

    #[test]
    fn a_query_is_what_stands_between_the_question_mark_and_a_fragment() {
        let query = |typed| TypedUrl::new(typed).query();
        assert_eq!(query(" http://host/v1?a=1&b=2 #c"), Some("a=1&b=2"));
        assert_eq!((query("http://host/v1? "), query("http://host/v1#a?b")), (None, None));
    }
}
