//! The providers against a real socket: what servers do, and what becomes of it.

mod common;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use common::*;
use ergane_core::{ErrorKind, History, Message, ModelRequest};
use ergane_provider::wire::openai;
use ergane_provider::{CallEvent, Delta, Endpoint, Ollama, OpenAi, Provider, Providers};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_streamed_answer_arrives_piece_by_piece() {
    let (first, second) = (Gate::new(), Gate::new());
    let server = TestServer::always(vec![
        send(head("200 OK", &[SSE, "transfer-encoding: chunked"])),
        send(chunk(": ping\n\n")),
        send(chunk(&text_event("one "))),
        Act::Wait(first.clone()),
        send(chunk(&text_event("two"))),
        Act::Wait(second.clone()),
        send(chunk(STOP_EVENTS)),
        send("0\r\n\r\n"),
    ])
    .await;
    let tree = Tree::start(Providers::builder().register("openai", OpenAi::new(&server.url))).await;
    let mut call = tree.call("openai", "hi");
    call.started().await;
    let delta = |text: &str| Delta::Text(text.into());
    assert!(
        matches!(call.next().await, CallEvent::Delta(d) if d == delta("one ")),
        "before the rest was even sent"
    );
    first.open();
    assert!(matches!(call.next().await, CallEvent::Delta(d) if d == delta("two")));
    second.open();
    let reply = call.done().await.unwrap();
    assert_eq!(reply.message.text(), "one two");
    let received = server.next_request().await;
    assert_eq!(received.path(), "/v1/chat/completions");
    assert_eq!(received.json()["messages"][0]["content"], "hi");
    assert_eq!(received.header("content-type"), Some("application/json"));
    tree.shutdown().await;
}

#[tokio::test]
async fn a_whole_answer_is_asked_for_when_nothing_is_to_be_streamed() {
    let body = r#"{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}"#;
    let server = TestServer::always(vec![answer("200 OK", &[JSON], body)]).await;
    let mut request = request("hi");
    request.stream = false;
    let reply = ask(&OpenAi::new(&server.url), request).await.unwrap();
    assert_eq!(reply.message.text(), "whole");
    assert_eq!(server.next_request().await.json()["stream"], false);
}

#[tokio::test]
async fn a_long_history_is_sent_in_pieces_as_one_body_whose_length_is_told() {
    let body = r#"{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}]}"#;
    let server = TestServer::always(vec![answer("200 OK", &[JSON], body)]).await;
    let provider = OpenAi::new(&server.url);
    let mut history: History =
        (0..300).map(|n| Arc::new(Message::user_text(format!("{n} {}", "word ".repeat(200))))).collect();
    for round in 0..2 {
        let request = ModelRequest { stream: false, ..ModelRequest::new("m", history.clone()) };
        let sent = openai::request(&request, "test", &openai::Compat::default()).unwrap().body;
        assert!(sent.pieces().len() > round, "{} pieces", sent.pieces().len());
        ask(&provider, request).await.unwrap();
        let received = server.next_request().await;
        assert_eq!(received.body()[..], *sent.bytes());
        assert_eq!(received.header("content-length"), Some(sent.len().to_string().as_str()));
        assert_eq!(received.header("transfer-encoding"), None);
        history.push(Arc::new(Message::user_text("one more")));
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_chunk_is_a_cut_stream() {
    let cut = chunk(&text_event("never shown"));
    let server = TestServer::always(vec![
        send(head("200 OK", &[SSE, "transfer-encoding: chunked"])),
        send(chunk(&text_event("shown"))),
        send(&cut.as_bytes()[..cut.len() / 2]),
    ])
    .await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retryable, error.after_output),
        (ErrorKind::StreamCut, true, true),
        "{error}"
    );
}

