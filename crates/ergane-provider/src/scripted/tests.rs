use std::sync::Arc;
use std::time::Duration;

use ergane_core::{
    CallId, ErrorKind, Message, MicroUsd, Part, StopReason, ToolResult, ToolSpec, TurnId, Usage,
};
use serde_json::json;

use super::*;
use crate::provider::{Delta, DeltaSink};

fn tools(names: &[&str]) -> Arc<[ToolSpec]> {
    names.iter().map(|name| crate::wire::testing::tool(name, json!({"type": "object"}))).collect()
}

fn request(messages: Vec<Message>) -> ModelRequest {
    crate::wire::testing::model_request(messages)
}

fn asking(text: &str) -> ModelRequest {
    ModelRequest { tools: tools(&["glob", "read"]), ..request(vec![Message::user_text(text)]) }
}

type Shown = Arc<Mutex<Vec<Delta>>>;

async fn ask(provider: &Scripted, request: &ModelRequest) -> (Result<ModelReply, ProviderError>, Vec<Delta>) {
    let shown: Shown = Arc::default();
    let sink = shown.clone();
    let call = ProviderCall {
        provider: "s".into(),
        request: request.clone(),
        idle_timeout: Duration::from_secs(60),
        deltas: DeltaSink::new(move |delta| sink.lock().unwrap().push(delta)),
    };
    let result = provider.call(call).await;
    let shown = shown.lock().unwrap().clone();
    (result, shown)
}

async fn reply(provider: &Scripted, request: &ModelRequest) -> ModelReply {
    ask(provider, request).await.0.unwrap()
}

fn answered(mut request: ModelRequest, reply: ModelReply, results: &[(&str, &str, bool)]) -> ModelRequest {
    let mut message = reply.message;
    message.number_calls(TurnId(1), request.messages.len() as u32);
    let parts = message
        .calls()
        .zip(results)
        .map(|(call, (name, text, is_error))| {
            assert_eq!(&*call.name, *name);
            Part::ToolResult(ToolResult {
                call: call.id,
                name: call.name.clone(),
                content: vec![Part::text(*text)],
                is_error: *is_error,
                synthetic: false,
            })
        })
        .collect();
    request.messages.push(Arc::new(message));
    request.messages.push(Arc::new(Message { role: Role::Tool, parts, origin: None }));
    request
}

#[tokio::test]
async fn the_builtin_conversation_looks_reads_and_answers_from_what_it_was_shown() {
    let scripted = Scripted::builtin();
    let question = asking("What does this project depend on?");
    let first = reply(&scripted, &question).await;
    let glob = first.message.calls().next().unwrap();
    assert_eq!(&*glob.name, "glob");
    assert!(glob.arguments().unwrap()["pattern"].as_str().unwrap().contains("Cargo.toml"));
    assert_eq!(first.usage, None, "no tokens are invented");
    let listing = "crates/a/Cargo.toml\nCargo.toml\ntarget/package/Cargo.toml\nsrc/Cargo.lock\n[the newest 3 of 9 matches]";
    let found = answered(question, first, &[("glob", listing, false)]);
    let second = reply(&scripted, &found).await;
    let paths: Vec<_> =
        second.message.calls().map(|call| call.arguments().unwrap()["path"].clone()).collect();
    assert_eq!(paths, ["Cargo.toml", "crates/a/Cargo.toml"], "the root's first, no build output");
    let root = "1\t[workspace.dependencies]\n2\tserde = \"1.0\"\n3\tplanted-crate = { version = \"7\" }";
    let read = answered(
        found,
        second,
        &[("read", root, false), ("read", "1\t[dependencies]\n2\tserde.workspace = true", false)],
    );
    let answer = reply(&scripted, &read).await.message.text();
    for expected in ["serde 1.0", "planted-crate 7", "crates/a/Cargo.toml", "workspace.dependencies"] {
        assert!(answer.contains(expected), "{expected:?} in {answer}");
    }
}

