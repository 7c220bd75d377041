//! `providers`, `models`, `tools`, `doctor`, `completions`.

use serde_json::{Value, json};

use crate::harness::{Home, finish};
use crate::server::{Answer, Server};

const FILE: &str = ".config/ergane/ergane.toml";

/// Lists two models to those who have the key.
fn openai() -> Server {
    Server::start(|asked| match asked.authorization.as_deref() {
        Some("Bearer right") => Answer::json(200, &json!({"data": [{"id": "m1"}, {"id": "m2"}]})),
        _ => Answer::json(401, &json!({"error": {"message": "Incorrect API key"}})),
    })
}

/// A home whose default provider is that server.
fn configured(server: &Server, model: &str) -> Home {
    let home = Home::new();
    let url = server.url("/v1");
    home.write(
        FILE,
        format!(
            "provider = 'mine'\nmodel = '{model}'\n[providers.mine]\nkind = 'openai'\nbase_url = '{url}'\napi_key_env = 'MINE'\n"
        ),
    );
    home
}

fn with_key(home: &Home, args: &[&str], key: &str) -> crate::harness::Output {
    let mut command = home.command(args);
    command.env("MINE", key);
    finish(command)
}

#[test]
fn providers_are_listed_with_their_place_and_whether_their_key_is_set() {
    let server = openai();
    let home = configured(&server, "m1");
    let output = with_key(&home, &["providers", "--json"], "right").expect(0);
    let list = output.json();
    let named = |name: &str| {
        let found = list["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
    };
    let expected = json!({"name": "mine", "kind": "openai", "endpoint": server.url("/v1"), "model": "m1",
                          "key": {"place": "MINE", "set": true}, "default": true});
    assert_eq!(named("mine"), expected);
    assert_eq!(named("openai")["key"], json!({"place": "OPENAI_API_KEY", "set": false}));
    assert_eq!((&named("ollama")["default"], &named("scripted")["key"]), (&json!(false), &Value::Null));
    let table = home.run(&["providers"]).expect(0);
    assert!(table.stdout.starts_with("NAME") && table.stdout.contains("mine *"), "{table:?}");
    assert!(table.stdout.contains("MINE (not set)") && !table.stdout.contains('\u{1b}'), "{table:?}");
    assert!(!output.stdout.contains("right"), "a key is shown: {output:?}");
}

#[test]
fn models_are_those_of_the_server() {
    let server = openai();
    let home = configured(&server, "m1");
    let list = with_key(&home, &["models", "--provider", "mine", "--json"], "right").expect(0).json();
    let names: Vec<&Value> = list["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["m1", "m2"]);
    assert_eq!((&list["models"][0]["provider"], &list["errors"]), (&json!("mine"), &json!([])));
    // All that are set up: one that does not answer is told of and is no failure.
    let output = with_key(&home, &["models"], "right").expect(0);
    assert!(output.stdout.contains("mine      m1"), "{output:?}");
    assert!(output.stderr.contains("ollama: "), "{output:?}");
    let elsewhere = openai();
    let args = [
        "models",
        "--provider",
        "openai",
        "--base-url",
        &elsewhere.url("/v1"),
        "--api-key-env",
        "MINE",
        "--json",
    ];
    assert_eq!(with_key(&home, &args, "right").expect(0).json()["models"][1]["name"], "m2");
    let object = with_key(&home, &["models", "--provider", "mine", "--json"], "wrong").expect(3).json();
    assert_eq!(object["error"]["kind"], "auth", "{object}");
    let object = home.run(&["models", "--provider", "mien", "--json"]).expect(2).json();
    assert!(object["error"]["message"].as_str().unwrap().contains("did you mean `mine`?"), "{object}");
    let nobody = Home::new();
    let output = nobody.run(&["models"]).expect(3);
    assert_eq!(output.stdout, "no models\n");
    assert!(output.stderr.contains("ergane doctor"), "{output:?}");
}

#[test]
fn tools_are_listed_with_what_they_do_to_the_world() {
    let home = Home::new();
    let list = home.run(&["tools", "--json"]).expect(0).json();
    let tools = list["tools"].as_array().unwrap();
    let effect = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap()["effect"].clone();
    assert_eq!((effect("read"), effect("bash")), (json!("read"), json!("write")));
    assert!(tools.iter().all(|tool| tool["parameters"]["type"] == "object"), "{list}");
    let table = home.run(&["tools"]).expect(0).stdout;
    assert_eq!(table.lines().count(), tools.len() + 1);
    assert!(table.lines().all(|line| line.chars().count() < 130), "{table}");
    assert!(!home.journal().exists());
}

#[track_caller]
fn finding<'a>(object: &'a Value, check: &str) -> &'a Value {
    let found = object["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {object:#}"))
}

