//! The wire adapters against a server, and which provider is taken when nobody names one.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Home, Output, finish};
use crate::server::{Answer, Server};

fn chunk(delta: Value, finish: Value) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-served",
           "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

const USAGE: &str = r#"{"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}"#;

/// Asks for `read` of a.txt, then answers with what that gave; streamed when it was asked so.
fn openai() -> Server {
    Server::start(|asked| {
        if asked.path != "/v1/chat/completions" {
            return Answer::json(404, &json!({"error": {"message": "no such path"}}));
        }
        let messages = asked.body["messages"].as_array().unwrap();
        let streamed = asked.body["stream"] == true;
        let usage: Value = serde_json::from_str(USAGE).unwrap();
        let call = json!({"id": "call_1", "type": "function",
                          "function": {"name": "read", "arguments": "{\"path\":\"a.txt\"}"}});
        let result = messages.iter().find(|message| message["role"] == "tool");
        let text =
            result.map(|result| format!("the file says: {}", result["content"].as_str().unwrap().trim()));
        let with_usage = json!({"id": "c1", "object": "chat.completion.chunk", "model": "m-served", "choices": [],
                                "usage": usage});
        match (streamed, text) {
            (true, None) => {
                let mut call = call;
                call["index"] = json!(0);
                let calls = json!({"role": "assistant", "tool_calls": [call]});
                Answer::events(&[
                    chunk(calls, Value::Null),
                    chunk(json!({}), json!("tool_calls")),
                    with_usage,
                ])
            }
            (true, Some(text)) => {
                let pieces =
                    text.split_inclusive(' ').map(|piece| chunk(json!({"content": piece}), Value::Null));
                let mut chunks: Vec<Value> = pieces.collect();
                chunks.extend([chunk(json!({}), json!("stop")), with_usage]);
                Answer::events(&chunks)
            }
            (false, text) => {
                let (message, finish) = match text {
                    None => {
                        (json!({"role": "assistant", "content": null, "tool_calls": [call]}), "tool_calls")
                    }
                    Some(text) => (json!({"role": "assistant", "content": text}), "stop"),
                };
                let choice = json!({"index": 0, "message": message, "finish_reason": finish});
                Answer::json(
                    200,
                    &json!({"id": "c1", "object": "chat.completion", "model": "m-served",
                                          "choices": [choice], "usage": usage}),
                )
            }
        }
    })
}

/// With the key in the environment.
fn with_key(mut command: Command) -> Output {
    command.env("MY_KEY", "sk-very-secret-0123456789");
    finish(command)
}

#[test]
fn openai_streamed_and_not_with_tools_in_and_out() {
    for extra in [&[][..], &["--no-stream"]] {
        let (home, server) = (Home::new(), openai());
        home.write("a.txt", "sesame");
        let url = server.url("/v1");
        let args = [
            &["send", "a", "read it", "--provider", "openai", "--base-url", &url, "--model", "m"][..],
            &["--api-key-env", "MY_KEY", "--system", "Be brief.", "--json"],
            extra,
        ];
        let object = with_key(home.command(&args.concat())).expect(0).json();
        assert!(object["text"].as_str().unwrap().contains("sesame"), "{object}");
        assert_eq!((&object["provider"], &object["iterations"]), (&json!("openai"), &json!(1)));
        assert_eq!(object["usage"]["input_tokens"], 22);

        // The next send needs no flags: where and with which key is stored, the key itself is not.
        let object = with_key(home.command(&["send", "a", "again", "--json"])).expect(0).json();
        assert_eq!((&object["provider"], &object["turn"]), (&json!("openai"), &json!(2)));
        let asked = server.asked("/v1/chat/completions");
        assert_eq!(asked.len(), 3, "two for the first turn and one for the second");
        for request in &asked {
            assert_eq!(request.authorization.as_deref(), Some("Bearer sk-very-secret-0123456789"));
            assert_eq!(
                (&request.body["model"], request.body["stream"] == true),
                (&json!("m"), extra.is_empty())
            );
            assert_eq!(request.body["messages"][0]["content"], "Be brief.");
        }
        let roles: Vec<&Value> =
            asked[2].body["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
        assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "user"]);
        for file in ["ergane.db", "ergane.db-wal"] {
            let bytes = std::fs::read(home.journal().with_file_name(file)).unwrap_or_default();
            assert!(!bytes.windows(14).any(|window| window == b"sk-very-secret"), "a key is in {file}");
        }
    }
}

#[test]
fn a_key_in_the_environment_makes_openai_the_default() {
    let (home, server) = (Home::new(), openai());
    home.write("a.txt", "sesame");
    let mut command = home.command(&["run", "read it", "--base-url", &server.url(""), "--model", "m"]);
    command.env("OPENAI_API_KEY", "sk-other");
    let output = finish(command).expect(0);
    assert!(output.stdout.contains("sesame"), "{output:?}");
    assert!(output.stderr.contains("provider openai, model m,"), "{output:?}");
    assert_eq!(server.asked("/v1/chat/completions")[0].authorization.as_deref(), Some("Bearer sk-other"));
}

#[test]
fn a_missing_key_says_which_variable_to_set() {
    let home = Home::new();
    let object = home.run(&["run", "hi", "--provider", "openai", "--json"]).expect(3).json();
    assert_eq!(
        (&object["error"]["kind"], &object["finish_reason"]),
        (&json!("auth"), &json!("provider_auth"))
    );
    assert!(object["error"]["message"].as_str().unwrap().contains("OPENAI_API_KEY"), "{object}");
}

