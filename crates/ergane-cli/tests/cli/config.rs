//! The configuration file: what holds when neither a flag nor the environment says otherwise.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Home, Running, finish};
use crate::server::{Answer, Server};

/// Where the file is when nobody says otherwise.
const FILE: &str = ".config/ergane/ergane.toml";

/// Answers with the model that was asked and with the key that came.
fn openai() -> Server {
    Server::start(|asked| {
        let key = asked.authorization.clone().unwrap_or_else(|| "no key".to_owned());
        let text = format!("{} {key}", asked.body["model"].as_str().unwrap());
        let choice =
            json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
        Answer::json(200, &json!({"id": "c", "model": "m", "choices": [choice]}))
    })
}

#[test]
fn a_provider_of_ones_own_is_the_default_with_its_model_place_and_key() {
    let (home, server) = (Home::new(), openai());
    home.write("key", "from-a-file\n");
    let url = server.url("");
    home.write(
        FILE,
        format!(
            "provider = 'mine'\nmodel = 'big'\n[providers.mine]\nkind = 'openai'\nbase_url = '{url}'\nmodel = 'small'\n\
             api_key_env = 'MINE'\n[providers.filed]\nkind = 'openai'\nbase_url = '{url}'\nmodel = 'm'\n\
             api_key_file = '../../key'\n"
        ),
    );
    let ask = |args: &[&str]| {
        let mut command = home.command(&[&["query", "hi", "--no-stream", "--json"], args].concat());
        command.env("MINE", "secret-1");
        finish(command).expect(0).json()
    };
    let object = ask(&[]);
    assert_eq!((&object["provider"], &object["text"]), (&json!("mine"), &json!("big Bearer secret-1")));
    // Flags beat the file: another model, another provider, another place.
    assert_eq!(ask(&["--model", "huge"])["text"], "huge Bearer secret-1");
    assert_eq!(ask(&["--provider", "mine"])["text"], "big Bearer secret-1");
    assert_eq!(ask(&["--provider", "filed"])["text"], "m Bearer from-a-file");
    let other = openai();
    let object = ask(&["--base-url", &other.url(""), "--model", "x"]);
    assert_eq!(object["text"], "x no key", "a key is not carried to another server");
    assert_eq!(ask(&["--provider", "scripted"])["provider"], "scripted");
}

#[test]
fn a_session_begins_as_the_file_says_and_keeps_what_it_has() {
    let home = Home::new();
    let replies: Vec<Value> = (0..3).map(|n| json!({"text": n.to_string()})).collect();
    let script = home.script("s", &replies);
    home.write(FILE, "tools = ['read']\n[permissions]\nmode = 'plan'\ndeny = ['bash']\n");
    let settings = |args: &[&str], name: &str| {
        home.run(&[&["send", name, "hi", "--script", &script], args].concat()).expect(0);
        home.run(&["sessions", "show", name, "--json"]).expect(0).json()["settings"].clone()
    };
    let first = settings(&[], "a");
    assert_eq!(first["tools"], json!(["read"]));
    assert_eq!(
        (&first["permissions"]["mode"], &first["permissions"]["deny"]),
        (&json!("plan"), &json!(["bash"]))
    );
    let flagged = settings(&["--tools", "all", "--permissions", "bypass"], "b");
    assert_eq!((&flagged["tools"], &flagged["permissions"]["mode"]), (&Value::Null, &json!("bypass")));
    home.write(FILE, "[permissions]\nmode = 'bypass'\n");
    assert_eq!(settings(&[], "a"), first, "a stored session is not touched by the file");
}

#[test]
fn a_query_has_no_tools_whatever_the_file_says_and_asks_once() {
    let home = Home::new();
    home.write(FILE, "tools = 'all'\n[permissions]\nmode = 'bypass'\n");
    let script = home.script(
        "s",
        &[
            json!({"text": "I look.", "tool_calls": [{"name": "bash", "arguments": {"command": "touch ran"}}]}),
            json!({"text": "never asked for"}),
        ],
    );
    let object = home.run(&["query", "hi", "--script", &script, "--json"]).expect(1).json();
    assert_eq!((&object["finish_reason"], &object["text"]), (&json!("max_turns"), &json!("I look.")));
    assert!(!home.path("ran").exists());
}

