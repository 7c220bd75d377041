//! Takes keys out of what servers say: some echo the request, headers and all, in their errors.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem::Finder;
use secrecy::{ExposeSecret, SecretString};

/// Shorter "keys" are placeholders such as `x`, and would make every text unreadable.
const SHORTEST: usize = 4;

/// Replaces the keys it knows by `[redacted]`, also where they are written as in a URL, in JSON or in another quotation.
/// Shows none of them.
///
/// ```
/// use ergane_provider::wire::Redactor;
///
/// let redactor = Redactor::new(["sk/1 23".to_owned().into()]);
/// assert_eq!(redactor.redact("who sent sk%2F1%2023?"), "who sent [redacted]?");
/// ```
#[derive(Clone, Default)]
pub struct Redactor {
    /// The keys as they may be written.
    written: Arc<[SecretString]>,
    keys: usize,
}

impl Redactor {
    /// What stands in a key's place.
    pub const REDACTED: &str = "[redacted]";

    /// Knows these keys; but not those of less than 4 bytes, nor `true` and `false`: no keys are so, and all texts are full of
    /// them.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let is_key = |secret: &SecretString| {
            let secret = secret.expose_secret();
            secret.len() >= SHORTEST && !matches!(secret, "true" | "false")
        };
        let secrets: Vec<SecretString> = secrets.into_iter().filter(is_key).collect();
        let mut written: Vec<SecretString> = secrets.iter().flat_map(ways_to_write).collect();
        written.sort_by(|a, b| a.expose_secret().cmp(b.expose_secret()));
        written.dedup_by(|a, b| a.expose_secret() == b.expose_secret());
        Self { written: written.into(), keys: secrets.len() }
    }

    /// Where keys stand in `bytes`, in order and apart.
    pub fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let places = |key: &SecretString| places(bytes, key.expose_secret().as_bytes());
        let mut found: Vec<Range<usize>> = self.written.iter().flat_map(places).collect();
        found.sort_by_key(|place| place.start);
        // A key may be a part of another one, or begin where another has not ended.
        found.dedup_by(|next, place| {
            let overlaps = next.start < place.end;
            if overlaps {
                place.end = place.end.max(next.end);
            }
            overlaps
        });
        found
    }

    /// `text` without the keys.
    pub fn redact(&self, text: &str) -> String {
        let (mut kept, mut from) = (String::with_capacity(text.len()), 0);
        for place in self.find(text.as_bytes()) {
            kept.push_str(text.get(from..place.start).unwrap_or_default());
            kept.push_str(Self::REDACTED);
            from = place.end;
        }
        kept.push_str(text.get(from..).unwrap_or_default());
        kept
    }

    /// The same for a text that may have been cut off, within a key perhaps.
    pub(crate) fn redact_cut(&self, text: &str) -> String {
        let mut text = self.redact(text);
        let begun = |key: &SecretString| {
            let key = key.expose_secret();
            let shorter = (SHORTEST..key.len()).rev().filter_map(|end| key.get(..end));
            shorter.into_iter().find(|begin| text.ends_with(begin)).map(str::len)
        };
        if let Some(length) = self.written.iter().filter_map(begun).max() {
            text.truncate(text.len() - length);
            text.push_str(Self::REDACTED);
        }
        text
    }
}

/// Where `key` begins and ends in `bytes`.
fn places(bytes: &[u8], key: &[u8]) -> Vec<Range<usize>> {
    let finder = Finder::new(key);
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(next) = bytes.get(from..).and_then(|rest| finder.find(rest)) {
        let start = from + next;
        found.push(start..start + key.len());
        from = start + 1; // it may begin again within itself
    }
    found
}

/// A key as it is, and as what quotes it may write it.
fn ways_to_write(key: &SecretString) -> Vec<SecretString> {
    let key = key.expose_secret();
    let in_url = super::query(key);
    let in_json = serde_json::to_string(key).unwrap_or_default();
    let in_json = in_json.trim_matches('"');
    let quoted = format!("{key:?}");
    let ways = [
        key.to_owned(),
        with_small_digits(&in_url),
        in_url,
        in_json.replace('/', "\\/"),
        in_json.to_owned(),
        // As errors of a JSON parser quote it.
        quoted.trim_matches('"').to_owned(),
    ];
    ways.into_iter().map(SecretString::from).collect()
}

/// `%2B` as `%2b`.
fn with_small_digits(encoded: &str) -> String {
    let mut pieces = encoded.split('%');
    let mut small = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
        small.push_str(&format!("%{}{rest}", digits.to_ascii_lowercase()));
    }
    small
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} keys)", self.keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(keys: &[&str]) -> Redactor {
        Redactor::new(keys.iter().map(|key| SecretString::from(*key)))
    }

    #[test]
    fn a_key_is_taken_out_however_what_quotes_it_writes_it() {
        let redactor = redactor(&["a+b/=\"é", "a+b/", "x"]);
        for written in [
            "a+b/=\"é",
            "a%2Bb%2F%3D%22%C3%A9",
            "a%2bb%2f%3d%22%c3%a9",
            "a+b/=\\\"é",
            "a+b\\/=\\\"é",
            "a+b/",
            "a%2Bb%2F",
        ] {
            assert_eq!(redactor.redact(&format!("<{written}>")), "<[redacted]>", "{written}");
        }
        assert_eq!(redactor.redact("an x is no key"), "an x is no key");
        assert_eq!(format!("{redactor:?}"), "Redactor(2 keys)");
    }

    #[test]
    fn keys_within_and_over_each_other_leave_nothing_of_themselves() {
        let keys = redactor(&["abcd", "cdefgh", "aaaa", "true"]);
        for (text, expected) in [
            ("<abcdefgh>", "<[redacted]>"),
            ("<abcdabcd>", "<[redacted][redacted]>"),
            ("<aaaaaa>", "<[redacted]>"),
            ("<cdefgh abcd>", "<[redacted] [redacted]>"),
            ("it is true", "it is true"),
        ] {
            assert_eq!(keys.redact(text), expected);
        }
        assert_eq!(keys.find(b"\xffabcd\xffaaaa"), [1..5, 6..10]);
    }

    #[test]
    fn of_a_key_that_was_cut_off_nothing_is_left() {
        let key = "sk-planted-key";
        let redactor = redactor(&[key, "sk-other"]);
        for end in SHORTEST..=key.len() {
            assert_eq!(redactor.redact_cut(&format!("Bearer {}", &key[..end])), "Bearer [redacted]", "{end}");
        }
        assert_eq!(redactor.redact_cut("nothing of one"), "nothing of one");
        assert_eq!(redactor.redact_cut("sk-planted-key and sk-"), "[redacted] and sk-");
    }
}
