//! A key is planted, everything that can go wrong with it goes wrong, and then it is looked for everywhere: in errors, in
//! events, in what Debug shows, in the log at its most talkative, in panics, and in the bytes of the journal.
//!
//! One test in a process of its own: the log and the panics of a process are one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::fmt::Debug;
use std::future::IntoFuture;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{LONG, soon};
use ergane::core::{ModelReply, ProviderError, SettingsPatch, Text};
use ergane::prelude::*;
use ergane::provider::{BoxFuture, Endpoint, Provider, ProviderCall};
use ergane_testkit::{FaultServer, Received, Reply};

const KEY: &str = "sk-planted-5f3a9c0e7b";
/// Its first two characters are written otherwise in a URL.
const IN_URL: &str = "+/url-planted-81d2c4";

/// Everything that was said, by whoever.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().extend_from_slice(format!("{what}\n").as_bytes());
    }

    fn debug(&self, what: &impl Debug) {
        self.note(&format!("{what:?} {what:#?}"));
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A server that gives every request `answer`, in which `{auth}` is what came as the key, `{half}` its first half and
/// `{path}` the path.
async fn server(answer: String) -> FaultServer {
    let script = move |_, received: &Received| {
        let auth = received.header("authorization").and_then(|auth| auth.strip_prefix("Bearer "));
        let auth = auth.unwrap_or("none");
        let answer = answer.replace("{auth}", auth).replace("{half}", &auth[..auth.len() / 2]);
        let answer = answer.replace("{path}", received.path());
        Reply::default().send(answer)
    };
    FaultServer::start(script).await.unwrap()
}

/// A provider that shows itself and panics.
#[derive(Debug)]
struct Explodes(OpenAi);

impl Provider for Explodes {
    fn api(&self) -> &'static str {
        self.0.api()
    }

    fn default_model(&self) -> Option<Text> {
        self.0.default_model()
    }

    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn with_endpoint(&self, endpoint: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        self.0.with_endpoint(endpoint)
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        panic!("a panic, as the test wants: {:?} {call:?}", self.0);
    }
}

/// All files of the folder, one after the other.
fn bytes_of(folder: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).flat_map(|path| std::fs::read(path).unwrap()).collect()
}

