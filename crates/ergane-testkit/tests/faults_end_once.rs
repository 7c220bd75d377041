//! Every fault of a server against every real provider: the error has its type, kind and retryability, the call ends once,
//! and nothing of it is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::time::{Duration, SystemTime};

use common::*;
use ergane_core::{ErrorKind, ProviderError};
use ergane_testkit::{FaultServer, Gate, Reply, gzip};
use serde_json::json;

/// Runs one reply against one dialect, with all that holds whatever the fault is.
async fn failure(dialect: &Dialect, what: &str, reply: Reply) -> ProviderError {
    let server = FaultServer::always(reply).await.unwrap();
    let outcome = call_once(dialect, server.url(), LONG).await;
    server.connection_ended().await.unwrap();
    assert_eq!(server.requests().len(), 1, "{} {what}: a request is sent once", dialect.api);
    outcome.result.err().unwrap_or_else(|| panic!("{} {what}: it is no success", dialect.api))
}

async fn fails_as(
    dialect: &Dialect,
    what: &str,
    reply: Reply,
    kind: ErrorKind,
    retryable: bool,
) -> ProviderError {
    let error = failure(dialect, what, reply).await;
    assert_eq!((error.kind, error.retryable), (kind, retryable), "{} {what}: {error}", dialect.api);
    error
}

/// The head of a chunked stream and one piece of text in it.
fn begun(dialect: &Dialect) -> Reply {
    Reply::head("200 OK", &[dialect.stream, CHUNKED]).chunk((dialect.text)("shown"))
}

#[tokio::test]
async fn an_answer_that_is_cut_anywhere_is_a_cut_stream() {
    for dialect in dialects() {
        let whole = (dialect.text)("never shown");
        let cuts = [
            ("between two events", begun(&dialect)),
            (
                "in the middle of a chunk",
                begun(&dialect).send(format!("{:x}\r\n{}", whole.len(), &whole[..whole.len() / 2])),
            ),
            ("in the length of a chunk", begun(&dialect).send("2")),
            ("before a chunk's own end", begun(&dialect).send("5\r\n{\"a\":")),
            (
                "after a chunk that ends in mid-event",
                begun(&dialect).chunk(&whole[..whole.len() / 2]).last_chunk(),
            ),
        ];
        for (what, reply) in cuts {
            let error = fails_as(&dialect, what, reply, ErrorKind::StreamCut, true).await;
            assert!(error.after_output, "{} {what}", dialect.api);
        }
        let nothing = Reply::head("200 OK", &[dialect.stream, CHUNKED]).last_chunk();
        let error = fails_as(&dialect, "an empty stream", nothing, ErrorKind::StreamCut, true).await;
        assert!(!error.after_output);
    }
}

