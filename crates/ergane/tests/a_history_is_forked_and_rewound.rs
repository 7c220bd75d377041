//! Checkpoints, forks and rewinds, of sessions that run and of stored ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::future::IntoFuture;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::core::{Envelope, Point, Seq};
use ergane::journal::{Append, Journal, Memory};
use ergane::prelude::*;
use ergane_testkit::{FaultPlan, JournalFault};
use serde_json::json;

/// A turn with this question and answer.
async fn talk(session: &Session, asked: &mut Questions, question: &str, answer: &str) -> TurnResult {
    let send = sending(session, question);
    asked.next().await.answer(answer);
    result(send).await
}

async fn said(session: &Session) -> Vec<String> {
    session.messages().await.unwrap().iter().map(|message| message.text()).collect()
}

/// A session in a real file, before which faults can be put.
async fn on_a_disk_of_faults(folder: &Path, model: Model) -> (FaultPlan, Arc<Sqlite>, System, Session) {
    let (plan, store) = (FaultPlan::none(), Arc::new(Sqlite::open(folder.join("j.db")).unwrap()));
    let journal = plan.journal(store.clone());
    let system = System::builder().provider("test", model).journal(journal).start().await.unwrap();
    let session = system.session("a").start().await.unwrap();
    (plan, store, system, session)
}

#[tokio::test]
async fn a_live_session_goes_on_from_a_checkpoint_and_nothing_is_erased() {
    let (model, mut asked) = model();
    let system = system(&model).await;
    let session = system.session("a").start().await.unwrap();
    talk(&session, &mut asked, "one", "1").await;
    let here = session.checkpoint("here").await.unwrap();
    let send = session.send_message("two").key("k");
    let two = tokio::spawn(async move { send.await });
    asked.next().await.answer("2");
    let two = result(two).await;
    let mut events = session.subscribe(None).await.unwrap();
    assert_eq!(session.rewind("here").await.unwrap(), here);
    assert_eq!(said(&session).await, ["one", "1"]);
    let told = soon("the rewind is told", events.next()).await.unwrap().unwrap();
    assert!(matches!(told, SessionEvent::Rewound { to, .. } if to == here), "{told:?}");
    // The send that was rewound keeps its result; nobody is asked again for it.
    let again = soon("known", session.send_message("two").key("k").into_future()).await.unwrap();
    assert_eq!((&*again.text, again.turn, again.rewound), ("2", two.turn, true));
    assert_eq!(again.messages.len(), 2);
    let three = talk(&session, &mut asked, "three", "3").await;
    assert!(!three.rewound && three.ordinal == 3);
    assert_eq!(said(&session).await, ["one", "1", "three", "3"]);
    let kinds = kinds(&system, &session).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "turn_ended").count(), 3, "all of it is in the log");
}

#[tokio::test]
async fn a_rewind_that_is_asked_for_again_takes_nothing_away_that_was_said_since() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let (plan, _store, system, session) = on_a_disk_of_faults(dir.path(), model).await;
    talk(&session, &mut asked, "one", "1").await;
    let here = session.checkpoint("here").await.unwrap();
    talk(&session, &mut asked, "two", "2").await;
    // As a handle asks whose first answer was lost: the same wish, to whoever has the session now.
    let rewind = async || {
        let (id, to) = ("a wish".into(), "here".into());
        let actor = ergane::ractor::ActorRef::<SessionMsg>::from(actor(&system, "session/a").await);
        let build = |reply| SessionMsg::Rewind { id, to, reply };
        ergane::ractor::call_t!(actor, build, 30_000).unwrap().unwrap()
    };
    assert_eq!(rewind().await, here);
    talk(&session, &mut asked, "three", "3").await;
    assert_eq!(rewind().await, here);
    session.stop().await.unwrap();
    session.start().await.unwrap();
    assert_eq!(rewind().await, here);
    assert_eq!(said(&session).await, ["one", "1", "three", "3"]);
    // And so does a handle: its session dies while the disk takes its time over the fact.
    plan.break_next_append(JournalFault::Delay(std::time::Duration::from_millis(300)));
    let asking = {
        let session = session.clone();
        tokio::spawn(async move { session.rewind("here").await })
    };
    until("it is about to be written", || async { plan.told().iter().any(|told| told.contains("Delay")) })
        .await;
    actor(&system, "session/a").await.kill();
    assert_eq!(soon("the answer", asking).await.unwrap().unwrap(), here);
    assert_eq!(said(&session).await, ["one", "1"]);
    let kinds = kinds(&system, &session).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "rewound").count(), 2, "{kinds:?}");
}