#[test]
fn doctor_finds_all_usable_and_ends_with_0() {
    let server = openai();
    let home = configured(&server, "m2");
    let script = home.script("s", &[json!({"text": "one"})]);
    home.run(&["send", "a", "hi", "--script", &script]).expect(0);
    let object = with_key(&home, &["doctor", "--json"], "right").expect(0).json();
    assert_eq!(object["usable"], true, "{object:#}");
    for (check, status, told) in [
        ("config", "ok", "ergane.toml"),
        ("journal", "ok", "opens and can be written"),
        ("provider mine", "ok", "2 models, m2 among them, the default"),
        ("provider openai", "unused", "OPENAI_API_KEY is not set"),
        ("provider ollama", "unused", "127.0.0.1:1"),
        ("terminal", "ok", "plain text"),
    ] {
        let finding = finding(&object, check);
        assert_eq!(finding["status"], status, "{finding}");
        assert!(finding["message"].as_str().unwrap().contains(told), "{finding}");
    }
    assert!(finding(&object, "sandbox")["message"].is_string());
    // It leaves no session behind.
    assert_eq!(home.run(&["sessions", "--json"]).expect(0).json()["sessions"].as_array().unwrap().len(), 1);
    let text = with_key(&home, &["doctor"], "right").expect(0).stdout;
    assert!(text.contains("ok      provider mine: ") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn doctor_says_of_a_provider_only_what_was_asked_and_answered() {
    let server = openai();
    let home = configured(&server, "m1");
    let ollama = Server::start(|asked| match asked.path.as_str() {
        "/api/tags" => Answer::json(200, &json!({"models": [{"name": "qwen3:8b", "model": "qwen3:8b"}]})),
        _ => Answer::json(404, &json!({})),
    });
    let mut command = home.command(&["doctor", "--json"]);
    command.env("MINE", "right").env("OLLAMA_HOST", ollama.url(""));
    let object = finish(command).expect(0).json();
    // It is not meant by anybody, and it is there.
    let found = finding(&object, "provider ollama");
    assert_eq!((&found["status"], &found["message"]), (&json!("ok"), &json!("reachable, 1 models")));
    assert_eq!(ollama.asked("/api/tags").len(), 1);
    // This list is given to whoever has the key; but that is not known of a server that nobody knows.
    let found = finding(&object, "provider mine");
    assert_eq!(found["message"], "reachable, 2 models, m1 among them, the default");
    let object = with_key(&home, &["doctor", "--json"], "right").expect(0).json();
    let found = finding(&object, "provider ollama");
    assert_eq!(found["status"], "unused");
    assert_eq!(found["message"], "nobody answers at http://127.0.0.1:1");
}

#[test]
fn doctor_finds_the_model_that_an_alias_leads_to_which_is_in_no_list() {
    let server = Server::start(|asked| match asked.path.split('?').next().unwrap() {
        "/v1/models" => Answer::json(200, &json!({"data": [{"id": "claude-x-4"}, {"id": "claude-y-4"}]})),
        "/v1/models/claude-x-latest" => Answer::json(200, &json!({"id": "claude-x-4"})),
        _ => Answer::json(
            404,
            &json!({"type": "error", "error": {"type": "not_found_error", "message": "model: z"}}),
        ),
    });
    let home = Home::new();
    let configured = |model: &str| {
        let mine = format!(
            "[providers.mine]\nkind = 'anthropic'\nbase_url = '{}'\nmodel = '{model}'\n",
            server.url("")
        );
        home.write(FILE, format!("provider = 'mine'\n{mine}"));
    };
    configured("claude-x-latest");
    let object = home.run(&["doctor", "--json"]).expect(0).json();
    let message =
        "reachable, 2 models, claude-x-4 among them, which is what claude-x-latest means, the default";
    assert_eq!(finding(&object, "provider mine")["message"], message);
    configured("claude-z-latest");
    let object = home.run(&["doctor", "--json"]).expect(3).json();
    assert_eq!(finding(&object, "provider mine")["status"], "problem");
}

#[test]
fn doctor_says_what_is_wrong_and_what_mends_it() {
    let server = openai();
    // No key, a wrong model, nobody there, a broken configuration, a journal that is none.
    let home = configured(&server, "m1");
    let object = with_key(&home, &["doctor", "--json"], "wrong").expect(3).json();
    let found = finding(&object, "provider mine");
    assert_eq!((&object["usable"], &found["status"]), (&json!(false), &json!("problem")));
    assert!(found["fix"].as_str().unwrap().contains("export MINE="), "{found}");

    let home = configured(&server, "m9");
    let object = with_key(&home, &["doctor", "--json"], "right").expect(3).json();
    let found = finding(&object, "provider mine");
    assert!(found["message"].as_str().unwrap().contains("m9"), "{found}");
    assert!(found["fix"].as_str().unwrap().contains("ergane models --provider mine"), "{found}");

    let home = Home::new();
    home.write(FILE, "provider = 'ollama'\n");
    let object = home.run(&["doctor", "--json"]).expect(3).json();
    assert!(
        finding(&object, "provider ollama")["fix"].as_str().unwrap().contains("ollama serve"),
        "{object}"
    );

    home.write(FILE, "\nproviderr = 'x'\n");
    let object = home.run(&["doctor", "--json"]).expect(2).json();
    assert!(finding(&object, "config")["message"].as_str().unwrap().contains("ergane.toml:2"), "{object}");

    let home = Home::new();
    home.write("garbage", "this is no database, and long enough to be taken for one".repeat(100));
    let output = home.run(&["doctor", "--journal", "garbage"]).expect(4);
    assert!(
        output.stdout.contains("PROBLEM journal: ") && output.stdout.contains("→ give another --journal"),
        "{output:?}"
    );
    let object = home.run(&["doctor", "--json"]).expect(0).json();
    assert_eq!(finding(&object, "provider scripted")["status"], "warning");
    assert!(finding(&object, "journal")["message"].as_str().unwrap().contains("made by the first send"));
    assert!(!home.journal().exists(), "looking makes no journal");
}

#[test]
fn whatever_doctor_does_not_call_ok_comes_with_what_to_do() {
    let server = openai();
    let (fresh, wrong, memory) = (Home::new(), configured(&server, "m9"), Home::new());
    let mut looked = vec![
        fresh.run(&["doctor", "--json"]).expect(0).json(),
        with_key(&wrong, &["doctor", "--json"], "wrong").expect(3).json(),
        with_key(&wrong, &["doctor", "--json"], "right").expect(3).json(),
        memory.run(&["doctor", "--json", "--journal", ":memory:"]).expect(0).json(),
    ];
    memory.write(FILE, "provider = 'nobody'\n");
    looked.push(memory.run(&["doctor", "--json"]).expect(2).json());
    let mut seen = std::collections::BTreeSet::new();
    for object in &looked {
        for finding in object["findings"].as_array().unwrap() {
            let status = finding["status"].as_str().unwrap();
            seen.insert(status);
            assert_eq!(finding["fix"].is_null(), status == "ok", "{finding}");
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["ok", "problem", "unused", "warning"]);
}

#[test]
fn a_journal_that_somebody_keeps_locked_is_a_finding() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"})]);
    home.run(&["send", "a", "hi", "--script", &script]).expect(0);
    let writer = rusqlite::Connection::open(home.journal()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let object = home.run(&["doctor", "--json"]).expect(4).json();
    let found = finding(&object, "journal");
    assert!(found["message"].as_str().unwrap().contains("locked"), "{found}");
    assert!(found["fix"].as_str().unwrap().contains("ergane top"), "{found}");
    writer.execute_batch("ROLLBACK").unwrap();
    home.run(&["doctor"]).expect(0);
}

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.run(&["completions", shell]).expect(0).stdout;
        assert!(script.contains("quarantine-lift") || script.contains("doctor"), "{shell}: {script}");
    }
    home.run(&["completions", "csh"]).expect(2);
}
