//! A recorder before a server, and the recording in its place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use common::*;
use ergane_core::ErrorKind;
use ergane_testkit::{
    Cassette, FaultServer, Gate, Pace, Recorder, Replay, ReplayOptions, Reply, TestkitError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A server's answer to one call, recorded; and what the call saw.
async fn record(dialect: &Dialect, reply: Reply) -> (Cassette, Outcome) {
    let server = FaultServer::always(reply).await.unwrap();
    let recorder = Recorder::start(server.url(), "a test").await.unwrap();
    let outcome = call_once(dialect, recorder.url(), LONG).await;
    (recorder.finish().await.unwrap(), outcome)
}

/// The same call against the recording, after a journey through its file.
async fn replay(dialect: &Dialect, cassette: &Cassette) -> (Outcome, Result<(), TestkitError>) {
    let again = Cassette::parse(&cassette.to_lines(), "the recording").unwrap();
    assert_eq!(&again, cassette);
    let replay = Replay::start(again).await.unwrap();
    let outcome = call_once(dialect, replay.url(), LONG).await;
    (outcome, replay.finish())
}

fn summary(outcome: &Outcome) -> (String, String) {
    let end = match &outcome.result {
        Ok(reply) => format!("{:?} {:?}", reply.message.parts, reply.usage),
        Err(error) => format!("{:?} {:?} {:?}", error.kind, error.retry_after, error.after_output),
    };
    (end, outcome.shown.clone())
}

#[tokio::test]
async fn every_end_of_an_exchange_is_played_as_it_was() {
    for dialect in dialects() {
        let event = (dialect.text)("Größe 🦀");
        let split = event.find('🦀').unwrap() + 2;
        let head = || Reply::head("200 OK", &[dialect.stream, CHUNKED]);
        let whole =
            head().chunk(&event.as_bytes()[..split]).chunk(&event.as_bytes()[split..]).chunk(&dialect.end);
        let error = Reply::answer("429 Too Many Requests", &[JSON, "retry-after: 7"], &dialect.rate_limited);
        for (what, reply) in [
            ("a whole stream", whole.last_chunk()),
            (
                "an answer that ends with its connection",
                Reply::answer("200 OK", &[dialect.stream], event.clone() + &dialect.end),
            ),
            ("a stream that breaks off", head().chunk(&event).send("ff\r\n")),
            ("an error with a hint", error),
            ("an unanswered request", Reply::default()),
        ] {
            let (cassette, live) = record(&dialect, reply).await;
            let (played, finish) = replay(&dialect, &cassette).await;
            assert_eq!(summary(&played), summary(&live), "{} {what}", dialect.api);
            finish.unwrap();
        }
    }
}

#[tokio::test]
async fn a_recording_keeps_no_key_also_where_the_server_echoes_it_in_two_pieces() {
    for dialect in dialects() {
        let (first, rest) = KEY.split_at(10);
        let body = (dialect.text)(&format!("your key is {KEY}!")) + &dialect.end;
        let at = body.find(rest).unwrap();
        let gate = Gate::new();
        let reply = Reply::head("200 OK", &[dialect.stream, CHUNKED, &format!("x-request-id: {KEY}")])
            .chunk(&body[..at])
            .wait(&gate)
            .chunk(&body[at..])
            .last_chunk();
        let server = FaultServer::always(reply).await.unwrap();
        let recorder = Recorder::start(server.url(), "a test").await.unwrap();
        let (outcome, ()) = tokio::join!(call_once(&dialect, recorder.url(), LONG), async {
            server.request(0).await.unwrap();
            gate.open();
        });
        outcome.result.unwrap();
        assert!(server.requests()[0].header(dialect.key_header).unwrap().contains(KEY), "the server got it");
        let lines = recorder.finish().await.unwrap().to_lines();
        assert!(!lines.contains("planted") && !lines.contains(first) && !lines.contains(rest), "{lines}");
        assert!(lines.contains("your key is [redacted]"), "{lines}");
        assert!(!lines.to_lowercase().contains(dialect.key_header), "{lines}");
    }
}

#[tokio::test]
async fn what_the_recorder_was_told_is_a_secret_is_not_written_down() {
    for dialect in dialects() {
        let body = (dialect.text)("the number is 4711-0815, keep it") + &dialect.end;
        let server = FaultServer::always(Reply::answer("200 OK", &[dialect.stream], body)).await.unwrap();
        let recorder = Recorder::start(server.url(), "a test").await.unwrap();
        recorder.secret("4711-0815");
        let outcome = call_once(&dialect, recorder.url(), LONG).await;
        assert_eq!(outcome.shown, "the number is 4711-0815, keep it", "who asked is told it");
        let lines = recorder.finish().await.unwrap().to_lines();
        assert!(!lines.contains("4711-0815"), "{lines}");
        assert!(lines.contains("the number is [redacted], keep it"), "{lines}");
    }
}

#[tokio::test]
async fn a_request_that_was_not_recorded_is_refused_with_what_differs() {
    for dialect in dialects() {
        let whole = Reply::answer("200 OK", &[dialect.stream], (dialect.text)("x") + &dialect.end);
        let (mut cassette, _) = record(&dialect, whole).await;
        let body = &mut cassette.exchanges[0].request.body;
        let ergane_testkit::cassette::Body::Json(json) = body else { panic!("{body:?}") };
        *json.pointer_mut(dialect.asked).expect(dialect.api) = "something else".into();
        let (outcome, finish) = replay(&dialect, &cassette).await;
        let error = outcome.result.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::InvalidRequest, false), "{error}");
        let finish = finish.unwrap_err().to_string();
        for text in [error.message.to_string(), finish.clone()] {
            assert!(
                text.contains(&format!("{}: recorded \"something else\", asked \"hi\"", dialect.asked)),
                "{text}"
            );
        }
        assert!(finish.contains("was recorded, and not asked"), "{finish}");

        let ignore = vec![dialect.asked.to_owned()];
        let options = ReplayOptions { pace: Pace::AsRecorded, ignore };
        let replay = Replay::start_with(cassette, options).await.unwrap();
        assert!(
            call_once(&dialect, replay.url(), LONG).await.result.is_ok(),
            "what may differ does not count"
        );
        let again = call_once(&dialect, replay.url(), LONG).await.result.unwrap_err();
        assert!(again.message.contains("every recorded request was asked before"), "{again}");
    }
}