#[tokio::test]
async fn a_turn_in_progress_must_be_interrupted_before_a_rewind() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    let first = talk(&session, &mut asked, "one", "1").await;
    let send = sending(&session, "two");
    asked.next().await.call(&[("bash", json!({}))]);
    let call = calls.next().await;
    let refused = session.rewind(Seq(1)).await.unwrap_err();
    assert!(refused.to_string().contains("interrupt it first"), "{refused}");
    session.interrupt("enough").await.unwrap();
    // The turn has its grace; the rewind waits for its end.
    let rewinding = session.clone();
    let rewound = tokio::spawn(async move { rewinding.rewind(Seq(1)).await });
    call.give("late");
    result(send).await;
    assert_eq!(soon("rewound", rewound).await.unwrap().unwrap(), Seq(1));
    assert_eq!(said(&session).await, [""; 0]);
    for nowhere in [Point::At(Seq(first.turn.0)), Point::At(Seq(9_999)), "nothing".into()] {
        let missing = session.rewind(nowhere).await;
        assert!(matches!(missing, Err(SessionError::NoSuchPoint { .. })), "{missing:?}");
    }
    for bad in ["", " ", "12"] {
        assert!(matches!(session.checkpoint(bad).await, Err(SessionError::BadLabel(_))));
    }
}

#[tokio::test]
async fn a_rewind_survives_the_process_and_works_on_a_stored_session() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let start = || async {
        let journal = Sqlite::open(dir.path().join("j.db")).unwrap();
        System::builder().provider("test", model.clone()).journal(journal).start().await.unwrap()
    };
    let system = start().await;
    let session = system.session("a").start().await.unwrap();
    talk(&session, &mut asked, "one", "1").await;
    session.checkpoint("one").await.unwrap();
    talk(&session, &mut asked, "two", "2").await;
    session.checkpoint("two").await.unwrap();
    talk(&session, &mut asked, "three", "3").await;
    session.rewind("two").await.unwrap();
    system.shutdown(LONG).await.unwrap();
    drop((session, system));
    let system = start().await;
    let session = system.whereis("a").await.unwrap();
    assert_eq!(session.status().await.unwrap().activity, Activity::Stored);
    session.rewind("one").await.unwrap();
    assert_eq!(said(&session).await, ["one", "1"]);
    let send = sending(&session, "four");
    let four = asked.next().await;
    assert_eq!(four.texts(), ["one", "1", "four"]);
    four.answer("4");
    result(send).await;
}

#[tokio::test]
async fn a_fork_has_the_history_up_to_its_point_and_goes_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let journal = Sqlite::open(dir.path().join("j.db")).unwrap();
    let system = System::builder().provider("test", model).journal(journal).start().await.unwrap();
    let session = system.session("a").system_prompt("be brief").start().await.unwrap();
    let send = session.send_message("one").key("k");
    let one = tokio::spawn(async move { send.await });
    asked.next().await.answer("1");
    let one = result(one).await;
    session.checkpoint("here").await.unwrap();
    talk(&session, &mut asked, "two", "2").await;
    let fork = session.fork("b", "here").await.unwrap();
    let whole = session.fork("c", Point::Now).await.unwrap();
    assert_eq!(fork.status().await.unwrap().activity, Activity::Stored, "nobody runs it yet");
    assert_eq!(said(&fork).await, ["one", "1"]);
    assert_eq!(said(&whole).await, ["one", "1", "two", "2"]);
    assert_eq!(fork.settings().await.unwrap().system_prompt.as_deref(), Some("be brief"));
    // The key is not known there: it is another turn, of another session.
    let send = fork.send_message("one").key("k");
    let again = tokio::spawn(async move { send.await });
    let question = asked.next().await;
    assert_eq!(question.texts(), ["one", "1", "one"]);
    question.answer("one again");
    assert_ne!(result(again).await.turn, one.turn);
    assert_eq!(said(&session).await, ["one", "1", "two", "2"], "the parent does not notice");
    let log = log(&system, &fork).await;
    let forked = log.iter().find(|fact| fact["type"] == "forked").unwrap();
    assert_eq!((&forked["parent"], &forked["at"]), (&json!("a"), &json!(6)));

    let taken = session.fork("b", Point::Now).await;
    assert!(matches!(taken, Err(SessionError::Exists(_))), "{taken:?}");
    let nowhere = session.fork("d", Seq(9_999)).await;
    assert!(matches!(nowhere, Err(SessionError::NoSuchPoint { .. })), "{nowhere:?}");
    let nobody = system.session("a").start().await.unwrap().fork("no name", Point::Now).await;
    assert!(matches!(nobody, Err(SessionError::BadName(_))), "{nobody:?}");
    assert!(system.whereis("d").await.is_none());
}