#[tokio::test]
async fn the_builtin_conversation_says_that_it_cannot_know_when_it_was_shown_nothing() {
    let scripted = Scripted::builtin();
    let without_tools = request(vec![Message::user_text("list the dependencies")]);
    assert!(reply(&scripted, &without_tools).await.message.text().contains("cannot know"));
    let question = asking("list the dependencies");
    let first = reply(&scripted, &question).await;
    for (text, is_error) in [("(no matches)", false), ("permission denied", true)] {
        let found = answered(question.clone(), first.clone(), &[("glob", text, is_error)]);
        let answer = reply(&scripted, &found).await;
        assert_eq!(answer.message.calls().count(), 0);
        assert!(answer.message.text().contains("cannot know"), "{}", answer.message.text());
    }
    let found = answered(question, first, &[("glob", "Cargo.toml", false)]);
    let second = reply(&scripted, &found).await;
    for (text, is_error) in [("denied", true), ("", false)] {
        let read = answered(found.clone(), second.clone(), &[("read", text, is_error)]);
        let answer = reply(&scripted, &read).await.message.text();
        assert!(answer.contains("cannot know") && answer.contains("Cargo.toml"), "{answer}");
    }
    let partial = answered(
        found.clone(),
        second.clone(),
        &[("read", "1\t[dependencies]\n2\ta = \"1\"\n[more lines follow; go on with offset 3]", false)],
    );
    assert!(reply(&scripted, &partial).await.message.text().contains("Only a part was shown"));
    let none = answered(found, second, &[("read", "1\t[package]", false)]);
    assert!(reply(&scripted, &none).await.message.text().contains("depends on nothing else"));
}

