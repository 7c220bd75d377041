use std::path::PathBuf;
use std::time::Duration;

use ergane::provider::{BreakerPolicy, Compat, LongPrice, Price};
use serde_json::{Value, json};

use super::provider::{BREAKER, LONG, PRICE, PROVIDER};
use super::*;
use crate::config::{Key, Limits};
use crate::provider::Kind;

/// The documented example, which is a file as it stands.
const DOCUMENTED: &str = include_str!("../../../../../docs/configuration.md");

fn parse(text: &str) -> Result<Config, Failure> {
    read(Path::new("/c/ergane.toml"), text, Some(Path::new("/home/me")))
}

#[track_caller]
fn wrong(text: &str) -> String {
    let failure = parse(text).unwrap_err();
    assert_eq!((failure.kind, failure.exit), (Some("config"), 2));
    failure.message
}

#[test]
fn an_empty_file_says_nothing() {
    let file = Some(PathBuf::from("/c/ergane.toml"));
    assert_eq!(parse(""), Ok(Config { file, ..Config::default() }));
    assert_eq!(parse("# nothing\n").unwrap().defaults(), Default::default());
}

#[test]
fn the_documented_example_is_read_and_uses_every_key() {
    let begin = DOCUMENTED.find("```toml\n").expect("an example") + "```toml\n".len();
    let example = &DOCUMENTED[begin..begin + DOCUMENTED[begin..].find("```").unwrap()];
    let config = parse(example).unwrap();
    assert_eq!(config.provider.as_deref(), Some("groq"));
    assert_eq!(config.journal.as_deref(), Some(Path::new("/home/me/notes/ergane.db")));
    assert_eq!(config.permissions.mode, Some(PermissionMode::Default));
    assert_eq!(config.of("openai").unwrap().key, Some(Key::File("/home/me/.secrets/openai".into())));
    let groq = config.of("groq").unwrap();
    assert_eq!((groq.kind, groq.key.clone()), (Kind::OpenAi, Some(Key::Env("GROQ_API_KEY".into()))));
    assert_eq!(config.fallbacks, ["openai".into(), "ollama".into()]);
    let breaker =
        BreakerPolicy { failures: 3, open_for: Duration::from_millis(500), at_most: Duration::from_secs(60) };
    let bounds = Limits {
        max_in_flight: Some(4),
        requests_per_minute: Some(30),
        tokens_per_minute: Some(6_000),
        breaker: Some(Some(breaker)),
    };
    assert_eq!(groq.limits, bounds);
    let price = Price::per_million(290_000, 590_000);
    assert_eq!(groq.prices, [("qwen/qwen3-32b".into(), price)]);
    let price = config.of("openai").unwrap().prices[0].1;
    assert_eq!(price.cached, Some(250_000));
    assert_eq!(price.long, Some(LongPrice::per_million(272_000, 5_000_000, 22_500_000, 500_000)));
    let flags: Compat =
        serde_json::from_str(r#"{"like":"vllm","images":"none","developer_role":true}"#).unwrap();
    assert_eq!(config.of("lab").unwrap().compat, Some(flags));
    assert_eq!(config.of("anthropic").unwrap().strict_tools, Some(true));
    let answers = config.defaults();
    assert_eq!(
        (answers.max_tokens, answers.reasoning),
        (Some(Some(4_000)), Some(Some(ReasoningEffort::Low)))
    );
    let sampling = answers.sampling.unwrap();
    assert_eq!((sampling.temperature, sampling.stop), (Some(0.2), vec!["\n\n".into(), "END".into()]));
    let of_provider = PROVIDER.iter().chain(&BREAKER).chain(&PRICE).chain(&LONG);
    for key in TOP.iter().chain(&PERMISSIONS).chain(&ANSWERS).chain(of_provider) {
        assert!(example.contains(key), "{key} is not shown in the example");
    }
    let flags = serde_json::to_value(Compat::default()).unwrap();
    for flag in flags.as_object().unwrap().keys() {
        let begin = format!("| `{flag}` |");
        let row = DOCUMENTED.lines().find(|line| line.starts_with(&begin));
        let row = row.unwrap_or_else(|| panic!("the flag {flag} is not described"));
        let allowed = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let words: Vec<Value> = match allowed.trim() {
            "true, false" => vec![true.into(), false.into()],
            "a text" => vec!["any".into()],
            words => words.split('`').skip(1).step_by(2).map(Value::from).collect(),
        };
        assert!(!words.is_empty(), "{row}");
        for word in words {
            let read = serde_json::from_value::<Compat>(json!({flag: word}));
            assert!(read.is_ok(), "{flag} = {word}: {read:?}");
        }
    }
}

#[test]
fn a_misspelt_key_is_told_with_its_place_and_the_one_that_was_meant() {
    assert_eq!(
        wrong("model = 'm'\nprovidr = 'openai'\n"),
        "/c/ergane.toml:2: providr: there is no such key; did you mean `provider`?"
    );
    assert_eq!(
        wrong("[providers.openai]\n\nbaseurl = 'x'"),
        "/c/ergane.toml:3: providers.openai.baseurl: there is no such key; did you mean `base_url`?"
    );
    let told = wrong("[permissions]\nxyz = 1");
    assert_eq!(
        told,
        "/c/ergane.toml:2: permissions.xyz: there is no such key; there are: mode, allow, deny, on_unknown"
    );
}

#[test]
fn a_bad_value_is_told_with_what_is_allowed() {
    for (text, told) in [
        ("provider = 'opnai'", ":1: provider: there is no provider \"opnai\"; did you mean `openai`?"),
        ("model = 'm'", ":1: model: it goes with `provider`"),
        ("\nprovider = 7", ":2: provider: allowed is a text, not a value of type integer"),
        ("provider = ' '", ":1: provider: it is empty"),
        ("tools = 'some'", ":1: tools: allowed are \"all\", \"none\", or a list of names"),
        ("tools = ['read', 'reed']", ":1: tools: there is no tool \"reed\"; did you mean `read`?"),
        ("permissions = 1", ":1: permissions: allowed is a table"),
        (
            "[permissions]\nmode = 'free'",
            ":2: permissions.mode: there is no mode \"free\"; allowed are default",
        ),
        ("[permissions]\non_unknown = 'hope'", ":2: permissions.on_unknown: allowed are"),
        ("[permissions]\nallow = 'bash'", ":2: permissions.allow: allowed is a list of tools"),
        ("[permissions]\ndeny = [\n1]", ":3: permissions.deny: allowed are names of tools"),
        ("[providers.mine]\nbase_url = 'x'", ":1: providers.mine: it is no builtin provider, so its `kind`"),
        (
            "[providers.mine]\nkind = 'opena'",
            ":2: providers.mine.kind: there is no kind \"opena\"; allowed are",
        ),
        ("[providers.openai]\nkind = 'ollama'", ":2: providers.openai.kind: openai is of kind openai"),
        ("[providers.openai]\nbase_url = 'ftp://x'", ":2: providers.openai.base_url: "),
        (
            "[providers.openai]\napi_key_env = 'A'\napi_key_file = 'b'",
            ":2: providers.openai.api_key_env: there is",
        ),
        ("[providers.scripted]\nbase_url = 'http://x'", ":1: providers.scripted: a script has no place"),
        ("provider =", ":1: "),
        ("fallbacks = ['openai']", ":1: fallbacks: they go with `provider`"),
        (
            "provider = 'openai'\nfallbacks = ['olama']",
            ":2: fallbacks: there is no provider \"olama\"; did you mean",
        ),
        ("provider = 'openai'\nfallbacks = ['openai']", ":2: fallbacks: openai is asked already"),
        ("provider = 'openai'\nfallbacks = ['ollama',\n'ollama']", ":3: fallbacks: ollama is asked already"),
        ("provider = 'openai'\nfallbacks = 'ollama'", ":2: fallbacks: allowed is a list of texts"),
        ("provider = 'openai'\nfallbacks = ['']", ":2: fallbacks: allowed are texts that say something"),
        (
            "[answers]\nmax_tokens = 0",
            ":2: answers.max_tokens: allowed is a whole number from 1 to 4294967295, not 0",
        ),
        (
            "[answers]\nreasoning = 'hard'",
            ":2: answers.reasoning: allowed are off, minimal, low, medium, high,",
        ),
        ("[answers]\ntemperature = 3.5", ":2: answers.temperature: allowed is a number from 0 to 2, not 3.5"),
        ("[answers]\ntop_p = nan", ":2: answers.top_p: allowed is a number from 0 to 1, not nan"),
        ("[answers]\nprompt_cache = true", ":2: answers.prompt_cache: allowed is a text"),
        (
            "[providers.openai]\nmax_in_flight = -1",
            ":2: providers.openai.max_in_flight: allowed is a whole number from 1 to 1000000000, not -1",
        ),
        (
            "[providers.openai]\ntokens_per_minute = '1k'",
            ":2: providers.openai.tokens_per_minute: allowed is a whole number from 1 to 1000000000, not a value of \
             type string",
        ),
        ("[providers.scripted]\nrequests_per_minute = 1", ":1: providers.scripted: a script has no limits"),
        ("[providers.scripted]\nbreaker = 'never'", ":1: providers.scripted: a script has no limits"),
        (
            "[providers.openai]\nbreaker = false",
            ":2: providers.openai.breaker: allowed are \"never\", or a table with failures, open_for, at_most",
        ),
        (
            "[providers.openai]\nbreaker = 'always'",
            ":2: providers.openai.breaker: allowed are \"never\", or a",
        ),
        (
            "[providers.openai.breaker]\nfailures = 0",
            ":2: providers.openai.breaker.failures: allowed is a whole number from 1 to 4294967295, not 0",
        ),
        (
            "[providers.openai.breaker]\nopen_for = '1.5s'",
            ":2: providers.openai.breaker.open_for: \"1.5s\" is no duration: give a whole number and ms, s, m or h",
        ),
        (
            "[providers.openai.breaker]\nopen_for = 1",
            ":2: providers.openai.breaker.open_for: allowed is a text",
        ),
        (
            "[providers.openai.breaker]\nfailure = 1",
            ":2: providers.openai.breaker.failure: there is no such key; did you mean `failures`?",
        ),
        (
            "[providers.openai]\nbreaker = { open_for = '40s' }",
            ":2: providers.openai.breaker: `at_most` is 30000 ms, and so it could not be open for 40000 ms",
        ),
        (
            "[providers.anthropic]\nstrict_tools = 'yes'",
            ":2: providers.anthropic.strict_tools: allowed are true and false, not a value of type string",
        ),
        (
            "[providers.openai]\nstrict_tools = true",
            ":2: providers.openai.strict_tools: of such a provider it is a",
        ),
        (
            "[providers.gemini]\nstrict_tools = true",
            ":2: providers.gemini.strict_tools: only providers of kind",
        ),
        ("[providers.scripted]\n\nmodel = 'm'", ":3: providers.scripted.model: a script has no model"),
        (
            "[providers.openai.compat]\nlike = 'grok'",
            ":2: providers.openai.compat.like: there is no server \"grok\"",
        ),
        (
            "[providers.openai.compat]\nparallel_flag = true\nparalel_flag = false",
            ":3: providers.openai.compat.paralel_flag: there is no such key; did you mean `parallel_flag`?",
        ),
        (
            "[providers.openai.compat]\nlik = 'vllm'",
            ":2: providers.openai.compat.lik: there is no such key; did you mean `like`?",
        ),
        (
            "[providers.openai.compat]\nimages = 'some'",
            ":2: providers.openai.compat.images: unknown variant `some`",
        ),
        (
            "[providers.openai.compat]\nimages = 1",
            ":2: providers.openai.compat.images: allowed is a word, or",
        ),
        (
            "[providers.ollama.compat]\nlike = 'vllm'",
            ":1: providers.ollama.compat: only a provider of kind openai",
        ),
        ("[providers.openai.prices]\nm = 1", ":2: providers.openai.prices.m: allowed is a table"),
        (
            "[providers.openai.prices.m]\ninput = 1",
            ":1: providers.openai.prices.m: a price has at least `input`",
        ),
        (
            "[providers.openai.prices.m]\ninput = 1\noutput = -2.5",
            ":3: providers.openai.prices.m.output: allowed is a number from 0 to 1000, not -2.5",
        ),
        (
            "[providers.openai.prices.m]\ninput = 1\noutput = 2\nlong = { input = 2, output = 4 }",
            ":4: providers.openai.prices.m.long: a price of long prompts has `over`",
        ),
        (
            "[providers.openai.prices.m]\ninput = 1\noutput = 2\nlong = { over = 0, input = 2, output = 4 }",
            ":4: providers.openai.prices.m.long.over: allowed is a whole number from 1 to",
        ),
        (
            "[answers]\nstop = 'END'",
            ":2: answers.stop: allowed is a list of texts, not a value of type string",
        ),
        ("[answers]\nstop = ['END', '']", ":2: answers.stop: allowed are texts, not an empty one"),
        (
            "[providers.openai.prices.m]\ninptu = 1",
            ":2: providers.openai.prices.m.inptu: there is no such key; did",
        ),
    ] {
        let message = wrong(text);
        assert!(message.starts_with(&format!("/c/ergane.toml{told}")), "{text:?}: {message}");
    }
}

#[test]
fn a_circuit_is_told_of_in_part_or_does_not_open_and_is_the_usual_one_otherwise() {
    let breaker = |text: &str| parse(text).unwrap().of("openai").unwrap().limits.breaker;
    assert_eq!(breaker("[providers.openai]\nmodel = 'm'"), None);
    assert_eq!(breaker("[providers.openai]\nbreaker = 'never'"), Some(None));
    let patient = BreakerPolicy { at_most: Duration::from_secs(300), ..BreakerPolicy::default() };
    assert_eq!(breaker("[providers.openai.breaker]\nat_most = '5m'"), Some(Some(patient)));
}

#[test]
fn a_key_in_the_file_is_refused_and_not_repeated() {
    for text in ["[providers.openai]\napi_key = 'sk-secret'", "[providers.openai]\napi_key = sk-secret"] {
        let message = wrong(text);
        assert!(message.contains(":2: ") && !message.contains("sk-secret"), "{message}");
    }
    assert!(wrong("[providers.openai]\napi_key = 'x'").contains("api_key_env"));
}

#[test]
fn paths_start_at_the_files_folder_or_at_home() {
    let journal = |path: &str| parse(&format!("journal = '{path}'")).unwrap().journal.unwrap();
    assert_eq!(journal("j.db"), Path::new("/c/j.db"));
    assert_eq!(journal("~/j.db"), Path::new("/home/me/j.db"));
    assert_eq!(journal("/j.db"), Path::new("/j.db"));
    assert_eq!(journal(":memory:"), Path::new(":memory:"));
    assert_eq!(journal("postgres://h/d"), Path::new("postgres://h/d"));
}

#[test]
fn what_it_says_of_permissions_and_tools_is_what_a_new_session_begins_with() {
    let config =
        parse("tools = ['read']\n[permissions]\nmode = 'plan'\nallow = ['read']\ndeny = ['bash']\non_unknown = 'ask_human'")
            .unwrap();
    let patch = config.defaults();
    assert_eq!(patch.on_unknown, Some(OnUnknown::AskHuman));
    assert_eq!(patch.tools, Some(vec!["read".into()]));
    assert_eq!(patch.permission_mode, Some(PermissionMode::Plan));
    assert_eq!((patch.allow, patch.deny), (Some(vec!["read".into()]), Some(vec!["bash".into()])));
    assert!(parse("tools = 'all'").unwrap().defaults().all_tools);
    assert_eq!(parse("tools = 'none'").unwrap().defaults().tools, Some(vec![]));
}
