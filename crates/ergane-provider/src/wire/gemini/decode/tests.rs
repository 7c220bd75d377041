use std::time::Duration;

use ergane_core::{ErrorKind, ModelReply, Opaque, Reasoning, Usage};
use proptest::prelude::*;

use super::*;
use crate::wire::testing::{failure, reply, run, run_every_way, split_at_all, stop};

fn sse() -> Head {
    Head::new(200, "text/event-stream")
}

fn json_head(status: u16) -> Head {
    Head::new(status, "application/json; charset=UTF-8")
}

/// Real streams have these line ends.
fn stream(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect()
}

fn decode(body: &str) -> Vec<StreamEvent> {
    run_every_way(Decoder::new, &sse(), body.as_bytes())
}

fn parts(parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}], "responseId": "r"})
}

fn end(reason: &str) -> Value {
    json!({"candidates": [{"finishReason": reason, "index": 0}], "modelVersion": "v"})
}

fn answer(content: Value) -> Vec<StreamEvent> {
    decode(&stream(&[parts(content), end("STOP")]))
}

fn calls(reply: &ModelReply) -> Vec<(&str, &str, Option<&str>)> {
    reply.message.calls().map(|call| (&*call.name, &*call.arguments, call.wire_id.as_deref())).collect()
}

fn thought(text: &str, signature: Option<&str>) -> Part {
    let data = signature.map_or_else(Map::new, |signature| signed(signature.to_owned()));
    Part::Reasoning(Reasoning { text: text.into(), field: None, data })
}

#[test]
fn a_stream_becomes_thoughts_text_calls_and_usage() {
    let events = decode(&stream(&[
        parts(json!([{"text": "Let me ", "thought": true}])),
        parts(json!([{"text": "think", "thought": true}, {"text": "Sure é"}])),
        parts(json!([{"text": " 🦉"}])),
        parts(
            json!([{"functionCall": {"id": "c1", "name": "get", "args": {"z": 1, "a": 2}}, "thoughtSignature": "sig"}]),
        ),
        json!({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP"}],
               "usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
                                 "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 2, "totalTokenCount": 23}}),
    ]));
    assert_eq!(
        events[..5],
        [
            StreamEvent::Reasoning("Let me ".into()),
            StreamEvent::Reasoning("think".into()),
            StreamEvent::Text("Sure é".into()),
            StreamEvent::Text(" 🦉".into()),
            StreamEvent::ToolCall { name: "get".into() },
        ]
    );
    let reply = reply(&events);
    assert_eq!(reply.message.parts[0], thought("Let me think", None));
    assert_eq!(reply.message.parts[1], Part::text("Sure é 🦉"));
    let call = reply.message.calls().next().unwrap();
    assert_eq!((&*call.name, call.wire_id.as_deref(), call.complete), ("get", Some("c1"), true));
    assert_eq!(call.extra["thoughtSignature"], "sig");
    assert_eq!(stop(reply), &StopReason::ToolCalls);
    assert_eq!(reply.message.origin.as_ref().unwrap().response_id.as_deref(), Some("r"));
    assert_eq!(
        reply.usage,
        Some(Usage {
            input_tokens: 11,
            output_tokens: 12,
            cached_tokens: 4,
            reasoning_tokens: 7,
            ..Usage::default()
        })
    );
}

#[test]
fn arguments_keep_the_models_own_bytes() {
    let body = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"n\",\"args\":{\"z\": 1.50, \"a\":12345678901234567890123}}}]},\"finishReason\":\"STOP\"}]}\n\n";
    let events = decode(body);
    assert_eq!(calls(reply(&events)), [("n", "{\"z\": 1.50, \"a\":12345678901234567890123}", None)]);
}

/// Edge case 36.
#[test]
fn a_bare_error_after_good_events_ends_the_answer_also_when_it_is_wrapped_in_a_list_36() {
    let error = "{\r\n  \"error\": {\r\n    \"code\": 503,\r\n\r\n    \"message\": \"The model is overloaded.\",\r\n    \"status\": \"UNAVAILABLE\"\r\n  }\r\n}\r\n";
    for tail in [
        error.to_owned(),
        format!("[{error}]\r\n"),
        format!("{error}\r\n"),
        format!("data: {}\r\n\r\n", error.replace(['\r', '\n'], "")),
    ] {
        let events = decode(&(stream(&[parts(json!([{"text": "so far"}]))]) + &tail));
        let (error, partial) = failure(&events);
        assert_eq!(
            (error.kind, error.after_output, error.retryable),
            (ErrorKind::Overloaded, true, true),
            "{tail}"
        );
        assert_eq!(partial.text(), "so far");
    }
}

/// Edge case 37.
#[test]
fn two_calls_of_one_name_without_ids_and_arguments_are_two_calls_37() {
    let events = answer(json!([
        {"functionCall": {"name": "get"}, "thoughtSignature": "s"},
        {"functionCall": {"name": "get", "args": null}},
    ]));
    let reply = reply(&events);
    assert_eq!(calls(reply), [("get", "{}", None), ("get", "{}", None)]);
    let extras: Vec<_> = reply.message.calls().map(|call| call.extra.len()).collect();
    assert_eq!((extras, stop(reply)), (vec![1, 0], &StopReason::ToolCalls));
}

/// Edge case 37.
#[test]
fn a_signature_stays_on_its_part_also_when_its_text_is_empty_37() {
    let events = decode(&stream(&[
        parts(json!([{"text": "Hel"}])),
        parts(json!([{"text": "lo"}])),
        parts(json!([{"text": "", "thoughtSignature": "empty"}])),
        parts(json!([{"text": "signed", "thoughtSignature": "full"}, {"text": "after"}])),
        parts(json!([{"text": "hm", "thought": true, "thoughtSignature": "of thought"}])),
        end("STOP"),
    ]));
    let of_empty = Opaque { kind: "part".into(), data: json!({"text": "", "thoughtSignature": "empty"}) };
    let of_signed = Opaque { kind: "thoughtSignature".into(), data: "full".into() };
    assert_eq!(
        reply(&events).message.parts,
        [
            Part::text("Hello"),
            Part::Opaque(of_empty),
            Part::text("signed"),
            Part::Opaque(of_signed),
            Part::text("after"),
            thought("hm", Some("of thought")),
        ]
    );
    assert_eq!(reply(&events).message.text(), "Hellosignedafter");
}

/// Edge case 37.
#[test]
fn of_two_reasons_to_stop_the_last_counts_and_what_stands_between_is_read_37() {
    let events = decode(&stream(&[
        parts(json!([{"text": "one"}])),
        end("STOP"),
        parts(json!([{"text": " two"}])),
        json!({"candidates": [{"finishReason": "MAX_TOKENS"}], "usageMetadata": {"promptTokenCount": 1}}),
    ]));
    let reply = reply(&events);
    assert_eq!((&*reply.message.text(), stop(reply)), ("one two", &StopReason::Length));
    assert_eq!(reply.usage.unwrap().input_tokens, 1);
}

/// Edge case 38.
#[test]
fn a_blocked_prompt_is_blocked_content_and_a_malformed_call_is_told_as_such_38() {
    let blocked =
        json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}});
    for events in [
        decode(&stream(std::slice::from_ref(&blocked))),
        run_every_way(Decoder::new, &json_head(200), blocked.to_string().as_bytes()),
    ] {
        let (error, _) = failure(&events);
        assert_eq!((error.kind, error.retryable), (ErrorKind::ContentBlocked, false));
        assert!(error.message.contains("SAFETY"), "{error}");
    }
    for word in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"] {
        let events = decode(&stream(&[
            json!({"candidates": [{"finishReason": word, "finishMessage": "Malformed function call: print("}]}),
        ]));
        let reply = reply(&events);
        assert_eq!((stop(reply), reply.message.parts.len()), (&StopReason::MalformedToolCall, 0));
    }
}