#[tokio::test]
async fn a_planted_key_is_found_nowhere_whatever_goes_wrong() {
    let heard = Heard::default();
    let log = heard.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || log.clone())
        .init();
    let panics = heard.clone();
    std::panic::set_hook(Box::new(move |panic| panics.note(&panic.to_string())));

    let secrets = tempfile::tempdir().unwrap();
    let key_file = secrets.path().join("key");
    std::fs::write(&key_file, KEY).unwrap();
    let bad_key_file = secrets.path().join("bad");
    std::fs::write(&bad_key_file, format!("{KEY}\u{7f}{KEY}")).unwrap();

    let json = "content-type: application/json\r\n\r\n";
    let scenes: [(&str, String); 10] = [
        ("echoed in a 401", format!("HTTP/1.1 401 Unauthorized\r\n{json}{{\"error\":{{\"message\":\"Incorrect API key: {{auth}}\"}}}}")),
        ("in a redirect", "HTTP/1.1 302 Found\r\nlocation: https://elsewhere.example/{auth}?key={auth}\r\ncontent-length: 0\r\n\r\n".into()),
        ("in a web page", "HTTP/1.1 500 Oops\r\ncontent-type: text/html\r\n\r\n<html>Authorization: Bearer {auth}</html>".into()),
        ("in an error on the stream", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"error\":{\"message\":\"for {auth}\",\"code\":\"{auth}\",\"type\":\"{auth}\"}}\n\n".into()),
        ("in a 429", format!("HTTP/1.1 429 Slow\r\nretry-after: 0\r\nx-request-id: {{auth}}\r\n{json}{{\"error\":{{\"message\":\"{{auth}} is too fast\",\"code\":\"{{auth}}\"}}}}")),
        ("in nonsense", format!("HTTP/1.1 200 OK\r\n{json}not JSON: {{auth}}")),
        ("where a long answer is cut", format!("HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain\r\n\r\n{}Bearer {{auth}} {}", "x".repeat(480), "x".repeat(600))),
        ("where an error is cut off", "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 500\r\n\r\nAuthorization: Bearer {half}".into()),
        ("in an event that is no event", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: \"Authorization: Bearer {auth}\"\n\n".into()),
        ("with its path", format!("HTTP/1.1 404 Not Found\r\n{json}{{\"error\":{{\"message\":\"no route {{path}}\"}}}}")),
    ];
    let journal = tempfile::tempdir().unwrap();
    let mut builder = System::builder().journal(Sqlite::open(journal.path().join("j.db")).unwrap());
    let (mut names, mut servers) = (Vec::new(), Vec::new());
    for (name, answer) in scenes {
        let server = server(answer).await;
        let url = format!("{}/v1?key={}", server.url(), IN_URL.replace('+', "%2B").replace('/', "%2f"));
        servers.push(server);
        let openai = OpenAi::new(&url).api_key_file(&key_file).model("m");
        heard.debug(&openai);
        builder = builder.provider(name, openai);
        let ollama = Ollama::new(url).api_key_file(&key_file).model("m");
        heard.debug(&ollama);
        builder = builder.provider(format!("{name}, ollama"), ollama);
        names.extend([name.to_owned(), format!("{name}, ollama")]);
    }
    let refused = OpenAi::new("http://127.0.0.1:1/v1").model("m");
    let odd = [
        ("nobody there", refused.clone().api_key_file(&key_file)),
        ("no header can carry it", refused.api_key_file(&bad_key_file)),
        ("a password in the URL", OpenAi::new(format!("http://user:{KEY}@127.0.0.1:1/v1"))),
        ("a broken URL with a password", OpenAi::new(format!("http://user:{KEY}@not a host/v1"))),
        ("no URL, with a query", OpenAi::new(format!("ftp://127.0.0.1:1/v1?key={KEY}"))),
    ];
    for (name, openai) in odd {
        heard.debug(&openai);
        heard.note(&openai.endpoint());
        builder = builder.provider(name, openai);
        names.push(name.to_owned());
    }
    let explodes = Explodes(OpenAi::new("http://127.0.0.1:1/v1").api_key_file(&key_file).model("m"));
    builder = builder.provider("explodes", explodes);
    names.push("explodes".to_owned());
    heard.debug(&builder);

    let system = builder.start().await.unwrap();
    heard.debug(&system);
    for (number, name) in names.iter().enumerate() {
        // One further attempt, so that a retry tells of the failure too.
        let patch = SettingsPatch { max_retries: Some(1), ..SettingsPatch::default() };
        let builder = system.session(&format!("s{number}")).provider(name.as_str()).settings(patch);
        heard.debug(&builder);
        let session = builder.start().await.unwrap();
        let mut stream = session.send_message("hello").stream().await.unwrap();
        while let Some(event) = soon("an event", stream.next()).await {
            heard.debug(&event);
            heard.note(&serde_json::to_string(&event).unwrap());
        }
        let result = soon("the result", stream.result()).await.unwrap();
        assert!(result.error.is_some(), "{name} was to fail: {result:?}");
        heard.note(&format!("{name}: {}", result.error.as_ref().unwrap()));
        heard.debug(&result);
        heard.debug(&session.status().await.unwrap());
        heard.debug(&session.settings().await.unwrap());
        let listed = system.models(name.as_str()).into_future().await;
        heard.debug(&listed);
        heard.note(&listed.map_or_else(|error| error.to_string(), |_| String::new()));
    }
    // What a session itself is told is kept, so it takes no URL in which a key may stand.
    let session = system.session("refusing").provider(&*names[0]).start().await.unwrap();
    for url in [format!("http://127.0.0.1:1/v1?key={KEY}"), format!("http://me:{KEY}@127.0.0.1:1/v1")] {
        let at = SettingsPatch { base_url: Some(url.as_str().into()), ..SettingsPatch::default() };
        let refused = [
            system.session("refused").provider(&*names[0]).base_url(&*url).start().await.map(|_| ()),
            system.session("refusing").settings(at.clone()).start().await.map(|_| ()),
            session.send_message("hello").settings(at).await.map(|_| ()),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert!(matches!(error, SessionError::SecretInUrl(_)), "{error}");
            heard.note(&error.to_string());
            heard.debug(&error);
        }
    }
    heard.debug(&session.settings().await.unwrap());
    let kept: Vec<String> =
        system.sessions().await.unwrap().iter().map(|info| info.name.to_string()).collect();
    assert!(!kept.iter().any(|name| name == "refused"), "{kept:?}");
    heard.debug(&system.tree().await.unwrap());
    heard.debug(&system.context().providers().status());
    system.shutdown(LONG).await.unwrap();

    let said = heard.text();
    assert!(said.contains("a panic, as the test wants"), "panics are heard");
    assert!(said.contains("session loaded"), "the log is heard");
    assert!(said.contains("[redacted]"), "a server's echo is heard, without the key");
    // A half tells enough.
    for secret in [&KEY[..KEY.len() / 2], &IN_URL[2..]] {
        let found = said.lines().find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} was told");
        let stored = bytes_of(journal.path());
        assert!(!stored.is_empty());
        assert!(
            !stored.windows(secret.len()).any(|part| part == secret.as_bytes()),
            "{secret} is in the journal"
        );
    }
}
