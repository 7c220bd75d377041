use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;
use crate::wire::{self, Answer};

fn turn() -> (RemoteTurn, UnixStream) {
    let (there, here) = UnixStream::pair().unwrap();
    let session = RemoteSession::new("none", "alice".parse().unwrap(), 17);
    let (owner, key) = (Owner::new(here), "k".into());
    (RemoteTurn { session, owner, key, parked: None, taken: false, over: false }, there)
}

async fn say(owner: &mut UnixStream, answer: Answer) {
    owner.write_all(&wire::answer(&Ok(answer))).await.unwrap();
}

fn parked(reason: &str) -> Told {
    Told::Event(SessionEvent::Parked { reason: reason.into() })
}

#[tokio::test]
async fn what_is_said_again_as_a_sign_of_life_is_told_once() {
    let (mut turn, mut owner) = turn();
    let full = || Answer::Parked { parked: "the disk is full".into() };
    let goes_on = || Answer::GoesOn { goes_on: true };
    for answer in [goes_on(), goes_on(), full(), full(), goes_on(), goes_on()] {
        say(&mut owner, answer).await;
    }
    say(&mut owner, Answer::Accepted { accepted: true }).await;
    for told in [parked("the disk is full"), Told::GoesOn, Told::Taken] {
        assert_eq!(turn.next().await.unwrap(), Some(told));
    }
    drop(owner);
    let ended = turn.next().await.unwrap_err();
    assert!(matches!(ended, RemoteError::OwnerEnded { .. }), "{ended}");
    assert_eq!((ended.key(), turn.key()), (Some("k"), "k"));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_silent_is_given_up_before_the_turn_is_taken_and_told_of_after() {
    let (mut first, _silent) = turn();
    let error = first.next().await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
    assert_eq!(error.key(), Some("k"));
    let (mut turn, mut owner) = turn();
    say(&mut owner, Answer::Accepted { accepted: true }).await;
    assert_eq!(turn.next().await.unwrap(), Some(Told::Taken));
    for _ in 0..2 {
        assert_eq!(turn.next().await.unwrap(), Some(Told::Silent));
    }
    say(&mut owner, Answer::Waits { waits: Vec::new() }).await;
    let over = Outcome::Waits { questions: Vec::new(), key: "k".into() };
    assert_eq!(turn.next().await.unwrap(), Some(Told::Over(over)));
    assert_eq!(turn.next().await.unwrap(), None);
}
