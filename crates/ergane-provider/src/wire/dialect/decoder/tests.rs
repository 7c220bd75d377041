use std::sync::Arc;

use ergane_core::{ErrorKind, Usage};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::wire::testing::{failure, info, reply, run, run_every_way, split_at_all, stop, tool};
use crate::wire::{CallInfo, Head, anthropic, gemini, ollama, openai, responses};

fn tools() -> Arc<[ToolSpec]> {
    [tool("get", json!({"type": "object"}))].into()
}

fn sse() -> Head {
    Head::new(200, "text/event-stream")
}

fn new(call: CallInfo, head: Head) -> Dialect<openai::Decoder> {
    Dialect::new(openai::Decoder::new(call, head), &tools())
}

fn chunk(delta: Value, finish: Option<&str>) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

fn answer(pieces: &[&str], finish: &str) -> String {
    let mut body: String = pieces.iter().map(|piece| chunk(json!({"content": piece}), None)).collect();
    body += &chunk(json!({}), Some(finish));
    body += &format!(
        "data: {}\n\n",
        json!({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
    );
    body + "data: [DONE]\n\n"
}

const CALL: &str = "<tool_call>{\"name\": \"get\", \"arguments\": {\"x\": 1}}</tool_call>";

fn shown(events: &[StreamEvent]) -> String {
    let text = |event: &StreamEvent| match event {
        StreamEvent::Text(text) => text.to_string(),
        _ => String::new(),
    };
    events.iter().map(text).collect()
}

#[test]
fn a_block_in_the_text_becomes_a_call_and_is_never_shown() {
    let events = run_every_way(
        new,
        &sse(),
        answer(
            &["I lo", "ok.\n<tool", "_call>{\"name\": \"get\", ", "\"arguments\": {\"x\": 1}}</tool_call>"],
            "stop",
        )
        .as_bytes(),
    );
    assert_eq!(shown(&events), "I look.");
    assert!(events.contains(&StreamEvent::ToolCall { name: "get".into() }), "{events:?}");
    let reply = reply(&events);
    let call = reply.message.calls().next().unwrap();
    assert_eq!((&*call.name, &*call.arguments, call.complete), ("get", "{\"x\": 1}", true));
    assert_eq!((&*reply.message.text(), stop(reply)), ("I look.", &StopReason::ToolCalls));
    assert_eq!(reply.usage, Some(Usage { input_tokens: 1, output_tokens: 2, ..Usage::default() }));
}

#[test]
fn without_tools_or_without_blocks_nothing_changes() {
    let none: Arc<[ToolSpec]> = Arc::new([]);
    let bare = |call, head| Dialect::new(openai::Decoder::new(call, head), &none);
    let body = answer(&[CALL], "stop");
    assert_eq!(run(bare, &sse(), &[body.as_bytes()]), run(openai::Decoder::new, &sse(), &[body.as_bytes()]));
    let plain = answer(&["Hello ", "there `x` \n\n", "bye\n"], "stop");
    let (wrapped, alone) = (
        run_every_way(new, &sse(), plain.as_bytes()),
        run(openai::Decoder::new, &sse(), &[plain.as_bytes()]),
    );
    assert_eq!((reply(&wrapped), shown(&wrapped)), (reply(&alone), shown(&alone)));
}

#[test]
fn a_native_call_counts_and_one_in_the_text_beside_it_does_not() {
    let native =
        json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "put", "arguments": "{}"}}]});
    let body = chunk(json!({"content": format!("so {CALL}")}), None)
        + &chunk(native, None)
        + &chunk(json!({}), Some("tool_calls"));
    let events = run_every_way(new, &sse(), body.as_bytes());
    let names: Vec<_> = reply(&events).message.calls().map(|call| &*call.name).collect();
    assert_eq!((names, &*reply(&events).message.text(), &*shown(&events)), (vec!["put"], "so", "so"));
}

#[test]
fn a_limit_or_a_cut_runs_no_call() {
    let events = run_every_way(new, &sse(), answer(&["so ", CALL], "length").as_bytes());
    assert_eq!(stop(reply(&events)), &StopReason::Length);
    assert!(reply(&events).message.calls().all(|call| !call.complete));
    let cut = chunk(json!({"content": format!("so {CALL} <tool_call>{{\"na")}), None);
    let events = run_every_way(new, &sse(), cut.as_bytes());
    let (error, partial) = failure(&events);
    assert_eq!((error.kind, error.after_output, &*partial.text()), (ErrorKind::StreamCut, true, "so"));
    assert_eq!(partial.calls().map(|call| call.complete).collect::<Vec<_>>(), [false, false]);
    let hidden = chunk(json!({"content": "<tool_ca"}), None);
    let events = run_every_way(new, &sse(), hidden.as_bytes());
    assert_eq!(
        (shown(&events).as_str(), failure(&events).0.after_output),
        ("<tool_ca", true),
        "what was held back is shown at the end"
    );
}

#[test]
fn reasoning_is_not_looked_at() {
    let body = chunk(json!({"reasoning_content": CALL}), None) + &answer(&["No."], "stop");
    let events = run_every_way(new, &sse(), body.as_bytes());
    assert_eq!((stop(reply(&events)), reply(&events).message.calls().count()), (&StopReason::Stop, 0));
    assert_eq!(events[0], StreamEvent::Reasoning(CALL.into()));
}