#[tokio::test]
async fn a_broken_framing_is_a_protocol_error() {
    let server = TestServer::always(vec![
        send(head("200 OK", &[SSE, "transfer-encoding: chunked"])),
        send(chunk(&text_event("shown"))),
        send("nonsense\r\n"),
    ])
    .await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Protocol, false), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_reset_in_mid_stream_is_a_cut_stream() {
    let told = Gate::new();
    let server = TestServer::always(vec![
        send(head("200 OK", &[SSE])),
        send(text_event("shown")),
        Act::Wait(told.clone()),
        Act::Reset,
    ])
    .await;
    let tree = Tree::start(Providers::builder().register("openai", OpenAi::new(&server.url))).await;
    let mut call = tree.call("openai", "hi");
    call.started().await;
    assert!(matches!(call.next().await, CallEvent::Delta(_)));
    told.open();
    let error = call.done().await.unwrap_err();
    assert_eq!((error.kind, error.after_output), (ErrorKind::StreamCut, true), "{error}");
    tree.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_is_closed_before_any_answer_is_a_network_error() {
    let server = TestServer::always(vec![]).await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retryable, error.after_output),
        (ErrorKind::Network, true, false),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_falls_silent_is_a_timeout_before_and_after_its_head() {
    for acts in [
        vec![Act::Stall],
        vec![send(head("200 OK", &[SSE])), Act::Stall],
        vec![send(head("200 OK", &[SSE])), send(text_event("x")), Act::Stall],
    ] {
        let server = TestServer::always(acts).await;
        let idle = Duration::from_millis(100);
        let error = ask_patiently(&OpenAi::new(&server.url), request("hi"), idle).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Timeout, true), "{error}");
        server.connection_ended().await;
    }
}

#[tokio::test]
async fn a_server_may_be_given_less_time_to_begin_than_to_go_on() {
    let begins = Duration::from_millis(100);
    // The head alone is no beginning: some send it before they look at the question.
    for acts in [vec![Act::Stall], vec![send(head("200 OK", &[SSE])), Act::Stall]] {
        let server = TestServer::always(acts).await;
        let provider = OpenAi::new(&server.url).first_byte_timeout(begins);
        let error = ask_patiently(&provider, request("hi"), 100 * DEADLINE).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Timeout, true), "{error}");
        assert!(error.message.contains("said nothing for 100ms"), "{error}");
        server.connection_ended().await;
    }
}

#[tokio::test]
async fn an_answer_in_one_piece_has_its_time_although_its_head_is_there() {
    let idle = Duration::from_millis(500);
    let body = r#"{"choices":[{"message":{"content":"at last"},"finish_reason":"stop"}]}"#;
    for acts in [
        // Silent for twice as long as a stream might be, before its body and in it.
        vec![send(head("200 OK", &[JSON])), Act::Pause(2 * idle), send(body)],
        vec![send(head("200 OK", &[JSON])), send("\n"), Act::Pause(2 * idle), send(body)],
    ] {
        let server = TestServer::always(acts).await;
        let whole = ModelRequest { stream: false, ..request("hi") };
        let reply = ask_patiently(&OpenAi::new(&server.url), whole, idle).await.unwrap();
        assert_eq!(reply.message.text(), "at last");
    }
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_given_up_in_time() {
    // Nobody accepts at this address. When its queue is full, a connection is neither made nor refused.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connection) =
        tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect(address)).await
    {
        queue.push(connection.unwrap());
    }
    let provider = OpenAi::new(format!("http://{address}")).connect_timeout(Duration::from_millis(100));
    let error = ask_patiently(&provider, request("hi"), 100 * DEADLINE).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Timeout, true), "{error}");
    assert!(error.message.contains("did not accept a connection within 100ms"), "{error}");
}

#[tokio::test]
async fn a_rate_limit_brings_its_hint() {
    let body = r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#;
    let server = TestServer::always(vec![answer(
        "429 Too Many Requests",
        &[JSON, "retry-after: 1.5", "x-request-id: r7"],
        body,
    )])
    .await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.status, error.retryable), (ErrorKind::RateLimited, Some(429), true));
    assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
    assert_eq!(error.request_id.as_deref(), Some("r7"));
}

