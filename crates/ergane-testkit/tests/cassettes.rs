//! What real servers said, played to the real providers. How each was recorded: `tests/cassettes/README.md`.
//!
//! A case is a small conversation that is held twice by the same code: with a server when it is recorded (`record`, by
//! hand), and with its cassette in every run of the tests. What came out when it was recorded stands in the cassette's
//! notes; the same must come out again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use ergane_core::{CallId, Message, ModelRequest, Part, Role, ToolResult, ToolSpec, TurnId};
use ergane_provider::{
    Anthropic, Delta, DeltaSink, EmbedRequest, Gemini, Ollama, OpenAi, OpenAiResponses, Provider,
    ProviderCall, ToolCalls,
};
use ergane_testkit::cassette::{Body, Exchange};
use ergane_testkit::{Cassette, Recorder, Replay};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    OpenAi,
    Ollama,
    Anthropic,
    Responses,
    Gemini,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// A question, answered in one piece.
    Whole,
    /// A question, answered in a stream.
    Stream,
    /// A question, answered by a call; and the call's result, answered by text.
    Tool,
    /// The same with two calls at once.
    Tools,
    /// A wrong key.
    WrongKey,
    /// A model that is not there.
    NoModel,
    /// A prompt that does not fit.
    Overflow,
    /// The list of models.
    Models,
    /// The vector of a text.
    Vectors,
}

struct Case {
    server: &'static str,
    api: Api,
    model: &'static str,
    talk: Talk,
}

/// Every conversation that is recorded.
fn cases() -> Vec<Case> {
    use Talk::*;
    let mut cases = Vec::new();
    let mut add = |server, model, api, talks: &[Talk]| {
        cases.extend(talks.iter().map(|talk| Case { server, api, model, talk: *talk }));
    };
    add("llama", "smol", Api::OpenAi, &[Whole, Stream, WrongKey, Overflow]);
    add("llama", "smol", Api::Anthropic, &[Whole, Stream, WrongKey, Overflow]);
    add("llama", "smol", Api::Responses, &[Whole, Stream, WrongKey, Overflow]);
    add("aimock", "mock", Api::OpenAi, &[Whole, Stream, Tool, Tools, NoModel, Models, Vectors]);
    add("aimock", "mock", Api::Ollama, &[Whole, Stream, Tool, Tools, NoModel, Models]);
    add("aimock", "mock", Api::Anthropic, &[Whole, Stream, Tool, Tools, NoModel]);
    add("aimock", "mock", Api::Responses, &[Whole, Stream, Tool, Tools, NoModel]);
    // It ends calls with a word that Gemini does not have.
    add("aimock", "mock", Api::Gemini, &[Whole, Stream, NoModel]);
    for api in [Api::OpenAi, Api::Anthropic, Api::Responses, Api::Gemini] {
        add("litellm", "mock", api, &[Whole, Stream, Tool, Tools, NoModel, WrongKey]);
    }
    cases
}

impl Case {
    fn name(&self) -> String {
        format!("{}-{:?}-{:?}", self.server, self.api, self.talk).to_lowercase()
    }

    fn file(&self) -> PathBuf {
        folder().join(format!("{}.jsonl", self.name()))
    }

    fn provider(&self, url: &str, key: &Path) -> Box<dyn Provider> {
        match self.api {
            Api::OpenAi => Box::new(OpenAi::new(url).api_key_file(key)),
            // A cassette holds the calls, and not what is asked of the model before them.
            Api::Ollama => Box::new(Ollama::new(url).api_key_file(key).tool_calls(ToolCalls::Native)),
            Api::Anthropic => Box::new(Anthropic::new(url).api_key_file(key)),
            Api::Responses => Box::new(OpenAiResponses::new(url).api_key_file(key)),
            Api::Gemini => Box::new(Gemini::new(url).api_key_file(key)),
        }
    }