/// Only that it takes no less is said: how much more, the machine decides.
#[tokio::test]
async fn the_pauses_that_there_were_are_kept_where_that_is_wanted() {
    for dialect in dialects() {
        let whole = Reply::answer("200 OK", &[dialect.stream], (dialect.text)("x") + &dialect.end);
        let (mut cassette, _) = record(&dialect, whole).await;
        let exchange = &mut cassette.exchanges[0];
        exchange.response.as_mut().unwrap().after_ms = 60;
        exchange.parts[0].after_ms = 40;
        let replay = Replay::start_with(
            cassette,
            ReplayOptions { pace: Pace::AsRecorded, ..ReplayOptions::default() },
        );
        let replay = replay.await.unwrap();
        let begin = std::time::Instant::now();
        let outcome = call_once(&dialect, replay.url(), LONG).await;
        assert_eq!(outcome.shown, "x", "{}", dialect.api);
        let took = begin.elapsed();
        assert!(took >= std::time::Duration::from_millis(100), "{} {took:?}", dialect.api);
        replay.finish().unwrap();
    }
}

#[tokio::test]
async fn a_base_path_is_part_of_both_urls_and_a_length_stays_right() {
    let dialect = &dialects()[0];
    let body = r#"{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}"#;
    let length = format!("content-length: {}", body.len());
    let server = FaultServer::always(Reply::answer("200 OK", &[JSON, &length], body)).await.unwrap();
    let recorder = Recorder::start(&format!("{}/api/v1/", server.url()), "a test").await.unwrap();
    assert!(recorder.url().ends_with("/api/v1"));
    call_once(dialect, recorder.url(), LONG).await.result.unwrap();
    assert_eq!(server.requests()[0].path(), "/api/v1/chat/completions");
    let cassette = recorder.finish().await.unwrap();
    let replay = Replay::start(cassette).await.unwrap();
    assert!(replay.url().ends_with("/api/v1"));
    let outcome = call_once(dialect, replay.url(), LONG).await;
    assert_eq!(outcome.result.unwrap().message.text(), "whole");
    replay.finish().unwrap();
}

#[tokio::test]
async fn what_is_sent_over_the_wire_is_byte_for_byte_what_was_recorded() {
    let text = r#"{"cassette":{"version":1}}
{"request":{"method":"GET","path":"/a?b=1"}}
{"response":{"status":202,"after_ms":1,"headers":[["content-type","text/plain"]]}}
{"part":{"after_ms":0,"text":"one "}}
{"part":{"after_ms":5,"base64":"8J+m"}}
{"end":{"after_ms":1,"complete":true}}
"#;
    let cassette = Cassette::parse(text, "a test").unwrap();
    assert_eq!(cassette.to_lines().replace(r#","source":"""#, ""), text);
    let replay = Replay::start(cassette).await.unwrap();
    let mut stream =
        tokio::net::TcpStream::connect(replay.url().trim_start_matches("http://")).await.unwrap();
    stream.write_all(b"GET /a?b=1 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    soon("the answer", stream.read_to_end(&mut all)).await.unwrap();
    let expected = b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-type: text/plain\r\n\
        transfer-encoding: chunked\r\n\r\n4\r\none \r\n3\r\n\xf0\x9f\xa6\r\n0\r\n\r\n";
    assert_eq!(all, expected, "{}", String::from_utf8_lossy(&all));
    replay.finish().unwrap();
}

#[test]
fn a_file_that_is_no_cassette_is_refused_with_its_line() {
    let refused = |text: &str| Cassette::parse(text, "f").unwrap_err().to_string();
    assert!(refused("").contains("it is empty"));
    let newer = refused("{\"cassette\":{\"version\":2,\"new\":{}}}\n{\"unheard\":1}");
    assert!(newer.contains("f:1") && newer.contains("version 2") && newer.contains("up to 1"), "{newer}");
    let head = "{\"cassette\":{\"version\":1}}\n";
    let request = "{\"request\":{\"method\":\"GET\",\"path\":\"/\"}}\n";
    assert!(refused(&format!("{head}nonsense")).contains("f:2"));
    assert!(
        refused(&format!("{head}{{\"end\":{{\"after_ms\":0,\"complete\":true}}}}"))
            .contains("an end without a request")
    );
    assert!(refused(&format!("{head}{request}")).contains("no end"));
    assert!(
        refused(&format!("{head}{request}{{\"part\":{{\"after_ms\":0,\"text\":\"x\"}}}}")).contains("f:3")
    );
    assert!(Cassette::load("/nowhere/x.jsonl").unwrap_err().to_string().contains("/nowhere/x.jsonl"));
}

#[tokio::test]
async fn what_is_no_http_url_is_not_recorded() {
    for url in ["", "ftp://x", "localhost:80"] {
        let refused = Recorder::start(url, "a test").await.unwrap_err();
        assert!(matches!(refused, TestkitError::Upstream { .. }), "{refused}");
    }
}