/// Edge case 38.
#[test]
fn a_bad_key_a_limit_per_minute_and_a_spent_day_are_told_apart_38() {
    let info = |reason: &str| json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason});
    let quota = |id: &str| json!({"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]});
    let wait = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"});
    let said = "You exceeded your current quota, please check your plan and billing details.";
    let error = |status: u16, word: &str, message: &str, details: Value| {
        let body = json!({"error": {"code": status, "message": message, "status": word, "details": details}});
        for body in [body.clone(), json!([body])] {
            let events = run_every_way(Decoder::new, &json_head(status), body.to_string().as_bytes());
            // The same, sent within a stream.
            let within = decode(&stream(std::slice::from_ref(&body)));
            let (error, inner) = (failure(&events).0.clone(), failure(&within).0.clone());
            assert_eq!((error.kind, error.retry_after), (inner.kind, inner.retry_after), "{error}; {inner}");
        }
        let events = run(Decoder::new, &json_head(status), &[body.to_string().as_bytes()]);
        let error = failure(&events).0;
        (error.kind, error.retryable, error.retry_after)
    };
    use ErrorKind::*;
    let bad_key = error(
        400,
        "INVALID_ARGUMENT",
        "API key not valid. Please pass a valid API key.",
        json!([info("API_KEY_INVALID")]),
    );
    assert_eq!(bad_key, (Auth, false, None));
    let minute = error(
        429,
        "RESOURCE_EXHAUSTED",
        said,
        json!([quota("GenerateRequestsPerMinutePerProject-FreeTier"), wait]),
    );
    assert_eq!(minute, (RateLimited, true, Some(Duration::from_secs(37))));
    let day = error(
        429,
        "RESOURCE_EXHAUSTED",
        said,
        json!([quota("GenerateRequestsPerDayPerProjectPerModel"), wait]),
    );
    assert_eq!(day, (Quota, false, Some(Duration::from_secs(37))));
    assert_eq!(error(400, "FAILED_PRECONDITION", "Please enable billing on project 1.", json!([])).0, Quota);
    assert_eq!(
        error(404, "NOT_FOUND", "models/x is not found for API version v1beta", json!([])).0,
        ModelNotFound
    );
    assert_eq!(error(500, "INTERNAL", "An internal error has occurred.", json!([])), (Server, true, None));
    assert_eq!(error(503, "UNAVAILABLE", "The model is overloaded.", json!([])), (Overloaded, true, None));
    assert_eq!(error(504, "DEADLINE_EXCEEDED", "Deadline expired.", json!([])).0, Server);
    assert_eq!(error(403, "PERMISSION_DENIED", "no", json!([])).0, Permission);
    let long = "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).";
    assert_eq!(error(400, "INVALID_ARGUMENT", long, json!([])).0, ContextOverflow);
    let unsigned = "Function call is missing a thought_signature in functionCall parts.";
    assert_eq!(error(400, "INVALID_ARGUMENT", unsigned, json!([])).0, ReplayRejected);
    let uneven = "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.";
    assert_eq!(error(400, "INVALID_ARGUMENT", uneven, json!([])).0, ReplayRejected);
}

#[test]
fn filters_limits_and_unknown_words_run_no_call() {
    let call = json!([{"text": "x"}, {"functionCall": {"name": "get", "args": {}}}]);
    for (word, expected) in [
        ("SAFETY", StopReason::ContentFilter),
        ("RECITATION", StopReason::ContentFilter),
        ("PROHIBITED_CONTENT", StopReason::ContentFilter),
        ("MAX_TOKENS", StopReason::Length),
        ("MALFORMED_FUNCTION_CALL", StopReason::MalformedToolCall),
        ("TOO_MANY_TOOL_CALLS", StopReason::Unknown("TOO_MANY_TOOL_CALLS".into())),
        ("OTHER", StopReason::Unknown("OTHER".into())),
    ] {
        let events = decode(&stream(&[parts(call.clone()), end(word)]));
        let reply = reply(&events);
        assert_eq!((stop(reply), &*reply.message.text()), (&expected, "x"));
        assert!(reply.message.calls().all(|call| !call.complete), "{word}");
    }
}

#[test]
fn an_end_without_a_reason_to_stop_is_a_cut_and_keeps_what_came() {
    let events = decode(&stream(&[parts(json!([{"text": "half"}, {"functionCall": {"name": "get"}}]))]));
    let (error, partial) = failure(&events);
    assert_eq!((error.kind, error.after_output, &*partial.text()), (ErrorKind::StreamCut, true, "half"));
    assert!(partial.calls().all(|call| !call.complete));
    let open = format!("{}data: {}", stream(&[parts(json!([{"text": "a"}]))]), end("STOP"));
    assert_eq!(failure(&decode(&open)).0.kind, ErrorKind::StreamCut, "an event that no blank line closed");
    let nothing = decode("");
    assert_eq!((failure(&nothing).0.kind, &failure(&nothing).0.spent), (ErrorKind::StreamCut, &None));
    // What was counted until then is told.
    let mut counted = parts(json!([{"text": "half"}]));
    counted["usageMetadata"] = json!({"promptTokenCount": 9, "candidatesTokenCount": 1});
    let events = decode(&stream(&[counted]));
    let usage = failure(&events).0.spent.as_ref().unwrap().usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (9, 1));
}

