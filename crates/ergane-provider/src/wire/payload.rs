//! The body of a request: pieces, of which the long ones were written for an earlier request and are only referred to.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::frozen::List;

/// Longer ones are a piece of their own instead of being copied together with what stands around them.
const COPIED: usize = 16 * 1024;

/// Bytes in pieces. How they are cut says nothing: payloads are equal when their bytes are.
#[derive(Clone, Default)]
pub struct Payload {
    pieces: Vec<Bytes>,
}

impl Payload {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The pieces, in order, without a copy.
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.pieces
    }

    /// All bytes; copied when they are in several pieces.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match self.pieces.as_slice() {
            [one] => Cow::Borrowed(one),
            several => Cow::Owned(several.concat()),
        }
    }

    /// A value as JSON. It must be made of maps with string keys, texts and numbers, of which nothing can fail to become
    /// JSON; what does is no bytes at all.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        serde_json::to_vec(value).unwrap_or_default().into()
    }

    /// An object with the fields of `before`, a list of messages as `field`, and the fields of `after`.
    pub(crate) fn around(
        before: &impl Serialize,
        field: &str,
        first: Option<&impl Serialize>,
        list: List,
        after: &impl Serialize,
    ) -> Self {
        let List { frozen, new } = list;
        let mut bytes = serde_json::to_vec(before).unwrap_or_default();
        // The object stays open.
        bytes.pop();
        if bytes.len() > 1 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(format!("\"{field}\":[").as_bytes());
        if let Some(first) = first {
            bytes.extend(serde_json::to_vec(first).unwrap_or_default());
            if !(frozen.is_empty() && new.is_empty()) {
                bytes.push(b',');
            }
        }
        let mut pieces = Vec::with_capacity(frozen.len().saturating_add(3));
        let apart = new.len() > COPIED;
        if apart || !frozen.is_empty() {
            pieces.push(std::mem::take(&mut bytes).into());
        }
        pieces.extend(frozen);
        if apart {
            pieces.push(new.into());
        } else {
            bytes.extend(new);
        }
        bytes.push(b']');
        let after = serde_json::to_vec(after).unwrap_or_default();
        match after.get(1..) {
            Some(fields @ [_, _, ..]) => {
                bytes.push(b',');
                bytes.extend_from_slice(fields);
            }
            _ => bytes.push(b'}'),
        }
        pieces.push(bytes.into());
        Self { pieces }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self { pieces: if bytes.is_empty() { Vec::new() } else { vec![bytes.into()] } }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.pieces.iter().flatten().eq(other.pieces.iter().flatten())
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Payload").field(&String::from_utf8_lossy(&self.bytes())).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(frozen: &[&'static str], new: &str) -> List {
        let frozen = frozen.iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        List { frozen, new: new.as_bytes().to_vec() }
    }

    fn around(before: serde_json::Value, first: Option<u32>, list: List, after: serde_json::Value) -> String {
        String::from_utf8(Payload::around(&before, "m", first.as_ref(), list, &after).bytes().into()).unwrap()
    }

    #[test]
    fn a_list_stands_between_the_fields_before_and_after_it_however_few_there_are() {
        let (none, some) = (json!({}), json!({"a": 1}));
        for (before, first, list, after, expected) in [
            (&none, None, list(&[], ""), &none, r#"{"m":[]}"#),
            (&some, None, list(&[], ""), &some, r#"{"a":1,"m":[],"a":1}"#),
            (&some, None, list(&[], "2,3"), &none, r#"{"a":1,"m":[2,3]}"#),
            (&none, Some(1), list(&[], ""), &some, r#"{"m":[1],"a":1}"#),
            (&none, Some(1), list(&[], "2"), &none, r#"{"m":[1,2]}"#),
            (&some, Some(1), list(&["2,3,", "4,"], "5"), &some, r#"{"a":1,"m":[1,2,3,4,5],"a":1}"#),
            (&none, None, list(&["2,3,"], "4"), &none, r#"{"m":[2,3,4]}"#),
        ] {
            assert_eq!(around(before.clone(), first, list, after.clone()), expected);
        }
        let (long, other) = ("5".repeat(COPIED + 1), "6".repeat(COPIED));
        for new in [&long, &other] {
            let found = around(some.clone(), Some(1), list(&["2,3,"], new), some.clone());
            assert_eq!(found, format!(r#"{{"a":1,"m":[1,2,3,{new}],"a":1}}"#));
        }
    }

    #[test]
    fn payloads_are_equal_when_their_bytes_are() {
        let pieces = |texts: &[&'static str]| Payload {
            pieces: texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect(),
        };
        assert_eq!(pieces(&["ab", "c"]), pieces(&["a", "", "bc"]));
        assert_ne!(pieces(&["ab", "c"]), pieces(&["ab", "d"]));
        assert_ne!(pieces(&["ab"]), pieces(&["ab", "c"]));
        assert_eq!(pieces(&["ab", "c"]).len(), 3);
        assert!(pieces(&[""]).is_empty() && Payload::from(Vec::new()).pieces().is_empty());
    }
}