#[test]
fn the_journal_is_where_the_file_says_unless_a_flag_or_the_environment_does() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    home.write("my.toml", "journal = 'kept/here.db'\n");
    let send =
        |args: &[&str]| home.run(&[&["send", "a", "hi", "--script", &script], args].concat()).expect(0);
    send(&["--config", "my.toml"]);
    assert!(home.path("kept/here.db").exists());
    let listed = home.run(&["sessions", "--json", "--config", "my.toml"]).expect(0).json();
    assert_eq!(listed["sessions"][0]["name"], "a");
    send(&["--config", "my.toml", "--journal", "flag.db"]);
    assert!(home.path("flag.db").exists());
    let mut command = home.command(&["send", "a", "hi", "--script", &script]);
    command.env("ERGANE_CONFIG", home.path("my.toml")).env("ERGANE_JOURNAL", home.path("env.db"));
    finish(command).expect(0);
    assert!(home.path("env.db").exists() && !home.journal().exists());
}

#[test]
fn a_mistake_in_it_is_told_with_file_and_line_by_every_command() {
    let home = Home::new();
    home.write(FILE, "# mine\nprovidr = 'openai'\n");
    for args in [&["send", "a", "hi"][..], &["run", "hi"], &["resume", "--all"], &["sessions"], &["top"]] {
        let output = home.run(&[args, &["--json"]].concat()).expect(2);
        let object = output.json();
        assert_eq!(object["error"]["kind"], "config", "{args:?}");
        let message = object["error"]["message"].as_str().unwrap();
        assert!(message.contains("ergane.toml:2: providr") && message.contains("`provider`"), "{message}");
        assert!(output.stderr.contains("ergane.toml:2"), "{output:?}");
    }
    assert!(!home.journal().exists());
    for (args, told) in [(["--config", "none.toml"], "none.toml"), (["--config", ""], "--config <FILE>")] {
        let output = home.run(&[&["sessions"][..], &args].concat()).expect(2);
        assert!(output.stderr.contains(told), "{output:?}");
    }
}

#[test]
fn ollama_host_beats_the_file() {
    let (home, server) = (Home::new(), openai());
    home.write(FILE, format!("[providers.ollama]\nbase_url = '{}'\nmodel = 'm'\n", server.url("")));
    let args = ["run", "hi", "--provider", "ollama", "--retries", "0", "--json"];
    let object = home.run(&args).expect(3).json();
    assert!(object["error"]["message"].as_str().unwrap().contains("127.0.0.1:1"), "{object}");
    let mut command = home.command(&args);
    command.env_remove("OLLAMA_HOST");
    let object = finish(command).expect(3).json();
    assert!(object["error"]["message"].as_str().unwrap().contains(&server.port.to_string()), "{object}");
}

#[test]
fn tools_are_strict_where_the_file_says_so() {
    let home = Home::new();
    let server = Server::start(|asked| {
        let (text, usage) = ("ok", json!({"input_tokens": 1, "output_tokens": 1}));
        let answer = if asked.path == "/v1/messages" {
            let content = json!([{"type": "text", "text": text}]);
            json!({"id": "1", "type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn", "usage": usage})
        } else {
            let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
            let message = json!({"id": "2", "type": "message", "role": "assistant", "status": "completed", "content": content});
            json!({"id": "1", "status": "completed", "output": [message], "usage": usage})
        };
        Answer::json(200, &answer)
    });
    let table = |name: &str, kind: &str, more: &str| {
        format!("[providers.{name}]\nkind = '{kind}'\nbase_url = '{}'\nmodel = 'm'\n{more}\n", server.url(""))
    };
    let kinds = [("openai_responses", "/v1/responses"), ("anthropic", "/v1/messages")];
    let file = kinds.map(|(kind, _)| {
        table(&format!("{kind}-2"), kind, "strict_tools = true") + &table(&format!("{kind}-3"), kind, "")
    });
    home.write(FILE, file.concat());
    for (kind, path) in kinds {
        let tools = |name: &str| -> Vec<(String, bool)> {
            let args = ["run", "hi", "--provider", &format!("{kind}-{name}"), "--no-stream", "--json"];
            assert_eq!(home.run(&args).expect(0).json()["text"], "ok");
            let asked = server.asked(path).pop().unwrap().body;
            let tools = asked["tools"].as_array().unwrap().iter();
            tools.map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool["strict"] == true)).collect()
        };
        let told = tools("2");
        assert!(told.contains(&("edit".to_owned(), true)), "{kind}: {told:?}");
        // Every builtin tool can be said in OpenAI's mode; Anthropic's knows no bounds of numbers.
        let bounded = told.iter().filter(|(_, strict)| !strict).map(|(name, _)| &**name).collect::<Vec<_>>();
        assert_eq!(bounded.contains(&"grep"), kind == "anthropic", "{told:?}");
        assert_eq!(bounded.is_empty(), kind == "openai_responses", "{told:?}");
        assert!(tools("3").iter().all(|(_, strict)| !strict), "{kind}");
    }
}

