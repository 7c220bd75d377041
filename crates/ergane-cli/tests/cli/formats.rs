//! Every wire format through the real command: a question, a run with a tool, turns of a session, the list of models, and
//! what `doctor` says of it; streamed and not.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Home, Output, finish};
use crate::server::{Answer, Asked, Server};

const KEY: &str = "sk-very-secret-0123456789";

/// What the tests need to know of a format.
struct Format {
    provider: &'static str,
    /// What stands behind the address in a base URL.
    base: &'static str,
    /// The path of a call, streamed or not.
    path: fn(bool) -> &'static str,
    /// What the result of `read` in the request says, if there is one.
    result: fn(&Value) -> Option<String>,
    /// Whether the request offers the tool `read`.
    offers: fn(&Value) -> bool,
    /// An answer: a call of `read`, or a text; whole or streamed.
    answer: fn(Option<&str>, bool) -> Answer,
    models: fn() -> Value,
}

static FORMATS: [Format; 3] = [
    Format {
        provider: "openai_responses",
        base: "/v1",
        path: |_| "/v1/responses",
        result: |body| {
            let items = body["input"].as_array()?;
            let result = items.iter().find(|item| item["type"] == "function_call_output")?;
            Some(result["output"].as_str()?.to_owned())
        },
        offers: |body| {
            body["tools"].as_array().is_some_and(|all| all.iter().any(|tool| tool["name"] == "read"))
        },
        answer: responses,
        models: || json!({"data": [{"id": "m"}, {"id": "n"}]}),
    },
    Format {
        provider: "anthropic",
        base: "",
        path: |_| "/v1/messages",
        result: |body| {
            let messages = body["messages"].as_array()?;
            let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
            let result = blocks.into_iter().find(|block| block["type"] == "tool_result")?.clone();
            Some(result["content"][0]["text"].as_str()?.to_owned())
        },
        offers: |body| {
            body["tools"].as_array().is_some_and(|all| all.iter().any(|tool| tool["name"] == "read"))
        },
        answer: anthropic,
        models: || json!({"data": [{"id": "m", "max_input_tokens": 1000}, {"id": "n"}], "has_more": false}),
    },
    Format {
        provider: "gemini",
        base: "/v1beta",
        path: |streamed| match streamed {
            true => "/v1beta/models/m:streamGenerateContent?alt=sse",
            false => "/v1beta/models/m:generateContent",
        },
        result: |body| {
            let contents = body["contents"].as_array()?;
            let parts = contents.iter().filter_map(|content| content["parts"].as_array()).flatten();
            let result = parts.into_iter().find_map(|part| part.get("functionResponse"))?;
            Some(result["response"]["output"].as_str()?.to_owned())
        },
        offers: |body| {
            let tools = body["tools"][0]["functionDeclarations"].as_array();
            tools.is_some_and(|all| all.iter().any(|tool| tool["name"] == "read"))
        },
        answer: gemini,
        models: || json!({"models": [{"name": "models/m", "inputTokenLimit": 1000}, {"name": "models/n"}]}),
    },
];

/// Server-sent events, each named by its type.
fn named(events: &[Value]) -> Answer {
    let event = |data: &Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let body = events.iter().map(event).collect();
    Answer { status: 200, content_type: "text/event-stream", body, headers: String::new() }
}

fn responses(text: Option<&str>, streamed: bool) -> Answer {
    let item = match text {
        None => json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "read",
                       "arguments": "{\"path\":\"a.txt\"}", "status": "completed"}),
        Some(text) => json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                             "content": [{"type": "output_text", "text": text, "annotations": []}]}),
    };
    let whole = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "m-served", "output": [item],
                       "usage": {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16}});
    if !streamed {
        return Answer::json(200, &whole);
    }
    let mut begun = item.clone();
    let delta = match text {
        None => {
            begun["arguments"] = "".into();
            json!({"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc_1",
                   "delta": "{\"path\":\"a.txt\"}"})
        }
        Some(text) => {
            begun["content"] = json!([]);
            json!({"type": "response.output_text.delta", "output_index": 0, "item_id": "msg_1", "content_index": 0,
                   "delta": text})
        }
    };
    named(&[
        json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": begun}),
        delta,
        json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
        json!({"type": "response.completed", "response": whole}),
    ])
}