#[tokio::test]
async fn edge_46_a_key_goes_where_it_should_and_is_in_no_error_although_the_server_echoes_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-planted-key\n").unwrap();
    let body =
        r#"{"error":{"message":"Incorrect API key provided: sk-planted-key","code":"invalid_api_key"}}"#;
    let server = TestServer::always(vec![answer("401 Unauthorized", &[JSON], body)]).await;
    let provider = OpenAi::new(&server.url).api_key_file(file.path());
    let error = ask(&provider, request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(
        !format!("{error} {error:?} {provider:?} {}", provider.endpoint()).contains("planted"),
        "{error:?}"
    );
    assert!(error.message.contains("[redacted]"), "{error}");
    assert_eq!(server.next_request().await.header("authorization"), Some("Bearer sk-planted-key"));
    let elsewhere = TestServer::always(vec![answer("401 Unauthorized", &[JSON], "{}")]).await;
    let endpoint = Endpoint { base_url: Some(elsewhere.url.as_str().into()), api_key_env: None };
    ask(&*provider.with_endpoint(&endpoint).unwrap(), request("hi")).await.unwrap_err();
    assert_eq!(
        elsewhere.next_request().await.header("authorization").filter(|key| key.contains("planted")),
        None
    );
}

#[tokio::test]
async fn a_missing_key_is_told_with_the_name_of_its_variable_and_nothing_is_sent() {
    const VARIABLE: &str = "ERGANE_TEST_A_VARIABLE_THAT_IS_NOT_SET";
    let provider = OpenAi::default().api_key_env(VARIABLE);
    let error = ask(&provider, request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Auth, false));
    assert!(error.message.contains(VARIABLE), "{error}");
    let named = Endpoint { base_url: None, api_key_env: Some(VARIABLE.into()) };
    let error = ask(&*OpenAi::default().with_endpoint(&named).unwrap(), request("hi")).await.unwrap_err();
    assert!(error.message.contains(VARIABLE), "{error}");
    let error = ask(&OpenAi::default().api_key_file("/nowhere/key"), request("hi")).await.unwrap_err();
    assert!(error.kind == ErrorKind::Auth && error.message.contains("/nowhere/key"), "{error}");
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_as_such() {
    let server = TestServer::always(vec![answer(
        "404 Not Found",
        &[JSON],
        r#"{"error":"model \"x\" not found, try pulling it first"}"#,
    )])
    .await;
    let error = ask(&Ollama::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::ModelNotFound, false));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_network_error_that_says_where() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for provider in [&OpenAi::new(&url) as &dyn Provider, &Ollama::new(&url)] {
        let error = ask(provider, request("hi")).await.unwrap_err();
        assert_eq!((error.kind, error.retryable), (ErrorKind::Network, true));
        assert!(error.message.contains(&url), "{error}");
    }
    assert!(!Ollama::new(&url).probe(DEADLINE).await);
    let secure = url.replace("http://", "https://");
    let error = ask(&OpenAi::new(&secure), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Network, "also where encryption had to be set up first: {error}");
}

#[tokio::test]
async fn a_web_page_with_a_success_status_is_told_as_such() {
    let server =
        TestServer::always(vec![answer("200 OK", &["content-type: text/html"], "<html>log in</html>")]).await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (ErrorKind::Protocol, false));
    assert!(error.message.contains("web page"), "{error}");
}