#[test]
fn a_connection_that_breaks_after_the_reason_to_stop_has_lost_nothing() {
    let mut decoder = Decoder::new(crate::wire::testing::info(), sse());
    let mut events = Vec::new();
    crate::wire::Decoder::feed(
        &mut decoder,
        stream(&[parts(json!([{"text": "a"}])), end("STOP")]).as_bytes(),
        &mut events,
    );
    let broken = ProviderError::new(ErrorKind::StreamCut, "x");
    crate::wire::Decoder::end(&mut decoder, Some(broken), &mut events);
    assert_eq!(reply(&events).message.text(), "a");
}

#[test]
fn one_response_and_a_list_of_them_are_read_too() {
    let whole = json!({"candidates": [{"content": {"parts": [{"text": "hi"}], "role": "model"}, "finishReason": "STOP"}],
                       "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 2}});
    let events = run_every_way(Decoder::new, &json_head(200), format!("\n\n {whole}").as_bytes());
    assert_eq!((&*reply(&events).message.text(), reply(&events).usage.unwrap().output_tokens), ("hi", 2));
    let list = json!([parts(json!([{"text": "a"}])), parts(json!([{"text": "b"}])), end("STOP")]);
    let events = run_every_way(Decoder::new, &json_head(200), list.to_string().as_bytes());
    assert_eq!(reply(&events).message.text(), "ab");
    let unfinished = parts(json!([{"text": "a"}])).to_string();
    let events = run_every_way(Decoder::new, &json_head(200), unfinished.as_bytes());
    assert_eq!(stop(reply(&events)), &StopReason::Stop, "a complete body is proof enough");
    let cut = &whole.to_string()[..40];
    assert_eq!(failure(&run(Decoder::new, &json_head(200), &[cut.as_bytes()])).0.kind, ErrorKind::StreamCut);
    for nonsense in ["{}", "[]", "{\"models\":[]}", "nonsense", "[1]"] {
        let events = run_every_way(Decoder::new, &json_head(200), nonsense.as_bytes());
        assert_eq!(failure(&events).0.kind, ErrorKind::Protocol, "{nonsense}");
    }
}

#[test]
fn images_and_parts_of_unknown_kinds_keep_their_place() {
    let code = json!({"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "c"});
    let events = answer(json!([
        {"text": "see"},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}, "thoughtSignature": "i"},
        code.clone(),
        {"inlineData": {"mimeType": "audio/wav", "data": "BB=="}},
        {"inlineData": {"mimeType": "image/png", "data": "CC=="}, "thought": true},
    ]));
    assert_eq!(
        reply(&events).message.parts,
        [
            Part::text("see"),
            Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AA==".into()) },
            opaque(SIGNATURE, "i".into()),
            opaque(PART, code),
            opaque(PART, json!({"inlineData": {"mimeType": "audio/wav", "data": "BB=="}})),
            // What it drew while it thought is no part of the answer.
            opaque(PART, json!({"inlineData": {"mimeType": "image/png", "data": "CC=="}, "thought": true})),
        ]
    );
}

#[test]
fn other_candidates_and_odd_fields_are_ignored() {
    let events = decode(&stream(&[
        json!({"candidates": [{"content": {"parts": [{"text": "mine"}]}, "index": 0}, {"content": {"parts": [{"text": "other"}]}, "index": 1, "finishReason": "SAFETY"}]}),
        json!({"candidates": null, "usageMetadata": {"promptTokenCount": "many"}, "error": null}),
        json!({"candidates": [{"content": {"parts": null}, "finishReason": 7, "safetyRatings": []}]}),
        json!({"candidates": [{"content": {}, "finishReason": "STOP"}]}),
    ]));
    let reply = reply(&events);
    assert_eq!((&*reply.message.text(), stop(reply), reply.usage), ("mine", &StopReason::Stop, None));
}

#[test]
fn a_web_page_is_told_as_such_and_a_key_in_an_error_is_not_told() {
    let events = run(Decoder::new, &Head::new(200, "text/html"), &[b"<html>"]);
    assert!(failure(&events).0.message.contains("web page"));
    let mut call = crate::wire::testing::info();
    call.redactor = crate::wire::Redactor::new([secrecy::SecretString::from("AIza-planted".to_owned())]);
    let mut decoder = Decoder::new(call, json_head(400));
    let mut events = Vec::new();
    let body = r#"{"error":{"code":400,"message":"bad key AIza-planted","status":"AIza-planted"}}"#;
    crate::wire::Decoder::feed(&mut decoder, body.as_bytes(), &mut events);
    crate::wire::Decoder::end(&mut decoder, None, &mut events);
    assert!(!format!("{events:?}").contains("AIza-planted"), "{events:?}");
}

fn sample() -> String {
    stream(&[
        parts(json!([{"text": "think é", "thought": true}, {"text": "Sure 🦉"}])),
        parts(json!([{"functionCall": {"name": "get", "args": {"x": "é"}}, "thoughtSignature": "s"}])),
        end("STOP"),
    ])
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_end_twice(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for head in [sse(), json_head(200), Head::new(200, ""), json_head(500)] {
            run(Decoder::new, &head, &pieces);
        }
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_events(cuts in prop::collection::vec(0usize..10_000, 0..12)) {
        let sample = sample();
        let whole = run(Decoder::new, &sse(), &[sample.as_bytes()]);
        prop_assert_eq!(run(Decoder::new, &sse(), &split_at_all(sample.as_bytes(), cuts)), whole);
    }

    #[test]
    fn a_stream_cut_anywhere_or_with_a_byte_changed_ends_once(at in 0usize..10_000, byte in any::<u8>()) {
        let mut bytes = sample().into_bytes();
        let at = at % bytes.len();
        run(Decoder::new, &sse(), &[&bytes[..at]]);
        bytes[at] = byte;
        run(Decoder::new, &sse(), &[&bytes]);
        run(Decoder::new, &json_head(200), &[&bytes]);
    }
}