#[test]
fn a_model_that_is_not_there_is_not_found() {
    let home = Home::new();
    let error = json!({"error": {"message": "The model `m` does not exist", "type": "invalid_request_error",
                                 "code": "model_not_found"}});
    let server = Server::start(move |_| Answer::json(404, &error));
    let args =
        ["run", "hi", "--provider", "openai", "--base-url", &server.url("/v1"), "--model", "m", "--json"];
    let object = home.run(&args).expect(3).json();
    assert_eq!(
        (&object["error"]["kind"], &object["finish_reason"]),
        (&json!("not_found"), &json!("during_execution"))
    );

    let server = Server::start(|_| Answer::json(404, &json!({"error": "model 'm' not found"})));
    let mut command = home.command(&["run", "hi", "--provider", "ollama", "--model", "m", "--json"]);
    command.env("OLLAMA_HOST", format!("127.0.0.1:{}", server.port));
    let object = finish(command).expect(3).json();
    assert_eq!(object["error"]["kind"], "not_found", "{object}");
}

#[test]
fn a_server_that_fails_is_asked_again_and_recovers() {
    let home = Home::new();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |_| {
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            return Answer::json(500, &json!({"error": {"message": "out of sorts"}}));
        }
        let choice =
            json!({"index": 0, "message": {"role": "assistant", "content": "back"}, "finish_reason": "stop"});
        Answer::json(200, &json!({"id": "c", "model": "m", "choices": [choice]}))
    });
    let url = server.url("/v1");
    let args = ["run", "hi", "--provider", "openai", "--base-url", &url, "--model", "m", "--no-stream"];
    let output = home.run(&args).expect(0);
    assert_eq!(output.stdout, "back\n");
    assert!(output.stderr.contains("attempt 1 failed"), "{output:?}");
    assert_eq!(server.asked("/v1/chat/completions").len(), 2);
}

/// An Ollama with one model.
fn ollama() -> Server {
    Server::start(|asked| match asked.path.as_str() {
        "/api/tags" => {
            Answer::json(200, &json!({"models": [{"name": "smol:latest", "model": "smol:latest"}]}))
        }
        "/api/chat" => {
            let text = format!("you are talking to {}", asked.body["model"].as_str().unwrap());
            let done = json!({"model": "smol:latest", "created_at": "2026-01-01T00:00:00Z", "done": true,
                              "done_reason": "stop", "message": {"role": "assistant", "content": ""},
                              "prompt_eval_count": 7, "eval_count": 3});
            let piece = json!({"model": "smol:latest", "created_at": "2026-01-01T00:00:00Z", "done": false,
                               "message": {"role": "assistant", "content": text}});
            Answer::lines(&[piece, done])
        }
        _ => Answer::json(404, &json!({"error": "not found"})),
    })
}

#[test]
fn a_reachable_ollama_is_the_default_with_its_first_model() {
    let (home, server) = (Home::new(), ollama());
    let run = |args: &[&str], key: bool| {
        let mut command = home.command(args);
        command.env("OLLAMA_HOST", format!("127.0.0.1:{}", server.port));
        if key {
            command.env("OPENAI_API_KEY", "sk-other");
        }
        finish(command)
    };
    let output = run(&["send", "a", "hi"], true).expect(0);
    assert_eq!(output.stdout, "you are talking to smol:latest\n");
    assert!(output.stderr.contains("provider ollama, model smol:latest"), "{output:?}");
    let object = run(&["query", "hi", "--json"], false).expect(0).json();
    assert_eq!((&object["model"], &object["usage"]["output_tokens"]), (&json!("smol:latest"), &json!(3)));
    // Another model by name; and with the provider named, its first one too.
    let object = run(&["query", "hi", "--model", "big", "--json"], false).expect(0).json();
    assert!(object["text"].as_str().unwrap().contains("big"), "{object}");
    let object = run(&["query", "hi", "--provider", "ollama", "--json"], false).expect(0).json();
    assert_eq!(object["model"], "smol:latest");
    // A script is not silently left unused, and does not silently change who answers.
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    let object = run(&["send", "a", "hi", "--script", &script, "--json"], false).expect(2).json();
    assert_eq!(object["error"]["kind"], "config");
    let settings = home.run(&["sessions", "show", "a", "--json"]).expect(0).json();
    assert_eq!(settings["settings"]["model"], "smol:latest", "a session keeps the model it began with");
    let args = ["send", "a", "hi", "--script", &script, "--provider", "scripted", "--json"];
    let object = run(&args, false).expect(0).json();
    assert_eq!((&object["text"], &object["model"]), (&json!("two"), &json!("scripted")));
}

#[test]
fn a_key_of_anthropic_in_the_environment_makes_that_the_default() {
    let home = Home::new();
    let run = |keys: &[&str]| {
        let mut command = home.command(&[
            "run",
            "hi",
            "--retries",
            "0",
            "--base-url",
            "http://127.0.0.1:1",
            "--model",
            "m",
            "--json",
        ]);
        command.envs(keys.iter().map(|key| (*key, "sk-some")));
        finish(command).expect(3).json()
    };
    assert_eq!(run(&["GEMINI_API_KEY"])["provider"], "gemini");
    assert_eq!(run(&["GEMINI_API_KEY", "OPENAI_API_KEY"])["provider"], "openai");
    let object = run(&["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]);
    assert_eq!((&object["provider"], &object["error"]["kind"]), (&json!("anthropic"), &json!("transport")));
}
