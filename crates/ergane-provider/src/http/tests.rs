use std::sync::Mutex;

use bytes::Bytes;

use super::answer::Body;
use super::*;
use crate::provider::Delta;
use crate::wire::openai;
use crate::wire::testing::info;

/// Pieces, each after a silence.
struct Paced(std::vec::IntoIter<(u64, &'static str)>);

impl Body for Paced {
    async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        match self.0.next() {
            Some((seconds, piece)) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(Some(Bytes::from_static(piece.as_bytes())))
            }
            None => std::future::pending().await,
        }
    }
}

const IDLE: Duration = Duration::from_secs(10);

/// One that may be silent for so long before the first byte, beginning now, and for ten seconds after it.
fn silence(first: Duration) -> Silence {
    Silence { first, begun: Some(Instant::now()), idle: IDLE }
}

async fn answer(pieces: Vec<(u64, &'static str)>) -> (Result<ModelReply, ProviderError>, Vec<Delta>) {
    answer_within(silence(IDLE), pieces).await
}

async fn answer_within(
    silence: Silence,
    pieces: Vec<(u64, &'static str)>,
) -> (Result<ModelReply, ProviderError>, Vec<Delta>) {
    let shown = Mutex::new(Vec::new());
    let mut decoder = openai::Decoder::new(info(), Head::new(200, "text/event-stream"));
    let result = receive(
        Paced(pieces.into_iter()),
        &mut decoder,
        silence,
        |for_long| silent(&info(), for_long),
        |delta| {
            shown.lock().unwrap().push(delta);
        },
    )
    .await;
    (result, shown.into_inner().unwrap())
}

const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
const END: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

#[tokio::test(start_paused = true)]
async fn edge_09_keep_alives_hold_off_the_idle_timeout_and_are_no_output() {
    let mut pieces = vec![(9, ": ping\n\n"); 20];
    pieces.extend([(9, TEXT), (9, END), (9, "data: [DONE]\n\n")]);
    let (result, shown) = answer(pieces).await;
    assert_eq!(result.unwrap().message.text(), "x");
    assert_eq!(shown, [Delta::Text("x".into())]);
}

#[tokio::test(start_paused = true)]
async fn edge_09_silence_beyond_the_idle_timeout_is_a_timeout_that_keeps_what_was_proved() {
    let before = tokio::time::Instant::now();
    let (result, shown) = answer(vec![(9, TEXT)]).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.after_output, error.retryable), (ErrorKind::Timeout, true, true));
    assert_eq!((before.elapsed(), shown.len()), (Duration::from_secs(19), 1));
    let (result, _) = answer(vec![(0, TEXT), (0, END)]).await;
    assert_eq!(result.unwrap().message.text(), "x", "the reason to stop had come");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_first_byte_is_another_than_those_between_bytes() {
    let secs = Duration::from_secs;
    let whole = || vec![(0, TEXT), (9, END), (0, "data: [DONE]\n\n")];
    // A slow one has its time, whenever its head came.
    let mut slow = whole();
    slow[0].0 = 500;
    let begun = Instant::now();
    tokio::time::advance(secs(50)).await;
    let asked_before = Silence { first: secs(600), begun: Some(begun), idle: IDLE };
    assert_eq!(answer_within(asked_before, slow).await.0.unwrap().message.text(), "x");
    // And one in a hurry is not waited for any longer than that.
    let (before, mut late) = (Instant::now(), whole());
    late[0].0 = 9;
    let error = answer_within(silence(secs(3)), late).await.0.unwrap_err();
    assert_eq!((error.kind, before.elapsed()), (ErrorKind::Timeout, secs(3)));
    assert!(error.message.contains("for 3s"), "{error}");
    // The first byte alone changes nothing of the silence after it.
    let (before, stops) = (Instant::now(), vec![(1, ": ping\n\n"), (11, TEXT)]);
    let error = answer_within(silence(secs(600)), stops).await.0.unwrap_err();
    assert_eq!((error.kind, before.elapsed()), (ErrorKind::Timeout, secs(11)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_end_is_given_up_and_not_kept_in_memory() {
    let info = info();
    let mut decoder = openai::Decoder::new(info.clone(), Head::new(200, "text/event-stream"));
    let endless =
        Bounded { body: Paced(vec![(1, TEXT); 100].into_iter()), left: TEXT.len() * 3, info: &info };
    let shown = Mutex::new(0);
    let count = |_| *shown.lock().unwrap() += 1;
    let error =
        receive(endless, &mut decoder, silence(IDLE), |long| silent(&info, long), count).await.unwrap_err();
    assert_eq!(*shown.lock().unwrap(), 3);
    assert_eq!(error.kind, ErrorKind::Protocol);
    assert!(error.message.contains("does not end"), "{error}");
}

#[test]
fn a_usual_key_never_goes_to_another_machine_in_the_open() {
    for (url, key) in [
        ("https://gateway.example", KeySource::UsualEnv("KEY")),
        ("http://localhost:4000", KeySource::UsualEnv("KEY")),
        ("http://127.0.0.1", KeySource::UsualEnv("KEY")),
        ("http://gateway.example", KeySource::None),
        ("http://10.0.0.7:4000", KeySource::None),
    ] {
        let server = Server::new(url, &PathRules { strip: &[], default: "" });
        assert_eq!(server.usual_key("KEY").key, key, "{url}");
    }
}
