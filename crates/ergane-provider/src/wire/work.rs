//! How much is looked at to decode an answer. It is counted in the tests of this crate only, and bounded there: by a count and
//! not by a clock, which a loaded machine would stop.

#[cfg(test)]
thread_local! {
    static LOOKED_AT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// So many bytes are looked at, or copied, now.
#[inline]
pub(crate) fn looked_at(_bytes: usize) {
    #[cfg(test)]
    LOOKED_AT.with(|count| count.set(count.get() + _bytes as u64));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::dialect::Dialect;
    use crate::wire::testing::{info, tool};
    use crate::wire::{CallInfo, Decoder, Head, StreamEvent, anthropic, gemini, ollama, openai, responses};

    /// How many times each byte may be looked at: by the cutter of lines, as a line, as JSON, as text. The beginning of a block of
    /// calls (256 bytes) is looked at again with each byte of it.
    const TIMES: u64 = 300;

    fn looked<D: Decoder>(mut decoder: D, pieces: impl Iterator<Item = Vec<u8>>) -> u64 {
        LOOKED_AT.with(|count| count.set(0));
        let mut events: Vec<StreamEvent> = Vec::new();
        for piece in pieces {
            decoder.feed(&piece, &mut events);
        }
        decoder.end(None, &mut events);
        assert_eq!(events.iter().filter(|event| event.is_terminal()).count(), 1);
        LOOKED_AT.with(|count| count.get())
    }

    /// The pieces in which a body comes: byte by byte, in small and in larger ones, and whole.
    const PIECES: &[usize] = &[1, 7, 1000, usize::MAX];

    /// In each of these pieces: twice as much is twice as much work, and a byte is not looked at without end.
    fn is_linear<D: Decoder>(
        what: &str,
        new: impl Fn(CallInfo, Head) -> D,
        (head, pieces): (&Head, &[usize]),
        body: impl Fn(usize) -> String,
    ) {
        for &piece in pieces {
            let [small, large] = [200, 400].map(|n| {
                let bytes = body(n).into_bytes();
                let pieces = bytes.chunks(piece.min(bytes.len())).map(<[u8]>::to_vec);
                let count = looked(new(info(), head.clone()), pieces);
                assert!(
                    count <= TIMES * bytes.len() as u64,
                    "{what}, by {piece}: {count} of {}",
                    bytes.len()
                );
                count
            });
            // Something may be done once.
            assert!(large <= small * 5 / 2 + 2_000, "{what}, by {piece}: {small}, then {large}");
        }
    }

    #[test]
    fn what_is_looked_at_is_counted() {
        let line = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
        let decoder = openai::Decoder::new(info(), Head::new(200, "text/event-stream"));
        let count = looked(decoder, std::iter::repeat_n(line.as_bytes().to_vec(), 100));
        assert!((3..6).contains(&(count / (100 * line.len() as u64))), "{count}");
    }

    /// Lines and events that are no answer, or never end one.
    const HOSTILE: [(&str, &str, &str); 12] = [
        ("blank lines", "", "\n"),
        ("blanks", "", " "),
        ("returns", "", "\r"),
        ("comments", "", ": keep-alive\n"),
        ("a long line", "data: ", "xxxxxxxxxxxxxxxx"),
        ("lines of one event", "", "data: x\n"),
        ("objects that open", "", "{\n"),
        ("objects that open in one line", "", "{"),
        ("lists between events", ": \n", "[1,\n\n"),
        ("texts between events", ": \n[\n", "\"x\",\n\n"),
        ("an object between events", ": \n{\n\"a\": \"", "x\n\n"),
        ("marks of a page", "", "<"),
    ];

    fn every_format(head: &Head, what: &str, body: impl Fn(usize) -> String) {
        is_linear(&format!("openai: {what}"), openai::Decoder::new, (head, PIECES), &body);
        is_linear(&format!("responses: {what}"), responses::Decoder::new, (head, PIECES), &body);
        is_linear(&format!("anthropic: {what}"), anthropic::Decoder::new, (head, PIECES), &body);
        is_linear(&format!("gemini: {what}"), gemini::Decoder::new, (head, PIECES), &body);
        is_linear(&format!("ollama: {what}"), ollama::Decoder::new, (head, PIECES), &body);
    }

    #[test]
    fn a_hostile_answer_costs_every_decoder_no_more_than_its_length() {
        for media_type in ["text/event-stream", "application/json"] {
            let head = Head::new(200, media_type);
            for (what, begin, unit) in HOSTILE {
                every_format(&head, what, |n| begin.to_owned() + &unit.repeat(n));
            }
        }
    }

    /// Many small pieces of one text, call or thought, as each format writes them.
    #[test]
    fn an_answer_in_many_small_pieces_costs_no_more_than_its_length() {
        let events = Head::new(200, "text/event-stream");
        let sse = |data: &str, n: usize| format!("data: {data}\n\n").repeat(n);
        for delta in [
            r#"{"content":"x"}"#,
            r#"{"reasoning_content":"x"}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"get","arguments":"x"}}]}"#,
            r#"{"tool_calls":[{"function":{"arguments":"x"}}]}"#,
            r#"{"reasoning_details":[{"type":"reasoning.text","index":0,"text":"x"}]}"#,
        ] {
            let chunk = format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#);
            is_linear(delta, openai::Decoder::new, (&events, PIECES), |n| sse(&chunk, n));
        }
        for delta in [
            r#"{"type":"text_delta","text":"x"}"#,
            r#"{"type":"thinking_delta","thinking":"x"}"#,
            r#"{"type":"input_json_delta","partial_json":"x"}"#,
        ] {
            let chunk = format!(r#"{{"type":"content_block_delta","index":0,"delta":{delta}}}"#);
            is_linear(delta, anthropic::Decoder::new, (&events, PIECES), |n| sse(&chunk, n));
        }
        for part in
            [r#"{"text":"x"}"#, r#"{"text":"x","thought":true}"#, r#"{"functionCall":{"name":"get"}}"#]
        {
            let chunk = format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}}}}]}}"#);
            is_linear(part, gemini::Decoder::new, (&events, PIECES), |n| sse(&chunk, n));
        }
        for kind in ["output_text", "reasoning_summary_text", "function_call_arguments"] {
            let chunk =
                format!(r#"{{"type":"response.{kind}.delta","output_index":0,"item_id":"a","delta":"x"}}"#);
            is_linear(kind, responses::Decoder::new, (&events, PIECES), |n| sse(&chunk, n));
        }
        let lines = Head::new(200, "application/x-ndjson");
        let line = "{\"message\":{\"content\":\"x\"},\"done\":false}\n";
        is_linear("lines", ollama::Decoder::new, (&lines, PIECES), |n| line.repeat(n));
    }

    /// Texts full of what may begin, end or hold a block of calls.
    #[test]
    fn a_text_that_plays_with_blocks_of_calls_costs_the_scanner_no_more_than_its_length() {
        let tools: Arc<[_]> = [tool("get", serde_json::json!({"type": "object"}))].into();
        let events = Head::new(200, "text/event-stream");
        for (begin, unit) in [
            ("", " "),
            ("", "\n"),
            ("", "{"),
            ("", "["),
            ("", "<"),
            ("", "`"),
            ("", "~"),
            ("", "```\n"),
            ("", "~~~tool_call\n"),
            ("", "```tool_call\n{\n"),
            ("", "<tool_call>"),
            ("", "<tool_call>\n"),
            ("", "<tool_call>get"),
            ("<tool_call>", "get "),
            ("<tool_call>", "get<arg_key>"),
            ("", "<tool_call>{"),
            ("", "<tool_call>{\""),
            ("", "<tool_call>{\"</tool_call>"),
            ("<tool_call>{\"", "</tool_call><tool_call>{"),
            ("<tool_call>{\"", "</tool_call><tool_call>{\\\""),
            ("<tool_call>{", "{}"),
            ("<tool_call>", "{}"),
            ("<tool_call>", "{} "),
            ("", "<tool_call>{}</tool_call>"),
            ("", "<tool_call><function=get><parameter=a>"),
            ("<tool_call><function=get><parameter=a>", "</function></tool_call><tool_call>"),
            ("", "[TOOL_CALLS]"),
            ("", "[TOOL_CALLS]get"),
            ("", "[TOOL_CALLS][{"),
            ("", "[TOOL_CALLS]get[ARGS]{"),
            ("", "[TOOL_REQUEST]{\""),
            ("", "<|tool_call_start|>[get(a='"),
            ("<|tool_call_start|>[get(a=\"", "<|tool_call_end|><|tool_call_start|>[get(a='"),
            ("", "<｜tool▁calls▁begin｜>"),
            ("<｜tool▁calls▁begin｜>", "{\""),
            ("", "<|python_tag|>{"),
            ("{\"name\": \"get\", \"arguments\": {\"a\": \"", "x"),
            ("[get(a='", "x"),
            ("", "<think>"),
            ("<think>", "</think"),
        ] {
            let said = |text: &str| {
                let text = serde_json::to_string(text).unwrap();
                format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}}}}]}}\n\n")
            };
            let stop = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
            let new = |call: CallInfo, head: Head| Dialect::new(openai::Decoder::new(call, head), &tools);
            // In one piece, or in many that are as small; and cut off, or over.
            for end in ["", stop] {
                let whole = |n| said(&(begin.to_owned() + &unit.repeat(n))) + end;
                is_linear(&format!("{begin}{unit}…{end}"), new, (&events, &[usize::MAX]), whole);
                let pieces = |n| said(begin) + &said(unit).repeat(n) + end;
                is_linear(&format!("{begin}, {unit}, …{end}"), new, (&events, &[usize::MAX]), pieces);
            }
        }
    }
}