#[tokio::test]
async fn a_character_cut_in_two_is_whole_when_its_rest_comes_and_a_cut_stream_when_it_does_not() {
    for dialect in dialects() {
        let event = (dialect.text)("Größe 🦀");
        let crab = event.find('🦀').unwrap() + 2;
        let (first, rest) = event.as_bytes().split_at(crab);
        let gate = Gate::new();
        let whole = Reply::head("200 OK", &[dialect.stream, CHUNKED])
            .chunk(first)
            .wait(&gate)
            .chunk(rest)
            .chunk(&dialect.end)
            .last_chunk();
        let server = FaultServer::always(whole).await.unwrap();
        let url = server.url().to_owned();
        let call = call_once(&dialect, &url, LONG);
        let open = async {
            server.request(0).await.unwrap();
            gate.open();
        };
        let (outcome, ()) = tokio::join!(call, open);
        assert_eq!(outcome.result.unwrap().message.text(), "Größe 🦀", "{}", dialect.api);
        assert_eq!(outcome.shown, "Größe 🦀", "{}", dialect.api);

        let cut = begun(&dialect).chunk(first);
        fails_as(&dialect, "in the middle of a character", cut, ErrorKind::StreamCut, true).await;
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_a_timeout_wherever_it_stalls() {
    for dialect in dialects() {
        for (what, reply) in [
            ("before a byte", Reply::default().stall()),
            ("in its head", Reply::default().send("HTTP/1.1 200 OK\r\ncontent-ty").stall()),
            ("after its head", Reply::head("200 OK", &[dialect.stream, CHUNKED]).stall()),
            ("in mid-stream", begun(&dialect).stall()),
            ("in mid-chunk", begun(&dialect).send("ff\r\nx").stall()),
        ] {
            let server = FaultServer::always(reply).await.unwrap();
            let outcome = call_once(&dialect, server.url(), Duration::from_millis(150)).await;
            let error = outcome.result.unwrap_err();
            assert_eq!(
                (error.kind, error.retryable),
                (ErrorKind::Timeout, true),
                "{} {what}: {error}",
                dialect.api
            );
            assert_eq!(error.after_output, !outcome.shown.is_empty(), "{} {what}", dialect.api);
            server.connection_ended().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_reset_is_a_network_error_before_the_answer_and_a_cut_stream_in_it() {
    for dialect in dialects() {
        let error =
            fails_as(&dialect, "a reset at once", Reply::default().reset(), ErrorKind::Network, true).await;
        assert!(!error.after_output);
        let gate = Gate::new();
        let server = FaultServer::always(begun(&dialect).wait(&gate).reset()).await.unwrap();
        // Reset once the first piece was shown: a reset takes what was not read yet with it.
        let outcome = call_and_when_shown(&dialect, server.url(), || gate.open()).await;
        let error = outcome.result.unwrap_err();
        assert_eq!(
            (error.kind, error.retryable, error.after_output),
            (ErrorKind::StreamCut, true, true),
            "{error}"
        );
        assert_eq!(outcome.shown, "shown");
    }
}

#[tokio::test]
async fn a_rate_limit_brings_each_kind_of_hint() {
    let date = |seconds| httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds));
    let soon = format!("retry-after: {}", date(40));
    let past = format!("retry-after: {}", date(0));
    let seconds = Duration::from_secs_f64;
    let hints: [(&[&str], Option<Duration>); 12] = [
        (&["retry-after: 7"], Some(seconds(7.0))),
        (&["retry-after: 1.5"], Some(seconds(1.5))),
        (&["retry-after-ms: 250"], Some(seconds(0.25))),
        (&["retry-after-ms: 250", "retry-after: 7"], Some(seconds(0.25))),
        (&["x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 1m0.5s"], Some(seconds(60.5))),
        (&["x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 6m0s"], Some(seconds(360.0))),
        (&["retry-after: 0"], Some(Duration::ZERO)),
        // By the clock of the server, which is not this machine's.
        (
            &["date: Wed, 21 Oct 2015 07:28:00 GMT", "retry-after: Wed, 21 Oct 2015 07:28:10 GMT"],
            Some(seconds(10.0)),
        ),
        (&["retry-after: -1"], None),
        (&["retry-after: tomorrow"], None),
        (&["retry-after: 999999"], Some(seconds(999_999.0))),
        (&[], None),
    ];
    for dialect in dialects() {
        let reply = |headers: &[&str]| {
            let mut all = vec![JSON];
            all.extend(headers);
            Reply::answer("429 Too Many Requests", &all, &dialect.rate_limited)
        };
        for (headers, expected) in hints {
            let what = format!("{headers:?}");
            let error = fails_as(&dialect, &what, reply(headers), ErrorKind::RateLimited, true).await;
            assert_eq!((error.retry_after, error.status), (expected, Some(429)), "{} {what}", dialect.api);
        }
        let error = fails_as(&dialect, "a date", reply(&[&soon]), ErrorKind::RateLimited, true).await;
        let wait = error.retry_after.unwrap();
        assert!(wait <= seconds(40.0) && wait >= seconds(5.0), "{} {wait:?}", dialect.api);
        let error =
            fails_as(&dialect, "a date that has passed", reply(&[&past]), ErrorKind::RateLimited, true).await;
        assert_eq!(error.retry_after, Some(Duration::ZERO), "{}", dialect.api);
    }
}

/// Gemini has no header for it.
#[tokio::test]
async fn a_hint_in_the_body_is_one_too_and_a_limit_of_a_day_is_no_limit_to_wait_for() {
    let dialects = dialects();
    let gemini = dialects.iter().find(|dialect| dialect.api == "gemini").unwrap();
    let google = "type.googleapis.com/google.rpc";
    let reply = |details: serde_json::Value| {
        let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down", "details": [details]});
        Reply::answer("429 Too Many Requests", &[JSON], json!({"error": error}).to_string())
    };
    let info = json!({"@type": format!("{google}.RetryInfo"), "retryDelay": "37s"});
    let error = fails_as(gemini, "a delay", reply(info), ErrorKind::RateLimited, true).await;
    assert_eq!(error.retry_after, Some(Duration::from_secs(37)));
    let violation = json!({"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"});
    let failure = json!({"@type": format!("{google}.QuotaFailure"), "violations": [violation]});
    fails_as(gemini, "the day's quota", reply(failure), ErrorKind::Quota, false).await;
}

#[tokio::test]
async fn an_overload_is_one_whether_it_comes_as_a_status_or_inside_a_success() {
    for dialect in dialects() {
        let status = Reply::answer("529 Overloaded", &[JSON], &dialect.overloaded);
        let error = fails_as(&dialect, "529", status, ErrorKind::Overloaded, true).await;
        assert_eq!(error.status, Some(529), "{}", dialect.api);
        let first =
            Reply::head("200 OK", &[dialect.stream, CHUNKED]).chunk(&dialect.overloaded_event).last_chunk();
        let error = fails_as(&dialect, "first in a stream", first, ErrorKind::Overloaded, true).await;
        assert!(!error.after_output, "{}", dialect.api);
        let later = begun(&dialect).chunk(&dialect.overloaded_event).last_chunk();
        let error = fails_as(&dialect, "after text", later, ErrorKind::Overloaded, true).await;
        assert!(error.after_output, "{}", dialect.api);
        let json = Reply::answer("200 OK", &[JSON], &dialect.overloaded);
        fails_as(&dialect, "JSON with a status of success", json, ErrorKind::Overloaded, true).await;
    }
}

#[tokio::test]
async fn a_web_page_is_told_as_such_whatever_its_status() {
    let page = "<!doctype html><html><body>please log in</body></html>";
    for dialect in dialects() {
        let success = Reply::answer("200 OK", &["content-type: text/html; charset=utf-8"], page);
        let error = fails_as(&dialect, "a page with 200", success, ErrorKind::Protocol, false).await;
        assert!(error.message.contains("web page"), "{error}");
        let bad_gateway = Reply::answer("502 Bad Gateway", &["content-type: text/html"], page);
        let error = fails_as(&dialect, "a page with 502", bad_gateway, ErrorKind::Server, true).await;
        assert!(!error.message.contains("doctype"), "{error}");
    }
}

#[tokio::test]
async fn a_compressed_answer_is_read_and_one_cut_short_is_a_cut_stream() {
    for dialect in dialects() {
        let body = (dialect.text)("zipped") + &dialect.end;
        let packed = gzip(body.as_bytes());
        let headers = [dialect.stream, "content-encoding: gzip"];
        let whole = Reply::head("200 OK", &headers).send_in_pieces(&packed, 5);
        let server = FaultServer::always(whole).await.unwrap();
        let outcome = call_once(&dialect, server.url(), LONG).await;
        assert_eq!(outcome.result.unwrap().message.text(), "zipped", "{}", dialect.api);
        for cut in [packed.len() / 3, 5] {
            let reply = Reply::head("200 OK", &headers).send(packed[..cut].to_vec());
            fails_as(&dialect, &format!("gzip cut at {cut}"), reply, ErrorKind::StreamCut, true).await;
        }
        let lie = Reply::answer("200 OK", &headers, &body);
        fails_as(&dialect, "text that claims to be gzip", lie, ErrorKind::Protocol, false).await;
    }
}

#[tokio::test]
async fn an_endless_stream_is_given_up_and_an_endless_error_is_not_read() {
    for dialect in dialects() {
        // One line without an end: no event is ever complete, so what is bounded is the memory that waits for it.
        let line = Reply::head("200 OK", &[dialect.stream])
            .send(dialect.opening)
            .send_forever(vec![b'x'; 256 * 1024]);
        let error = fails_as(&dialect, "an endless line", line, ErrorKind::Protocol, false).await;
        assert!(error.message.len() < 2000, "{}", error.message.len());
        let error = Reply::head("500 Internal Server Error", &["content-type: text/plain"])
            .send_forever(vec![b'x'; 8192]);
        let error = fails_as(&dialect, "an endless error", error, ErrorKind::Server, true).await;
        assert!(error.message.len() < 2000, "{}", error.message.len());
    }
}

#[tokio::test]
async fn a_wrong_content_type_does_not_make_an_answer_wrong() {
    for dialect in dialects() {
        let body = (dialect.text)("read all the same") + &dialect.end;
        for content_type in
            ["content-type: application/octet-stream", "content-type: text/plain", "x-none: 1"]
        {
            let server = FaultServer::always(Reply::answer("200 OK", &[content_type], &body)).await.unwrap();
            let outcome = call_once(&dialect, server.url(), LONG).await;
            let reply =
                outcome.result.unwrap_or_else(|error| panic!("{} {content_type}: {error}", dialect.api));
            assert_eq!(reply.message.text(), "read all the same");
        }
        let nonsense = Reply::answer("200 OK", &["content-type: application/json"], "\u{0}\u{1}\u{2}");
        fails_as(&dialect, "bytes that are no JSON", nonsense, ErrorKind::Protocol, false).await;
    }
}

#[tokio::test]
async fn calls_with_one_id_are_two_calls() {
    for dialect in dialects() {
        let body = dialect.two_calls_with_one_id.clone();
        let server = FaultServer::always(Reply::answer("200 OK", &[dialect.stream], body)).await.unwrap();
        let outcome = call_once(&dialect, server.url(), LONG).await;
        let reply = outcome.result.unwrap_or_else(|error| panic!("{}: {error}", dialect.api));
        let names: Vec<_> =
            reply.message.calls().map(|call| (call.name.to_string(), call.complete)).collect();
        assert_eq!(names, [("look".to_owned(), true), ("listen".to_owned(), true)], "{}", dialect.api);
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_and_bytes_that_come_one_by_one_are_an_answer() {
    for dialect in dialects() {
        let body = (dialect.text)("slow é") + &dialect.end;
        let answer = format!("HTTP/1.1 200 OK\r\n{}\r\nconnection: close\r\n\r\n{body}", dialect.stream);
        let gate = Gate::new();
        let (first, rest) = answer.as_bytes().split_at(20);
        let reply = Reply::default().send_in_pieces(first, 1).wait(&gate).send_in_pieces(rest, 1);
        let server = FaultServer::always(reply).await.unwrap();
        let url = server.url().to_owned();
        let (outcome, ()) = tokio::join!(call_once(&dialect, &url, LONG), async {
            server.request(0).await.unwrap();
            gate.open();
        });
        assert_eq!(outcome.result.unwrap().message.text(), "slow é", "{}", dialect.api);
    }
}

#[tokio::test]
async fn nonsense_instead_of_http_is_an_error_and_no_panic() {
    for dialect in dialects() {
        for bytes in ["SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 99999 what\r\n\r\n", "\u{0}\u{0}\u{0}\u{0}"] {
            let error = failure(&dialect, bytes, Reply::default().send(bytes)).await;
            assert!(
                matches!(error.kind, ErrorKind::Network | ErrorKind::Protocol),
                "{} {bytes:?}: {error}",
                dialect.api
            );
        }
        let broken = begun(&dialect).send("not a length\r\n");
        fails_as(&dialect, "a broken chunk", broken, ErrorKind::Protocol, false).await;
    }
}
