//! An event that says the same as one before it, but for one text.
//!
//! A streamed answer is hundreds of events of which all bytes are the same but those of one string. JSON is read from left
//! to right: what has the same bytes before a string and the same behind it, and between them a string, means the same with
//! another text. So the first such event is read as a whole, and of those that follow only the string.

use std::borrow::Cow;

use super::work::looked_at;

/// What stood around the text of the last event that was nothing but one.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Up to the quotation mark that opens the string.
    begin: String,
    /// From the one that closes it.
    end: String,
}

impl Again {
    /// Learns from an event that was read and came to `text` and nothing else, which is the value of `key`. Of an event in
    /// which that is not plain to see nothing is learned.
    pub(crate) fn learn(&mut self, data: &str, key: &str, text: &str) {
        if let Some((begin, end)) = around(data, key, text) {
            begin.clone_into(&mut self.begin);
            end.clone_into(&mut self.end);
        }
    }

    /// The text of an event like the one it learned from; `None` of any other.
    pub(crate) fn text<'a>(&self, data: &'a str) -> Option<Cow<'a, str>> {
        if self.begin.is_empty() {
            return None;
        }
        looked_at(data.len());
        let text = data.strip_prefix(&*self.begin)?.strip_suffix(&*self.end)?;
        match text.bytes().any(|byte| matches!(byte, b'"' | b'\\' | ..b' ')) {
            false => Some(Cow::Borrowed(text)),
            // With escapes in it, or no string at all.
            true => {
                let quoted = data.get(self.begin.len() - 1..data.len() - self.end.len() + 1)?;
                serde_json::from_str(quoted).ok().map(Cow::Owned)
            }
        }
    }
}

/// What stands before and behind the only string that is the value of `key`, if it is `text`.
fn around<'a>(data: &'a str, key: &str, text: &str) -> Option<(&'a str, &'a str)> {
    looked_at(data.len());
    // In every place, within other strings too: with two of them it would have to be known which is meant.
    let (before, after) = data.split_once(key).filter(|(_, after)| !after.contains(key))?;
    let value = after.strip_prefix('"').filter(|_| before.ends_with('"'))?.trim_ascii_start();
    let value = value.strip_prefix(':')?.trim_ascii_start();
    let mut read = serde_json::Deserializer::from_str(value).into_iter::<Cow<'_, str>>();
    let is_text = matches!(read.next(), Some(Ok(found)) if found == text);
    let end = value.get(read.byte_offset().checked_sub(1)?..)?;
    let begin = data.get(..data.len() - value.len() + 1)?;
    (is_text && begin.ends_with('"') && end.starts_with('"')).then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(text: &str) -> String {
        serde_json::json!({"id": "c", "choices": [{"delta": {"content": text}, "end": null}]}).to_string()
    }

    fn learned(text: &str) -> Again {
        let mut again = Again::default();
        again.learn(&event(text), "content", text);
        again
    }

    #[test]
    fn only_what_is_the_same_but_for_its_text_is_known_again() {
        let again = learned("one");
        assert_eq!(again.text(&event("two")).as_deref(), Some("two"));
        assert_eq!(again.text(&event("")).as_deref(), Some(""));
        let other = event("two");
        for other in [
            other.replace("\"c\"", "\"d\""),
            other.replace("null", "\"stop\""),
            other.replace("two", "two\",\"refusal\":\"no"),
            other.replace("two", "t\nwo"),
            other.replace("two", "two\\"),
            other.replace("\"two\"", "null"),
            other.replace("\"two\"", "\""),
            String::new(),
        ] {
            assert_eq!(again.text(&other), None, "{other}");
        }
        assert_eq!(Again::default().text(&event("two")), None);
    }

    #[test]
    fn nothing_is_learned_where_it_is_not_plain_which_string_is_meant() {
        for (data, text) in [
            (r#"{"content":"a","content":"a"}"#, "a"),
            (r#"{"content":"content"}"#, "content"),
            (r#"{"content":"b"}"#, "a"),
            (r#"{"content":["a"]}"#, "a"),
            (r#"{"content":null}"#, "null"),
            (r#"{"my content":"a"}"#, "a"),
            (r#"{"a":"a"}"#, "a"),
        ] {
            let mut again = Again::default();
            again.learn(data, "content", text);
            assert_eq!(again.text(data), None, "{data}");
        }
        let mut again = Again::default();
        again.learn(r#"{ "content" : "a\u00e4\n" }"#, "content", "aä\n");
        assert_eq!(again.text(r#"{ "content" : "b" }"#).as_deref(), Some("b"));
    }

    proptest! {
        #[test]
        fn a_text_known_again_is_the_text_that_a_parser_finds(first in ".{0,12}", second in "\\PC{0,12}|.{0,12}") {
            let again = learned(&first);
            if !first.contains("content") {
                let event = event(&second);
                let found = again.text(&event);
                prop_assert_eq!(found.as_deref(), Some(&*second));
            }
        }
    }
}