    /// The first request.
    fn request(&self) -> ModelRequest {
        let (text, tools): (String, &[&str]) = match self.talk {
            Talk::Tool => ("What is the weather in Oslo?".into(), &["get_weather"]),
            Talk::Tools => ("Compare the weather in Oslo and Rome.".into(), &["get_weather"]),
            Talk::Overflow => ("All work and no play makes Jack a dull boy. ".repeat(400), &[]),
            _ => ("Say hello in one short sentence.".into(), &[]),
        };
        let spec = |name: &&str| ToolSpec {
            name: (*name).into(),
            description: "Tells the weather in a city.".into(),
            parameters:
                json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
                    .into(),
        };
        ModelRequest {
            model: if self.talk == Talk::NoModel { "no-such-model" } else { self.model }.into(),
            system: Some("You are brief.".into()),
            tools: tools.iter().map(spec).collect(),
            stream: self.talk != Talk::Whole,
            max_tokens: Some(16),
            ..request(&text)
        }
    }

    /// Holds the conversation and tells what came of it, in the few words that no change of ours may change.
    async fn hold(&self, url: &str, key: &str) -> Vec<Value> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), if self.talk == Talk::WrongKey { "sk-wrong-key" } else { key }).unwrap();
        let provider = self.provider(url, file.path());
        match self.talk {
            Talk::Models => {
                let models = provider.list_models().await.unwrap();
                return vec![models.iter().map(|model| &*model.id).collect()];
            }
            Talk::Vectors => {
                let made = provider.embed(EmbedRequest::new(self.model, ["a red fox"])).await.unwrap();
                return vec![json!({"model": &*made.model, "vectors": made.vectors})];
            }
            _ => {}
        }
        let mut request = self.request();
        let mut seen = Vec::new();
        loop {
            let shown = Arc::new(Mutex::new(String::new()));
            let sink = Arc::clone(&shown);
            let deltas = DeltaSink::new(move |delta| {
                if let Delta::Text(text) = delta {
                    sink.lock().unwrap().push_str(&text);
                }
            });
            // A real model on a busy machine takes its time; a cassette does not.
            let idle_timeout = Duration::from_secs(600);
            let call =
                ProviderCall { provider: "test".into(), request: request.clone(), idle_timeout, deltas };
            let reply = match provider.call(call).await {
                Ok(reply) => reply,
                Err(error) => {
                    assert!(!error.message.contains("sk-"), "{error}");
                    seen.push(json!({"error": error.kind.code(), "status": error.status, "retryable": error.retryable}));
                    return seen;
                }
            };
            let mut message = reply.message;
            let text = message.text();
            if request.stream {
                assert_eq!(*shown.lock().unwrap(), text, "{}: what was shown is what was said", self.name());
            }
            let calls: Vec<Value> = message
                .calls()
                .map(|call| json!([&*call.name, call.arguments().unwrap(), call.complete]))
                .collect();
            let origin = message.origin.clone().unwrap();
            let usage = reply.usage.map(|usage| json!([usage.input_tokens, usage.output_tokens]));
            seen.push(json!({"text": text, "calls": calls, "stop": origin.stop, "usage": usage}));
            if calls.is_empty() {
                return seen;
            }
            assert!(seen.len() < 4, "{}: {seen:?}", self.name());
            message.number_calls(TurnId(1), 1);
            let result = |(call, temperature): (&ergane_core::ToolCall, u32)| {
                let content = vec![Part::text(format!("{temperature} degrees"))];
                Part::ToolResult(ToolResult {
                    call: call.id,
                    name: call.name.clone(),
                    content,
                    is_error: false,
                    synthetic: false,
                })
            };
            assert!(message.calls().all(|call| call.id != CallId::UNNUMBERED));
            let results = message.calls().zip(7..).map(result).collect();
            let results = Message { role: Role::Tool, parts: results, origin: None };
            let said: Vec<_> =
                request.messages.iter().cloned().chain([Arc::new(message), Arc::new(results)]).collect();
            request.messages = said.into_iter().collect();
        }
    }

    /// What must have come of it, whatever the words were.
    fn check(&self, seen: &[Value]) {
        let name = self.name();
        let error = |code: &str| assert_eq!(seen[0]["error"], code, "{name}: {seen:?}");
        let calls = |step: &Value| step["calls"].as_array().map_or(0, Vec::len);
        match self.talk {
            Talk::Whole | Talk::Stream => {
                assert_eq!(seen.len(), 1, "{name}: {seen:?}");
                assert!(!seen[0]["text"].as_str().unwrap().trim().is_empty(), "{name}: {seen:?}");
                assert!(matches!(seen[0]["stop"].as_str(), Some("stop" | "length")), "{name}: {seen:?}");
            }
            Talk::Tool | Talk::Tools => {
                assert_eq!(seen.len(), 2, "{name}: {seen:?}");
                assert_eq!(calls(&seen[0]), if self.talk == Talk::Tool { 1 } else { 2 }, "{name}: {seen:?}");
                assert_eq!(seen[0]["calls"][0], json!(["get_weather", {"city": "Oslo"}, true]), "{name}");
                assert_eq!(seen[0]["stop"], "tool_calls", "{name}");
                assert!(!seen[1]["text"].as_str().unwrap().is_empty(), "{name}: {seen:?}");
            }
            Talk::Models => assert_eq!(seen, [json!(["no-such-model"])], "{name}: as the fixture names them"),
            Talk::Vectors => assert_eq!(seen[0]["vectors"], json!([[0.25, -0.5, 0.75]]), "{name}"),
            Talk::WrongKey => error("auth"),
            Talk::NoModel => error("not_found"),
            Talk::Overflow => error("context_length"),
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cassettes")
}

#[tokio::test]
async fn every_cassette_is_played_and_comes_out_as_it_was_recorded() {
    for case in cases() {
        let name = case.name();
        let cassette = Cassette::load(case.file()).unwrap();
        let expected = cassette.header.notes.clone();
        let replay = Replay::start(cassette).await.unwrap();
        let seen = soon(&name, case.hold(replay.url(), KEY)).await;
        if let Err(error) = replay.finish() {
            panic!("{name}: {error}\nwhat came of it: {seen:?}");
        }
        case.check(&seen);
        assert_eq!(Value::from(seen), expected, "{name}");
    }
}

#[tokio::test]
async fn a_request_without_the_version_of_its_format_is_not_the_one_that_was_recorded() {
    let mut last = None;
    for case in cases().iter().filter(|case| case.api == Api::Anthropic) {
        let cassette = Cassette::load(case.file()).unwrap();
        let version = ("anthropic-version".to_owned(), "2023-06-01".to_owned());
        let has_version = |exchange: &Exchange| exchange.request.headers.contains(&version);
        assert!(cassette.exchanges.iter().all(has_version), "{}", case.name());
        last = Some(cassette);
    }
    let cassette = last.unwrap();
    let request = cassette.exchanges[0].request.clone();
    let Body::Json(body) = &request.body else { panic!("{request:?}") };
    let replay = Replay::start(cassette).await.unwrap();
    let address = replay.url().trim_start_matches("http://").split('/').next().unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (path, body) = (request.path, body.to_string());
    let length = body.len();
    let asked = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the refusal", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("header anthropic-version: recorded 2023-06-01, not asked"), "{answer}");
}

#[test]
fn every_file_beside_the_cassettes_is_a_case_and_holds_no_key() {
    let known: Vec<String> = cases().iter().map(|case| format!("{}.jsonl", case.name())).collect();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(known.contains(&name), "{name} is played by no case");
            let text = std::fs::read_to_string(&path).unwrap();
            for planted in ["sk-", "Bearer", "api_key\":"] {
                assert!(!text.contains(planted), "{name} holds {planted:?}");
            }
        }
    }
}