#[tokio::test]
async fn the_builtin_conversation_remembers_what_it_was_shown_when_it_is_asked_what_is_only_for_tests() {
    let scripted = Scripted::builtin();
    let asked = "And which of these are only for tests?";
    assert_eq!(reply(&scripted, &asking(asked)).await.message.calls().count(), 1, "it has seen nothing yet");

    let question = asking("What does this project depend on?");
    let first = reply(&scripted, &question).await;
    let found = answered(question, first, &[("glob", "Cargo.toml\nb/Cargo.toml\nc/package.json", false)]);
    let second = reply(&scripted, &found).await;
    let cargo = "1\t[dependencies]\n2\tserde = \"1\"\n3\t[dev-dependencies]\n4\tproptest = \"2\"";
    let node = "1\t{\"dependencies\": {\"react\": \"18\"}, \"devDependencies\": {\"vitest\": \"3\"}}";
    let plain = "1\t[dependencies]\n2\tlog = \"0.4\"";
    let mut read =
        answered(found, second, &[("read", cargo, false), ("read", plain, false), ("read", node, false)]);
    let third = reply(&scripted, &read).await;
    read.messages.push(Arc::new(third.message));
    read.messages.push(Arc::new(Message::user_text(asked)));
    let answer = reply(&scripted, &read).await.message;
    assert_eq!(answer.calls().count(), 0, "it does not look again");
    let text = answer.text();
    for expected in
        ["proptest 2", "vitest 3", "only for tests", "No dependencies for tests only", "b/Cargo.toml"]
    {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    assert!(!text.contains("serde") && !text.contains("react"), "{text}");
}

#[tokio::test]
async fn the_builtin_conversation_looks_again_in_the_next_turn() {
    let scripted = Scripted::builtin();
    let question = asking("dependencies?");
    let first = reply(&scripted, &question).await;
    let mut later = answered(question, first, &[("glob", "(no matches)", false)]);
    later.messages.push(Arc::new(Message::user_text("and now, what are the dependencies?")));
    assert_eq!(&*reply(&scripted, &later).await.message.calls().next().unwrap().name, "glob");
}

#[tokio::test]
async fn to_anything_else_the_builtin_conversation_says_what_it_is() {
    let (result, shown) = ask(&Scripted::builtin(), &asking("Tell me a joke 🦉")).await;
    let text = result.unwrap().message.text();
    assert!(
        text.contains("Tell me a joke 🦉") && text.contains("not a model") && text.contains("OPENAI_API_KEY")
    );
    let streamed: String = shown
        .iter()
        .map(|delta| match delta {
            Delta::Text(text) => &**text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(streamed, text);
    assert!(shown.len() > 3);
}

fn script(lines: &str) -> Scripted {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines).unwrap();
    Scripted::from_file(file.path()).unwrap()
}

#[tokio::test]
async fn the_line_that_answers_is_the_one_at_the_number_of_answers_so_far() {
    let scripted = script(
        "# a comment\n\n{\"text\":\"one\"}\n  {\"text\":\"two\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4},\"cost_usd\":0.5}\n",
    );
    let start = request(vec![Message::user_text("go")]);
    let first = reply(&scripted, &start).await;
    assert_eq!((first.message.text(), first.usage, first.cost), ("one".to_owned(), None, None));
    assert_eq!(reply(&scripted, &start).await.message.text(), "one", "asked again, after a crash");
    let next = answered(start, first, &[]);
    let second = reply(&scripted, &next).await;
    assert_eq!(second.message.text(), "two");
    assert_eq!(second.usage, Some(Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() }));
    assert_eq!(second.cost, Some(MicroUsd(500_000)));
    let end = ask(&scripted, &answered(next, second, &[])).await.0.unwrap_err();
    assert_eq!(end.kind, ErrorKind::InvalidRequest);
    assert!(end.message.contains("the script has ended"), "{end}");
}

#[tokio::test]
async fn errors_are_used_up_attempt_by_attempt_and_then_the_reply_is_given() {
    let scripted = script(
        r#"{"errors":[{"kind":"rate_limited","message":"slow","status":429,"retry_after_ms":10},{"kind":"server","after_text":"par"}],"text":"ok"}"#,
    );
    let request = request(vec![]);
    let first = ask(&scripted, &request).await.0.unwrap_err();
    assert_eq!(
        (first.kind, first.status, first.retry_after, first.retryable),
        (ErrorKind::RateLimited, Some(429), Some(Duration::from_millis(10)), true)
    );
    let (second, shown) = ask(&scripted, &request).await;
    assert!(second.unwrap_err().after_output && shown == [Delta::Text("par".into())]);
    assert_eq!(reply(&scripted, &request).await.message.text(), "ok");
    let only = script(r#"{"errors":[{"kind":"server"},{"kind":"auth"}]}"#);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(ask(&only, &request).await.0.unwrap_err().kind);
    }
    assert_eq!(kinds, [ErrorKind::Server, ErrorKind::Auth, ErrorKind::Auth, ErrorKind::Auth]);
}

#[tokio::test]
async fn calls_reasoning_and_the_reason_to_stop_are_as_written() {
    let scripted = script(
        r#"{"reasoning":"hm","text":"see","tool_calls":[{"name":"read","arguments":{"path":"a"}},{"name":"read","arguments":"{bad"},{"name":"list"}]}
{"text":"cut","tool_calls":[{"name":"read"}],"stop":"length"}
{"text":"no","stop":"refusal"}"#,
    );
    let start = request(vec![]);
    let (first, shown) = ask(&scripted, &start).await;
    let first = first.unwrap();
    assert_eq!(shown[0], Delta::Reasoning("hm".into()));
    assert_eq!(shown[2], Delta::ToolCall { name: "read".into() });
    let arguments: Vec<&str> = first.message.calls().map(|call| &*call.arguments).collect();
    assert_eq!(arguments, ["{\"path\":\"a\"}", "{bad", "{}"]);
    assert!(first.message.calls().all(|call| call.complete && call.id == CallId::UNNUMBERED));
    let next = answered(start, first, &[]);
    let second = reply(&scripted, &next).await;
    assert_eq!(second.message.origin.as_ref().unwrap().stop, StopReason::Length);
    assert!(!second.message.calls().next().unwrap().complete);
    let third = reply(&scripted, &answered(next, second, &[])).await;
    assert_eq!(third.message.parts, [Part::Refusal { text: "no".into() }]);
}

#[tokio::test(start_paused = true)]
async fn silence_within_the_idle_timeout_is_waited_for_and_beyond_it_is_a_timeout() {
    let slow = script(r#"{"delay_ms":59000,"text":"ok","chunk_delay_ms":59000}"#);
    let before = tokio::time::Instant::now();
    assert_eq!(reply(&slow, &request(vec![])).await.message.text(), "ok");
    assert_eq!(before.elapsed(), Duration::from_secs(118));
    for line in [r#"{"delay_ms":61000}"#, r#"{"hang":true}"#, r#"{"text":"shown","hang":true}"#] {
        let error = ask(&script(line), &request(vec![])).await.0.unwrap_err();
        assert_eq!((error.kind, error.after_output), (ErrorKind::Timeout, line.contains("shown")), "{line}");
    }
}

#[tokio::test]
async fn a_cut_answer_shows_its_beginning_and_fails() {
    let (result, shown) = ask(&script(r#"{"cut_after":"half an ans"}"#), &request(vec![])).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.after_output, error.retryable), (ErrorKind::StreamCut, true, true));
    assert_eq!(shown, [Delta::Text("half an ans".into())]);
}

#[tokio::test]
async fn nothing_is_streamed_to_who_asked_for_a_whole_answer() {
    let whole = ModelRequest { stream: false, ..request(vec![]) };
    let (result, shown) = ask(&Scripted::replies([ScriptedReply::text("ok")]), &whole).await;
    assert!(result.is_ok() && shown.is_empty());
}

#[tokio::test]
async fn a_function_sees_the_request_and_the_number_of_the_attempt() {
    let scripted = Scripted::from_fn(|request, attempt| {
        let text = format!("{} {attempt}", request.messages.last().unwrap().text());
        let reply = ScriptedReply::text(text);
        if attempt < 3 {
            reply
                .after_error(ScriptedError::new(ErrorKind::Server))
                .after_error(ScriptedError::new(ErrorKind::Server))
        } else {
            reply
        }
    });
    let asked = request(vec![Message::user_text("a")]);
    assert!(ask(&scripted, &asked).await.0.is_err());
    assert!(ask(&scripted, &asked).await.0.is_err());
    assert_eq!(reply(&scripted, &asked).await.message.text(), "a 3");
    assert!(ask(&scripted, &asked).await.0.is_err(), "after a success it is counted anew");
}

#[test]
fn a_bad_line_is_named_with_its_number_and_what_is_wrong() {
    let read = |lines: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        Scripted::from_file(file.path()).unwrap_err()
    };
    for (line, reason) in [
        (r#"{"txt":"x"}"#, "txt"),
        (r#"{"text":1}"#, "invalid type"),
        ("nonsense", "expected"),
        (r#"{"errors":[{"kind":"odd"}]}"#, "odd"),
        (r#"{"stop":"odd"}"#, "odd"),
        (r#"{"usage":{"tokens":1}}"#, "tokens"),
        (r#"{"tool_calls":[{"arguments":{}}]}"#, "name"),
    ] {
        let error = read(&format!("# first\n{{}}\n{line}\n"));
        assert!(matches!(error, SetupError::BadScriptLine { line: 3, .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let missing = Scripted::from_file("/nowhere/at/all").unwrap_err();
    assert!(
        matches!(missing, SetupError::ScriptUnreadable { .. })
            && missing.to_string().contains("/nowhere/at/all")
    );
}