#[test]
fn bounds_prices_flags_and_how_to_answer_are_taken_from_the_file() {
    let home = Home::new();
    let server = Server::start(|_| {
        let choice = json!({"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"});
        Answer::json(
            200,
            &json!({"choices": [choice], "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}}),
        )
    });
    home.write(
        FILE,
        format!(
            "provider = 'mine'\n[answers]\nmax_tokens = 77\ntemperature = 0.5\n\
             [providers.mine]\nkind = 'openai'\nbase_url = '{}'\nmodel = 'm'\nrequests_per_minute = 1\n\
             compat = {{ max_tokens_field = 'max_completion_tokens', developer_role = true }}\n\
             prices.m = {{ input = 2.5, output = 10 }}\n",
            server.url("")
        ),
    );
    let ask = ["send", "a", "hi", "--system", "Be brief.", "--no-stream", "--json"];
    let object = home.run(&ask).expect(0).json();
    assert_eq!((&object["text"], &object["cost_usd"]), (&json!("ok"), &json!(3.5)), "{object}");
    let asked = server.asked("/v1/chat/completions");
    let body = &asked[0].body;
    assert_eq!((&body["max_completion_tokens"], &body["temperature"]), (&json!(77), &json!(0.5)), "{body}");
    assert_eq!(body["messages"][0]["role"], "developer");
    // The second call in a minute of one process waits, and tells why.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut chat = home.command(&["chat", "b", "--no-stream", "--stream-json"]);
    chat.stdin(Stdio::from(reader));
    writer.write_all(b"one\ntwo\n").unwrap();
    let mut running = Running::of(chat);
    running.wait_for(r#""type":"waiting","reason":"the limit of requests a minute"#);
    // And so does `top`.
    let seen = home.run(&["top", "--json"]).expect(0).json();
    let supervisor = &seen["processes"][0]["tree"]["children"].as_array().unwrap().iter();
    let supervisor = supervisor.clone().find(|child| child["id"] == "providers").unwrap();
    let provider = &supervisor["children"][0]["provider"];
    assert_eq!((&provider["provider"], &provider["endpoint"]), (&json!("mine"), &json!(server.url("/v1"))));
    assert_eq!((&provider["running"], &provider["waiting"]), (&json!(0), &json!(1)), "{provider}");
    assert_eq!((&provider["requests_per_minute"], &provider["circuit"]), (&json!(1), &json!("closed")));
    assert_eq!(provider["reason"], "the limit of requests a minute is used up");
    assert!(provider["wait_ms"].as_u64().is_some_and(|wait| wait <= 60_000), "{provider}");
    assert!(home.run(&["top"]).expect(0).stdout.contains("64 at once, 1 requests/min"));
    running.kill();
}

#[test]
fn when_the_provider_fails_the_next_of_the_file_is_asked() {
    let home = Home::new();
    let broken = Server::start(|_| Answer::json(401, &json!({"error": {"message": "no"}})));
    let server = openai();
    home.write(
        FILE,
        format!(
            "provider = 'first'\nmodel = 'a'\nfallbacks = ['second']\n\
             [providers.first]\nkind = 'openai'\nbase_url = '{}'\n\
             [providers.second]\nkind = 'openai'\nbase_url = '{}'\nmodel = 'b'\n",
            broken.url(""),
            server.url("")
        ),
    );
    let output = home.run(&["send", "a", "hi", "--no-stream", "--json"]).expect(0);
    let object = output.json();
    assert_eq!((&object["provider"], &object["text"]), (&json!("second"), &json!("b no key")), "{object}");
    assert!(output.stderr.contains("first failed, now second is asked"), "{output:?}");
    // They belong to that provider and to no other.
    let settings = |name: &str| home.run(&["sessions", "show", name, "--json"]).json()["settings"].clone();
    assert_eq!(settings("a")["fallbacks"], json!(["second"]));
    home.run(&["send", "b", "hi", "--provider", "scripted"]).expect(0);
    assert_eq!(settings("b").get("fallbacks"), None);
}