/// Records every case whose server is named: `RECORD_LLAMA=URL RECORD_LLAMA_SOURCE=…`, and so on; with `RECORD_ONLY=llama-r`
/// only those whose names begin so. By hand, by `tests/cassettes/record.sh`.
#[tokio::test]
#[ignore = "needs the real servers, which tests/cassettes/record.sh starts"]
async fn record() {
    let variable = |name: String| std::env::var(&name).ok();
    let mut recorded = 0;
    let only = variable("RECORD_ONLY".to_owned()).unwrap_or_default();
    for case in cases().into_iter().filter(|case| case.name().starts_with(&only)) {
        let server = case.server.to_uppercase();
        let Some(url) = variable(format!("RECORD_{server}")) else { continue };
        let source = variable(format!("RECORD_{server}_SOURCE")).expect("what is recorded, with its version");
        let recorder = Recorder::start(&url, source).await.unwrap();
        let seen = case.hold(recorder.url(), "sk-of-the-recording").await;
        println!("{}: {}", case.name(), Value::from(seen.clone()));
        case.check(&seen);
        let mut cassette = recorder.finish().await.unwrap();
        cassette.header.notes = seen.into();
        cassette.save(case.file()).unwrap();
        recorded += 1;
    }
    assert!(recorded > 0, "no server was named");
}