#[tokio::test]
async fn a_fork_of_a_turn_in_progress_runs_none_of_its_calls_and_the_parent_goes_on() {
    let (model, mut asked) = model();
    let (tools, mut calls) = hand_tools(&[("bash", Effect::Write), ("todo", Effect::Idempotent)]);
    let system = system_with(&model, tools).await;
    let session = system.session("a").start().await.unwrap();
    let send = sending(&session, "go");
    asked.next().await.call(&[("todo", json!({})), ("bash", json!({}))]);
    let todo = calls.next().await;
    let queued = sending(&session, "later");
    until("it waits", || async { session.status().await.unwrap().queued == 1 }).await;
    let fork = session.fork("b", Point::Now).await.unwrap();
    let status = fork.status().await.unwrap();
    assert_eq!((status.turn, status.turns), (None, 1));
    let result_there = soon("the interrupted turn", fork.turn(TurnId(3)).into_future()).await.unwrap();
    assert_eq!(result_there.finish_reason, FinishReason::Interrupted);
    let results: Vec<String> = fork
        .messages()
        .await
        .unwrap()
        .iter()
        .flat_map(|message| message.results().map(|result| result.text()).collect::<Vec<_>>())
        .collect();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|text| text.contains("forked from")), "{results:?}");
    assert!(calls.is_empty(), "nothing ran in the fork");
    let there = sending(&fork, "go on");
    asked.next().await.call(&[("todo", json!({}))]);
    let call = calls.next().await;
    call.give("ok");
    asked.next().await.answer("fine");
    result(there).await;
    // And the parent never noticed.
    todo.give("ok");
    calls.next().await.give("ok");
    asked.next().await.answer("done");
    result(send).await;
    asked.next().await.answer("later done");
    result(queued).await;
}

/// What the only call of a turn with this session is, and its key, before and after a kill of the session in the middle.
async fn key_of_a_call(
    system: &System,
    session: &Session,
    asked: &mut Questions,
    calls: &mut Calls,
) -> (ergane::core::CallId, String) {
    let send = sending(session, "go");
    asked.next().await.call(&[("todo", json!({}))]);
    let first = calls.next().await;
    let (id, key) = (first.context.call_id(), first.context.idempotency_key().to_owned());
    actor(system, &session.process_name()).await.kill();
    first.dropped().await;
    let again = calls.next().await;
    assert_eq!((again.context.call_id(), again.context.idempotency_key()), (id, key.as_str()));
    again.give("ok");
    asked.next().await.answer("done");
    result(send).await;
    (id, key)
}

#[tokio::test]
async fn one_call_has_one_key_and_no_other_has_it_in_a_fork_after_a_deletion_or_in_another_journal() {
    let mut seen: Vec<(ergane::core::CallId, String)> = Vec::new();
    for journal in 0..2 {
        let (model, mut asked) = model();
        let (tools, mut calls) = hand_tools(&[("todo", Effect::Idempotent)]);
        let system = system_with(&model, tools).await;
        let delete = async |session: &Session| {
            session.stop().await.unwrap();
            let journal = system.context().journal(Durability::Strict);
            assert!(journal.delete(session.name()).await.unwrap(), "{journal:?}");
        };
        // One name after the other, each begun twice: the turns of all of them have the same numbers.
        for _ in 0..2 {
            let parent = system.session("a").start().await.unwrap();
            for _ in 0..2 {
                let fork = parent.fork("b", Seq(1)).await.unwrap();
                // A fork has one fact more than its parent at that point, the parent has it too then.
                seen.push(key_of_a_call(&system, &fork, &mut asked, &mut calls).await);
                delete(&fork).await;
            }
            parent.checkpoint("as many facts as in the fork").await.unwrap();
            seen.push(key_of_a_call(&system, &parent, &mut asked, &mut calls).await);
            delete(&parent).await;
        }
        assert_eq!(seen.len(), 6 * (journal + 1));
        system.shutdown(std::time::Duration::from_secs(30)).await.unwrap();
    }
    let (id, _) = seen[0].clone();
    assert!(seen.iter().all(|(other, _)| *other == id), "the same call in each of them: {seen:?}");
    let keys: std::collections::BTreeSet<&String> = seen.iter().map(|(_, key)| key).collect();
    assert_eq!(keys.len(), seen.len(), "each with a key of its own: {seen:?}");
}