fn anthropic(text: Option<&str>, streamed: bool) -> Answer {
    let (block, stop) = match text {
        None => {
            let call =
                json!({"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a.txt"}});
            (call, "tool_use")
        }
        Some(text) => (json!({"type": "text", "text": text}), "end_turn"),
    };
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m-served", "content": [block],
                         "stop_reason": stop, "usage": {"input_tokens": 11, "output_tokens": 5}});
    if !streamed {
        return Answer::json(200, &message);
    }
    let (mut opened, mut begun) = (message.clone(), block.clone());
    (opened["content"], opened["stop_reason"]) = (json!([]), Value::Null);
    let delta = match text {
        None => {
            begun["input"] = json!({});
            json!({"type": "input_json_delta", "partial_json": "{\"path\":\"a.txt\"}"})
        }
        Some(text) => {
            begun["text"] = "".into();
            json!({"type": "text_delta", "text": text})
        }
    };
    named(&[
        json!({"type": "message_start", "message": opened}),
        json!({"type": "content_block_start", "index": 0, "content_block": begun}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ])
}

fn gemini(text: Option<&str>, streamed: bool) -> Answer {
    let part = match text {
        None => {
            json!({"functionCall": {"name": "read", "args": {"path": "a.txt"}}, "thoughtSignature": "c2ln"})
        }
        Some(text) => json!({"text": text}),
    };
    let response = json!({"candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
                          "usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 5},
                          "modelVersion": "m-served"});
    if !streamed {
        return Answer::json(200, &response);
    }
    let body = format!("data: {response}\r\n\r\n");
    Answer { status: 200, content_type: "text/event-stream", body, headers: String::new() }
}

impl Format {
    /// Asks for `read` of a.txt when that is offered, then answers with what it gave; `hello` to a question without tools.
    fn server(&'static self) -> Server {
        Server::start(move |asked: &Asked| {
            if asked.path.contains("/models") && asked.body.is_null() {
                return Answer::json(200, &(self.models)());
            }
            let streamed = asked.path == (self.path)(true) && asked.body["stream"] != false;
            if !streamed && asked.path != (self.path)(false) {
                return Answer::json(404, &json!({"error": {"message": "no such path"}}));
            }
            let read = (self.result)(&asked.body).map(|result| format!("the file says: {}", result.trim()));
            match read {
                Some(text) => (self.answer)(Some(&text), streamed),
                None if (self.offers)(&asked.body) => (self.answer)(None, streamed),
                None => (self.answer)(Some("hello"), streamed),
            }
        })
    }

    /// The words of a command, with where and by whom it is answered.
    fn command(&self, home: &Home, server: &Server, words: &[&str]) -> Command {
        let url = server.url(self.base);
        let place = ["--provider", self.provider, "--base-url", &url, "--api-key-env", "MY_KEY"];
        with_key(home.command(&[words, &place].concat()))
    }

    /// The calls that came, each of them as it was meant to be streamed.
    fn asked(&self, server: &Server, streamed: bool) -> Vec<Asked> {
        server.asked((self.path)(streamed))
    }
}

fn with_key(mut command: Command) -> Command {
    command.env("MY_KEY", KEY);
    command
}

fn each(mut test: impl FnMut(&'static Format, &Home, &Server, bool)) {
    for format in &FORMATS {
        for streamed in [true, false] {
            let (home, server) = (Home::new(), format.server());
            home.write("a.txt", "sesame");
            test(format, &home, &server, streamed);
        }
    }
}

fn how(streamed: bool) -> &'static [&'static str] {
    if streamed { &["--model", "m", "--json"] } else { &["--model", "m", "--json", "--no-stream"] }
}