#[test]
fn it_works_around_every_decoder() {
    let around = |call, head| Dialect::new(ollama::Decoder::new(call, head), &tools());
    let line = |content: &str, done: bool| {
        format!(
            "{}\n",
            json!({"message": {"role": "assistant", "content": content}, "done": done, "done_reason": "stop"})
        )
    };
    let body = line("I look. ~~~", false)
        + &line("\n~~~tool_call\n{\"name\": \"get\"}\n", false)
        + &line("~~~", true);
    let events = run_every_way(around, &Head::new(200, "application/x-ndjson"), body.as_bytes());
    assert_eq!(
        (&*reply(&events).message.text(), stop(reply(&events))),
        ("I look. ~~~", &StopReason::ToolCalls)
    );
    let around = |call, head| Dialect::new(responses::Decoder::new(call, head), &tools());
    let data = |event: Value| format!("data: {event}\n\n");
    let delta =
        |text: &str| data(json!({"type": "response.output_text.delta", "output_index": 0, "delta": text}));
    let message = json!({"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": format!("I look. {CALL}")}]});
    let body = delta("I look. <tool_")
        + &delta(CALL.strip_prefix("<tool_").unwrap())
        + &data(json!({"type": "response.output_item.done", "output_index": 0, "item": message}))
        + &data(json!({"type": "response.completed", "response": {"status": "completed"}}));
    found_in(&run_every_way(around, &sse(), body.as_bytes()));
    let around = |call, head| Dialect::new(anthropic::Decoder::new(call, head), &tools());
    let thinks = json!({"type": "thinking", "thinking": CALL, "signature": "s"});
    let delta = |text: &str| {
        let delta = json!({"type": "text_delta", "text": text});
        data(json!({"type": "content_block_delta", "index": 1, "delta": delta}))
    };
    let body = data(json!({"type": "content_block_start", "index": 0, "content_block": thinks}))
        + &data(json!({"type": "content_block_stop", "index": 0}))
        + &delta("I look. <tool_")
        + &delta(CALL.strip_prefix("<tool_").unwrap())
        + &data(json!({"type": "content_block_stop", "index": 1}))
        + &data(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}))
        + &data(json!({"type": "message_stop"}));
    found_in(&run_every_way(around, &sse(), body.as_bytes()));
    let around = |call, head| Dialect::new(gemini::Decoder::new(call, head), &tools());
    let part = |part: Value| data(json!({"candidates": [{"content": {"parts": [part]}}]}));
    let body = part(json!({"text": CALL, "thought": true}))
        + &part(json!({"text": "I look. <tool_"}))
        + &part(json!({"text": CALL.strip_prefix("<tool_").unwrap()}))
        + &part(json!({"text": "", "thoughtSignature": "s"}))
        + &data(json!({"candidates": [{"finishReason": "STOP"}]}));
    found_in(&run_every_way(around, &sse(), body.as_bytes()));
}

/// What was said before the call, the call, and nothing of its block.
fn found_in(events: &[StreamEvent]) {
    let reply = reply(events);
    assert_eq!((&*reply.message.text(), stop(reply)), ("I look.", &StopReason::ToolCalls));
    let calls: Vec<_> = reply.message.calls().map(|call| (&*call.name, &*call.arguments)).collect();
    assert_eq!((calls, &*shown(events)), (vec![("get", "{\"x\": 1}")], "I look."));
}

proptest! {
    #[test]
    fn every_split_of_a_reply_shows_the_same_and_calls_the_same(cuts in prop::collection::vec(0usize..10_000, 0..12), content_cuts in prop::collection::vec(0usize..200, 0..6)) {
        let content = format!("Look é.\n\n{CALL}\n~~~tool_call\n{{\"name\": \"get\"}}\n~~~\nbye 🦉");
        let mut at: Vec<usize> = content_cuts.into_iter().map(|cut| content.floor_char_boundary(cut % content.len())).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in at {
            pieces.push(&content[from..cut]);
            from = cut;
        }
        pieces.push(&content[from..]);
        let body = answer(&pieces, "stop");
        let events = run(new, &sse(), &split_at_all(body.as_bytes(), cuts));
        prop_assert_eq!(shown(&events), "Look é.\nbye 🦉");
        let calls: Vec<_> = reply(&events).message.calls().map(|call| call.arguments.to_string()).collect();
        prop_assert_eq!(calls, ["{\"x\": 1}", "{}"]);
        prop_assert_eq!(reply(&events).message.text(), "Look é.\nbye 🦉");
    }

    #[test]
    fn no_bytes_make_it_panic_or_end_twice(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for head in [sse(), Head::new(200, "application/json"), Head::new(500, "")] {
            run(new, &head, &pieces);
        }
    }
}

#[test]
fn a_key_in_an_error_stays_redacted() {
    let mut call = info();
    call.redactor = crate::wire::Redactor::new([secrecy::SecretString::from("sk-planted".to_owned())]);
    let mut decoder = new(call, Head::new(401, "application/json"));
    let mut events = Vec::new();
    decoder.feed(br#"{"error":{"message":"bad sk-planted"}}"#, &mut events);
    decoder.end(None, &mut events);
    assert!(!format!("{events:?}").contains("sk-planted"));
}
