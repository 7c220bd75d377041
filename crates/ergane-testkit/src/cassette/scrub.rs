//! Takes secrets out of what is written down.

use bytes::Bytes;

use super::file::Part;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Shorter than this is no secret, and would be found everywhere.
const SHORTEST: usize = 4;

/// Headers that carry a key.
const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// What the formats themselves ask by a query is no secret, and what a base URL brings along may be one whatever it is
/// called.
fn is_told_by_the_format(name: &str) -> bool {
    matches!(name, "alt" | "limit" | "pageSize" | "pageToken" | "after_id" | "before_id" | "api-version")
}

/// A switch, whatever it is called: no secret, and a word of every JSON.
fn is_a_switch(value: &str) -> bool {
    matches!(value, "true" | "false")
}

/// `a%2Bb` as `a+b`.
fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                bytes.push(decoded);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The secrets that are known so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() >= SHORTEST && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
            // A secret that holds another one goes first.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// Learns the keys that a request carries.
    pub(super) fn learn(&mut self, headers: &[(String, String)], path: &str) {
        for (name, value) in headers {
            if KEY_HEADERS.iter().any(|key| name.eq_ignore_ascii_case(key)) {
                self.add(value.rsplit(' ').next().unwrap_or(value));
            }
        }
        let query = path.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if !is_told_by_the_format(name) && !is_a_switch(value) {
                self.add(value);
                // As a server may say it back.
                self.add(&percent_decoded(value));
            }
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
    }

    pub(super) fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut parts = vec![Part { after_ms: 0, bytes: Bytes::copy_from_slice(bytes) }];
        self.parts(&mut parts);
        parts.pop().map(|part| part.bytes.to_vec()).unwrap_or_default()
    }

    /// In a body that came in pieces: what stands in a secret's place goes to the piece in which it began.
    pub(super) fn parts(&self, parts: &mut [Part]) {
        for secret in &self.0 {
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.bytes.iter().copied()).collect();
            let hits = find(&whole, secret.as_bytes());
            if hits.is_empty() {
                continue;
            }
            let mut at = 0;
            for part in parts.iter_mut() {
                let mut scrubbed = Vec::with_capacity(part.bytes.len());
                for byte in &part.bytes {
                    if hits.contains(&at) {
                        scrubbed.extend_from_slice(REDACTED.as_bytes());
                    }
                    let begun =
                        hits.partition_point(|hit| *hit <= at).checked_sub(1).and_then(|hit| hits.get(hit));
                    if begun.is_none_or(|hit| at >= hit + secret.len()) {
                        scrubbed.push(*byte);
                    }
                    at += 1;
                }
                part.bytes = scrubbed.into();
            }
        }
    }
}

/// Where `needle` begins, without overlaps.
fn find(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(next) =
        hay.get(from..).and_then(|rest| rest.windows(needle.len()).position(|window| window == needle))
    {
        found.push(from + next);
        from += next + needle.len();
    }
    found
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
        assert_eq!((percent_decoded("%"), percent_decoded("a%zz%4")), ("%".to_owned(), "a%zz%4".to_owned()));
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
    fn a_secret_is_found_where_it_is_whole_and_where_it_is_split() {
        assert_eq!(scrubbed(&["a sk-secret b"]), ["a [redacted] b"]);
        assert_eq!(scrubbed(&["a sk-se", "cret b"]), ["a [redacted]", " b"]);
        assert_eq!(scrubbed(&["s", "k", "-secre", "t", "!"]), ["[redacted]", "", "", "", "!"]);
        assert_eq!(scrubbed(&["sk-secretsk-secret", " other-key"]), ["[redacted][redacted]", " [redacted]"]);
        assert_eq!(scrubbed(&["sk-secre", " t"]), ["sk-secre", " t"]);
    }
}