fn of(format: &Format, output: Output) -> Value {
    assert!(!output.stdout.contains(KEY) && !output.stderr.contains(KEY), "{}: {output:?}", format.provider);
    output.expect(0).json()
}

#[test]
fn a_question_is_answered_in_every_format() {
    each(|format, home, server, streamed| {
        let words = [&["query", "say hello"][..], how(streamed)].concat();
        let object = of(format, finish(format.command(home, server, &words)));
        assert_eq!(
            (&object["text"], &object["finish_reason"]),
            (&json!("hello"), &json!("stop")),
            "{object}"
        );
        assert_eq!(object["provider"], format.provider);
        let usage = &object["usage"];
        assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(11), &json!(5)), "{object}");
        assert_eq!(format.asked(server, streamed).len(), 1, "{}", format.provider);
    });
}

#[test]
fn a_run_with_a_tool_ends_with_what_the_tool_gave_in_every_format() {
    each(|format, home, server, streamed| {
        let words = [&["run", "read it"][..], how(streamed)].concat();
        let object = of(format, finish(format.command(home, server, &words)));
        assert!(object["text"].as_str().unwrap().contains("sesame"), "{object}");
        assert_eq!((&object["iterations"], &object["tool_calls_made"]), (&json!(1), &json!(1)), "{object}");
        assert_eq!(object["usage"]["input_tokens"], 22);
        assert_eq!(format.asked(server, streamed).len(), 2, "{}", format.provider);
    });
}

#[test]
fn a_session_goes_on_in_every_format_from_where_and_with_what_it_began() {
    each(|format, home, server, streamed| {
        let words = [&["send", "a", "read it"][..], how(streamed)].concat();
        let object = of(format, finish(format.command(home, server, &words)));
        assert!(object["text"].as_str().unwrap().contains("sesame"), "{object}");
        let again = with_key(home.command(&["send", "a", "and again", "--json"]));
        let object = of(format, finish(again));
        assert_eq!((&object["provider"], &object["turn"]), (&json!(format.provider), &json!(2)));
        let asked = format.asked(server, streamed);
        assert_eq!(asked.len(), 3, "{}", format.provider);
        let last = asked[2].body.to_string();
        let at = |said: &str| last.find(said).unwrap_or_else(|| panic!("no {said} in {last}"));
        assert!(at("read it") < at("sesame") && at("sesame") < at("and again"), "{last}");
        for file in ["ergane.db", "ergane.db-wal"] {
            let bytes = std::fs::read(home.journal().with_file_name(file)).unwrap_or_default();
            assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "a key is in {file}");
        }
    });
}

#[test]
fn models_and_doctor_know_the_server_of_every_format() {
    for format in &FORMATS {
        let (home, server) = (Home::new(), format.server());
        let object = of(format, finish(format.command(&home, &server, &["models", "--json"])));
        let names: Vec<&Value> =
            object["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
        assert_eq!(names, ["m", "n"], "{object}");
        let (kind, url) = (format.provider, server.url(format.base));
        home.write(
            ".config/ergane/ergane.toml",
            format!(
                "provider = 'mine'\nmodel = 'm'\n[providers.mine]\nkind = '{kind}'\nbase_url = '{url}'\napi_key_env = 'MY_KEY'\n"
            ),
        );
        let object = of(format, finish(with_key(home.command(&["doctor", "--json"]))));
        let findings = object["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["check"] == "provider mine").unwrap();
        assert_eq!(
            (&found["status"], &found["message"]),
            (&json!("ok"), &json!("reachable, 2 models, m among them, the default")),
            "{kind}"
        );
        // And what is configured answers.
        let object = of(format, finish(with_key(home.command(&["query", "say hello", "--json"]))));
        assert_eq!((&object["text"], &object["provider"]), (&json!("hello"), &json!("mine")), "{kind}");
    }
}
