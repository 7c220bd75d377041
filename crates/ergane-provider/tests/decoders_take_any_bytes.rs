//! Every decoder, fed with nonsense and with answers that were spoilt: one end, the same events however the bytes fall,
//! and no more of them than there were bytes. The folder `fuzz` runs the same check on what a fuzzer thinks of.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use ergane_provider::wire::{anthropic, check, gemini, ollama, openai, responses};
use proptest::prelude::*;

const OPENAI: &str = concat!(
    ": ping\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"h\\u00e9\",\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"get\",\"arguments\":\"{\\\"x\\\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\r\n\r\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
);

const OLLAMA: &str = concat!(
    "{\"message\":{\"content\":\"h\\u00e9\",\"thinking\":\"hm\"},\"done\":false}\n",
    "{\"message\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"get\",\"arguments\":{\"x\":1}}}]},\"done\":false}\r\n",
    "{\"message\":{\"content\":\"\u{1f989}\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":3,\"eval_count\":4}\n",
);

const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":3}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"s\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"get\",\"input\":{}}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"x\\\":1}\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":2}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

const GEMINI: &str = concat!(
    "data: {\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"hm\",\"thought\":true},{\"text\":\"h\\u00e9\"}]}}],\"responseId\":\"r\"}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"id\":\"a\",\"name\":\"get\",\"args\":{\"x\":1}},\"thoughtSignature\":\"c2ln\"}]}}]}\r\n\r\n",
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":9,\"candidatesTokenCount\":5}}\r\n\r\n",
);

const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\"}}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]}}\n\n",
    "event: response.reasoning_summary_text.delta\ndata: {\"type\":\"response.reasoning_summary_text.delta\",\"output_index\":0,\"item_id\":\"rs_1\",\"delta\":\"hm\"}\n\n",
    "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"hm\"}],\"encrypted_content\":\"gAAA\"}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":1,\"item_id\":\"msg_1\",\"delta\":\"h\\u00e9\"}\n\n",
    "event: response.output_item.added\ndata: {\"type\":\"response.output_item.added\",\"output_index\":2,\"item\":{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"a\",\"name\":\"get\",\"arguments\":\"\"}}\n\n",
    "event: response.function_call_arguments.delta\ndata: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":2,\"item_id\":\"fc_1\",\"delta\":\"{\\\"x\\\":1}\"}\n\n",
    "event: response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"output_index\":2,\"item\":{\"type\":\"function_call\",\"id\":\"fc_1\",\"call_id\":\"a\",\"name\":\"get\",\"arguments\":\"{\\\"x\\\":1}\"}}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":9,\"output_tokens\":5}}}\n\n",
);

/// What a model without calls of its own says.
const SAID: &str = concat!(
    "Let me look, h\u{e9}.\n\n<tool_call>\n{\"name\": \"get\", \"arguments\": {\"x\": \"}\"}}\n</tool_call>\n",
    "And `code`, ```\nfenced\n``` \u{1f989}\n~~~tool_call\n{\"name\": \"get\", \"arguments\": {}}\n~~~\n",
    "[TOOL_CALLS] [{\"name\": \"get\", \"arguments\": {}}] <think>no</think>",
);

/// An answer, spoilt in a few places: bytes changed, cut out, doubled, put in.
fn spoilt(answer: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (0..answer.len(), 0..5u8, any::<u8>(), 1..40usize);
    (any::<[u8; 2]>(), prop::collection::vec(change, 0..6)).prop_map(move |([kind, cut], changes)| {
        // Mostly under the head that is right for it.
        let kind = if kind < 128 { if answer == OLLAMA { 1 } else { 0 } } else { kind };
        let mut bytes = vec![kind, cut];
        bytes.extend_from_slice(answer.as_bytes());
        for (at, what, byte, length) in changes {
            let at = (at + 2).min(bytes.len());
            let end = (at + length).min(bytes.len());
            match what {
                0 if at < bytes.len() => bytes[at] = byte,
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let again = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, again));
                }
                3 => bytes.insert(at, byte),
                4 => bytes.truncate(at.max(bytes.len() / 2)),
                _ => {}
            }
        }
        bytes
    })
}

fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #[test]
    fn nonsense_ends_every_decoder_once(bytes in nonsense()) {
        prop_assert_eq!(check::decoder(openai::Decoder::new, &bytes), Ok(()));
        prop_assert_eq!(check::decoder(ollama::Decoder::new, &bytes), Ok(()));
        prop_assert_eq!(check::decoder(anthropic::Decoder::new, &bytes), Ok(()));
        prop_assert_eq!(check::decoder(gemini::Decoder::new, &bytes), Ok(()));
        prop_assert_eq!(check::decoder(responses::Decoder::new, &bytes), Ok(()));
        prop_assert_eq!(check::dialect(&bytes), Ok(()));
    }

    #[test]
    fn a_spoilt_answer_of_gemini_ends_once(bytes in spoilt(GEMINI)) {
        prop_assert_eq!(check::decoder(gemini::Decoder::new, &bytes), Ok(()));
    }

    #[test]
    fn a_spoilt_answer_of_responses_ends_once(bytes in spoilt(RESPONSES)) {
        prop_assert_eq!(check::decoder(responses::Decoder::new, &bytes), Ok(()));
    }

    #[test]
    fn spoilt_blocks_of_calls_in_a_text_are_read_alike_however_it_falls(bytes in spoilt(SAID)) {
        prop_assert_eq!(check::dialect(&bytes), Ok(()));
    }

    #[test]
    fn a_spoilt_answer_of_chat_completions_ends_once(bytes in spoilt(OPENAI)) {
        prop_assert_eq!(check::decoder(openai::Decoder::new, &bytes), Ok(()));
    }

    #[test]
    fn a_spoilt_answer_of_ollama_ends_once(bytes in spoilt(OLLAMA)) {
        prop_assert_eq!(check::decoder(ollama::Decoder::new, &bytes), Ok(()));
    }

    #[test]
    fn a_spoilt_answer_of_anthropic_ends_once(bytes in spoilt(ANTHROPIC)) {
        prop_assert_eq!(check::decoder(anthropic::Decoder::new, &bytes), Ok(()));
    }
}

#[test]
fn the_answers_themselves_are_whole_so_that_spoiling_them_means_something() {
    use ergane_provider::wire::{CallInfo, Decoder, Head, Redactor, StreamEvent};
    fn finishes<D: Decoder>(new: impl Fn(CallInfo, Head) -> D, answer: &str) -> bool {
        let info = CallInfo {
            provider: "p".into(),
            model: "m".into(),
            endpoint: "".into(),
            key_hint: "".into(),
            redactor: Redactor::default(),
        };
        let mut events = Vec::new();
        let mut decoder = new(info, Head::new(200, "text/event-stream"));
        decoder.feed(answer.as_bytes(), &mut events);
        decoder.end(None, &mut events);
        matches!(events.last(), Some(StreamEvent::Finish(reply)) if reply.message.calls().count() == 1)
    }
    assert!(finishes(openai::Decoder::new, OPENAI));
    assert!(finishes(ollama::Decoder::new, OLLAMA));
    assert!(finishes(anthropic::Decoder::new, ANTHROPIC));
    assert!(finishes(gemini::Decoder::new, GEMINI));
    assert!(finishes(responses::Decoder::new, RESPONSES));
}