#[tokio::test]
async fn an_endless_error_is_read_to_its_limit_only() {
    let server = TestServer::always(vec![
        send(head("500 Internal Server Error", &["content-type: text/plain"])),
        Act::SendForever(vec![b'x'; 8192].into()),
    ])
    .await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Server);
    assert!(error.message.len() < 1000, "{}", error.message.len());
    server.connection_ended().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_where_it_leads() {
    let server =
        TestServer::always(vec![answer("307 Temporary Redirect", &["location: /elsewhere/v1?key=1"], "")])
            .await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
    assert!(error.message.contains("/elsewhere/v1") && !error.message.contains("key=1"), "{error}");
    server.next_request().await;
    assert!(server.requests() == 1, "sent once");
}

/// `text_event("zipped")` and the end, made with gzip.
const ZIPPED: &str = "H4sIAAAAAAACA33LMQqAIBQG4N1TxD93Auda6wAiIfpCIXySb0q8e45NrR98wYnTU4OPnDxVaNMQ6BIHPZCzUBZoPKkUCujddqXCz+kzzpRTjcdNrnIetwoXfKJZ9m21Sr3WRNXIewAAAA==";

#[tokio::test]
async fn edge_07_a_compressed_answer_is_read_in_pieces_and_a_cut_one_is_a_cut_stream() {
    let zipped = BASE64_STANDARD.decode(ZIPPED).unwrap();
    let headers = [SSE, "content-encoding: gzip"];
    let mut acts = vec![send(head("200 OK", &headers))];
    acts.extend(zipped.chunks(7).map(send));
    let server = TestServer::always(acts).await;
    assert_eq!(ask(&OpenAi::new(&server.url), request("hi")).await.unwrap().message.text(), "zipped");
    let server =
        TestServer::always(vec![send(head("200 OK", &headers)), send(&zipped[..zipped.len() / 2])]).await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamCut, "{error}");
    let mut broken = zipped.clone();
    broken[20..60].fill(0xff);
    let server = TestServer::always(vec![answer("200 OK", &headers, broken)]).await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
    let server = TestServer::always(vec![answer("200 OK", &[SSE, "content-encoding: br"], "x")]).await;
    let error = ask(&OpenAi::new(&server.url), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn ollama_is_asked_once_for_a_model_when_none_is_named() {
    let line = r#"{"message":{"content":"hi"},"done":true,"done_reason":"stop","eval_count":1}"#;
    let server = TestServer::start(move |request| match request.path() {
        "/api/tags" => {
            vec![answer("200 OK", &[JSON], r#"{"models":[{"name":"newest:1b"},{"name":"older:1b"}]}"#)]
        }
        _ => vec![answer("200 OK", &[NDJSON], line)],
    })
    .await;
    let provider = Ollama::new(&server.url);
    assert!(provider.probe(DEADLINE).await);
    assert_eq!(server.next_request().await.path(), "/api/tags");
    for first in [true, false] {
        let mut request = request("hi");
        request.model = "".into();
        let reply = ask(&provider, request).await.unwrap();
        assert_eq!(&*reply.message.origin.unwrap().model, "newest:1b");
        if first {
            assert_eq!(server.next_request().await.path(), "/api/tags");
        }
        let chat = server.next_request().await;
        assert_eq!((chat.path(), &chat.json()["model"]), ("/api/chat", &"newest:1b".into()));
    }
    let names: Vec<_> =
        provider.list_models().await.unwrap().into_iter().map(|model| model.id.to_string()).collect();
    assert_eq!(names, ["newest:1b", "older:1b"]);
}

#[tokio::test]
async fn an_ollama_without_models_and_a_server_with_several_say_what_to_do() {
    let mut unnamed = request("hi");
    unnamed.model = "".into();
    let empty = TestServer::always(vec![answer("200 OK", &[JSON], r#"{"models":[]}"#)]).await;
    let error = ask(&Ollama::new(&empty.url), unnamed.clone()).await.unwrap_err();
    assert!(error.kind == ErrorKind::ModelNotFound && error.message.contains("ollama pull"), "{error}");
    let several =
        TestServer::always(vec![answer("200 OK", &[JSON], r#"{"data":[{"id":"a"},{"id":"b"}]}"#)]).await;
    let error = ask(&OpenAi::new(&several.url), unnamed.clone()).await.unwrap_err();
    assert!(error.kind == ErrorKind::InvalidRequest && error.message.contains("a, b"), "{error}");
    let one = TestServer::start(|request| match request.path() {
        "/v1/models" => vec![answer("200 OK", &[JSON], r#"{"data":[{"id":"only"}]}"#)],
        _ => {
            vec![answer(
                "200 OK",
                &[SSE],
                text_event(request.json()["model"].as_str().unwrap()) + STOP_EVENTS,
            )]
        }
    })
    .await;
    assert_eq!(ask(&OpenAi::new(&one.url), unnamed).await.unwrap().message.text(), "only");
}

#[tokio::test]
async fn what_is_no_base_url_is_told_by_the_call_and_by_the_change() {
    let error = ask(&OpenAi::new("ftp://x"), request("hi")).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
    let endpoint = Endpoint { base_url: Some("http://".into()), api_key_env: None };
    assert!(OpenAi::default().with_endpoint(&endpoint).is_err());
    assert!(Ollama::default().with_endpoint(&endpoint).is_err());
}

/// The next request that comes over `stream`; `None` when it is closed.
async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<String> {
    use tokio::io::AsyncReadExt;
    let mut read = String::new();
    loop {
        let mut piece = [0; 4096];
        let size = stream.read(&mut piece).await.ok().filter(|size| *size > 0)?;
        read.push_str(&String::from_utf8_lossy(piece.get(..size)?));
        let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(read);
        }
    }
}

/// A connection that was kept after an answer and breaks: under the next request, or before it.
#[tokio::test]
async fn a_kept_connection_that_breaks_is_told_and_nothing_is_sent_twice() {
    use tokio::io::AsyncWriteExt;
    type Tell = tokio::sync::mpsc::UnboundedSender<(usize, &'static str)>;
    for breaks_before in [false, true] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, mut seen) = tokio::sync::mpsc::unbounded_channel();
        // Each connection by itself: nobody stands at one that is not taken while another is kept.
        let serve = move |mut stream: tokio::net::TcpStream, connection: usize, tell: Tell| async move {
            while let Some(request) = read_request(&mut stream).await {
                let text =
                    ["first", "second", "third"].into_iter().find(|text| request.contains(text)).unwrap();
                tell.send((connection, text)).unwrap();
                if text == "second" && !breaks_before {
                    break; // without a word
                }
                let body =
                    format!(r#"{{"choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}]}}"#);
                let head = format!("HTTP/1.1 200 OK\r\n{JSON}\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes()).await.unwrap();
                if text == "first" && breaks_before {
                    break;
                }
            }
        };
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, connection, tell.clone()));
            }
        });
        let provider = OpenAi::new(&url);
        assert_eq!(ask(&provider, request("first")).await.unwrap().message.text(), "first");
        match ask(&provider, request("second")).await {
            // It was seen to be closed in time, so another one was made.
            Ok(reply) => assert!(breaks_before && reply.message.text() == "second"),
            Err(error) => {
                assert_eq!((error.kind, error.retryable), (ErrorKind::Network, true), "{error}");
                assert!(error.message.contains("broke before an answer began"), "{error}");
            }
        }
        assert_eq!(ask(&provider, request("third")).await.unwrap().message.text(), "third");
        let mut all = Vec::new();
        while let Ok(one) = seen.try_recv() {
            all.push(one);
        }
        for text in ["first", "second", "third"] {
            let times = all.iter().filter(|(_, asked)| *asked == text).count();
            assert!(times == 1 || (times == 0 && text == "second" && breaks_before), "{text}: {all:?}");
        }
        if !breaks_before {
            assert_eq!(all, [(0, "first"), (0, "second"), (1, "third")], "the connection was kept");
        }
        server.abort();
    }
}
