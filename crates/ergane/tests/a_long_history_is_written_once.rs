//! What a session's history is as bytes of a wire format is made once, and not for every turn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergane::prelude::*;
use ergane::provider::wire::{Payload, openai};

/// The bodies of the last two requests, as OpenAI would be sent them.
type Bodies = Arc<Mutex<Vec<Payload>>>;

fn model(bodies: &Bodies) -> Scripted {
    let bodies = bodies.clone();
    Scripted::from_fn(move |request, _| {
        let body = openai::request(request, "scripted", &openai::Compat::default()).unwrap().body;
        let mut bodies = bodies.lock().unwrap();
        bodies.push(body);
        if bodies.len() > 2 {
            bodies.remove(0);
        }
        ScriptedReply::text("so it is")
    })
}

/// How many bytes of the last body did not lie there when the one before it was made.
fn anew(bodies: &Bodies) -> (usize, usize) {
    let bodies = bodies.lock().unwrap();
    let [before, last] = bodies.as_slice() else { panic!("no two requests") };
    let lay_there = |at: *const u8| before.pieces().iter().any(|piece| piece.as_ptr() == at);
    let again = last.pieces().iter().filter(|piece| lay_there(piece.as_ptr()));
    (last.len() - again.map(|piece| piece.len()).sum::<usize>(), last.len())
}

#[tokio::test]
async fn a_turn_of_a_long_session_writes_what_is_new_and_one_that_was_opened_again_all_of_it_once() {
    let bodies = Bodies::default();
    let system = System::builder().provider("scripted", model(&bodies)).start().await.unwrap();
    let session = system.session("long").start().await.unwrap();
    let word = "A word and another one. ".repeat(100);
    for _ in 0..400 {
        session.send_message(&*word).await.unwrap();
    }
    for _ in 0..20 {
        session.send_message(&*word).await.unwrap();
        let (anew, all) = anew(&bodies);
        // Two blocks of messages and a piece that is not full.
        assert!(all > 900_000 && anew < 250_000, "{anew} of {all} bytes were written anew");
    }
    session.stop().await.unwrap();
    // Nothing was kept with the session that is gone.
    let session = system.session("long").start().await.unwrap();
    session.send_message(&*word).await.unwrap();
    let (of_all, all) = anew(&bodies);
    assert_eq!(of_all, all);
    session.send_message(&*word).await.unwrap();
    let (anew, all) = anew(&bodies);
    assert!(anew < 250_000, "{anew} of {all} bytes were written anew");
    system.shutdown(Duration::from_secs(30)).await.unwrap();
}