#[tokio::test]
async fn a_fork_that_cannot_be_written_leaves_nothing_and_one_of_unknown_outcome_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let (plan, _store, system, session) = on_a_disk_of_faults(dir.path(), model).await;
    talk(&session, &mut asked, "one", "1").await;
    let fork = async |fault| {
        plan.break_journal(fault);
        let fork = session.fork("b", Point::Now).await;
        plan.heal();
        fork
    };
    for fault in [JournalFault::NotWritten, JournalFault::Lost] {
        let refused = fork(fault).await;
        assert!(matches!(refused, Err(SessionError::NotForked { .. })), "{refused:?}");
        assert!(system.whereis("b").await.is_none(), "{fault:?} leaves nothing");
    }
    let written = fork(JournalFault::Unsure).await.unwrap();
    assert_eq!(said(&written).await, ["one", "1"]);
    assert!(matches!(session.fork("b", Point::Now).await, Err(SessionError::Exists(_))));
}

#[tokio::test(start_paused = true)]
async fn a_fork_that_nobody_waits_for_any_more_is_made_or_not_and_takes_no_name_in_half() {
    let (model, mut asked) = model();
    let (plan, store) = (FaultPlan::none(), Arc::new(Memory::new()));
    let journal = plan.journal(store.clone());
    let system = System::builder().provider("test", model).journal(journal).start().await.unwrap();
    let session = system.session("a").start().await.unwrap();
    talk(&session, &mut asked, "one", "1").await;
    plan.slow_journal(Duration::from_millis(100));
    let length = store.position(session.name()).unwrap().unwrap().next_seq;
    // Given up at every moment, of which some are between its first and its last word with the journal.
    for given_up in (0..400).step_by(20) {
        let name = format!("b{given_up}");
        drop(tokio::time::timeout(Duration::from_millis(given_up), session.fork(&name, Point::Now)).await);
        let id: SessionName = name.parse().unwrap();
        let half = || store.position(&id).unwrap().is_some_and(|position| position.next_seq == Seq(1));
        let found = system.whereis(&name).await;
        assert!(found.is_none() || !half(), "what is being made is not there yet");
        until("it is all there or nothing", || async { !half() }).await;
        let made = store.position(&id).unwrap().map(|position| position.next_seq);
        assert!(made.is_none_or(|made| made == length.next()), "{made:?}");
    }
    until("what had got far enough is made", || async { system.whereis("b380").await.is_some() }).await;
}

#[tokio::test]
async fn what_a_failed_fork_takes_back_is_not_what_somebody_began_meanwhile_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (model, mut asked) = model();
    let (plan, store, system, session) = on_a_disk_of_faults(dir.path(), model).await;
    talk(&session, &mut asked, "one", "1").await;
    let parent = session.name().clone();
    plan.before_deletion(move |name| {
        let opened = store.open_session(name).unwrap();
        let started = store.load(&parent, Seq(0), Seq(2)).unwrap().remove(0);
        let started = Arc::new(Envelope { epoch: opened.epoch, ..Envelope::clone(&started) });
        let (session, epoch, expected) = (name.clone(), opened.epoch, opened.next_seq);
        let append = Append { session, epoch, expected, events: vec![started] };
        assert_eq!(store.append(&[append]), [Ok(())]);
    });
    plan.break_journal(JournalFault::NotWritten);
    let refused = session.fork("b", Point::Now).await;
    plan.heal();
    assert!(matches!(refused, Err(SessionError::NotForked { .. })), "{refused:?}");
    assert!(plan.told().iter().any(|told| told.starts_with("deletion of b")), "{:?}", plan.told());
    let theirs = system.whereis("b").await.expect("it was begun, and acknowledged");
    assert_eq!(kinds(&system, &theirs).await, ["session_started"]);
}
