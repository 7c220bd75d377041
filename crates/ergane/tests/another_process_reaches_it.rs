//! The socket beside the journal: which systems have one, what becomes of it, and that several of them get on with each other.
//! That another process really reaches a program's sessions is shown where the command is: `a_program.rs` of `ergane-cli`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane::SystemBuilder;
use ergane::core::SettingsPatch;
use ergane::prelude::*;
use ergane::socket::{Outcome, RemoteError, RemoteSession, SocketStatus, Told, processes};

fn builder(path: &Path) -> SystemBuilder {
    System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(path).unwrap())
}

async fn status(system: &System) -> Option<SocketStatus> {
    system.tree().await.unwrap().find("socket").and_then(|node| node.socket.clone())
}

/// Where its socket is, as soon as it is open.
async fn opened(system: &System) -> PathBuf {
    let open = async {
        loop {
            if let Some(SocketStatus::Open { path }) = status(system).await
                && path.exists()
            {
                return path;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the socket is open", open).await
}

/// A system whose model the test answers for, its session alice, and she from elsewhere.
async fn asked_about_alice(journal: &Path) -> (System, Questions, RemoteSession) {
    let (model, questions) = model();
    let system = System::builder().provider("test", model).journal(Sqlite::open(journal).unwrap());
    let system = system.start().await.unwrap();
    system.session("alice").start().await.unwrap();
    (system, questions, remote(journal, "alice").await)
}

async fn remote(path: &Path, name: &str) -> RemoteSession {
    RemoteSession::find(path, name).await.unwrap().expect("somebody runs it")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_system_whose_journal_is_a_file_has_a_socket_for_its_user_alone_as_long_as_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let system = builder(&journal).start().await.unwrap();
    let Some(SocketStatus::Open { path }) = status(&system).await else { panic!("it is there at the start") };
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let sockets = folder.path().canonicalize().unwrap().join("j.db.sockets");
    assert_eq!(path.parent().unwrap(), sockets);
    let ours = Sqlite::open(&journal).unwrap();
    assert!(ergane::journal::Journal::files(&ours).contains(&sockets), "tools leave it alone");
    system.shutdown(LONG).await.unwrap();
    assert!(!path.exists());
    assert_eq!(processes(&journal, LONG).await.unwrap(), []);
}

#[tokio::test]
async fn a_system_in_memory_has_no_socket_and_none_has_one_that_was_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let system = System::builder().provider("scripted", Scripted::builtin()).start().await.unwrap();
    assert_eq!(status(&system).await, None);
    let system = builder(&journal).socket(false).start().await.unwrap();
    assert_eq!(status(&system).await, None);
    system.session("alice").start().await.unwrap();
    let alice = remote(&journal, "alice").await;
    let error = alice.interrupt("enough").await.unwrap_err();
    assert!(matches!(error, RemoteError::NoSocket { pid, .. } if pid == std::process::id()), "{error}");
    assert!(!folder.path().join("j.db.sockets").exists());
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_cannot_be_made_is_told_of_and_is_made_when_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let in_the_way = folder.path().join("j.db.sockets");
    std::fs::write(&in_the_way, "no folder").unwrap();
    let system = builder(&journal).start().await.unwrap();
    let Some(SocketStatus::Failed { reason }) = status(&system).await else { panic!("it is told") };
    assert!(reason.contains("it is no folder"), "{reason}");
    let alice = system.session("alice").start().await.unwrap();
    assert_eq!(alice.send_message("hello").await.unwrap().ordinal, 1, "all else is as ever");
    std::fs::remove_file(&in_the_way).unwrap();
    opened(&system).await;
    remote(&journal, "alice").await.checkpoint("here").await.unwrap();
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_somebody_removed_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let system = builder(&journal).start().await.unwrap();
    let path = opened(&system).await;
    // The clock stands still, so what takes half a minute takes none. It is as soon the eighth time as the first.
    for round in 1..=8 {
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
        for _ in 0..40 {
            if path.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(path.exists(), "round {round}: {:?}", status(&system).await);
        assert_eq!(opened(&system).await, path);
    }
    system.shutdown(LONG).await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_killed_socket_actor_heals_and_nobody_else_notices() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let system = builder(&journal).start().await.unwrap();
    system.session("alice").start().await.unwrap();
    let before = actor(&system, "socket").await;
    let mut watch = system.context().namespace().watch("socket");
    before.kill();
    let again = async {
        while !matches!(watch.next().await, Some(Incarnation::Up { pid }) if pid != before.get_id()) {}
    };
    soon("it is there again", again).await;
    opened(&system).await;
    let alice = remote(&journal, "alice").await;
    soon("it is reached", async {
        while alice.checkpoint("here").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(system.tree().await.unwrap().find("sessions").unwrap().restarts, Some(0));
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn systems_of_one_process_on_one_journal_pass_on_what_another_of_them_has() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let shared = Arc::new(Sqlite::open(&journal).unwrap());
    let on_shared = || {
        let builder = System::builder().provider("scripted", Scripted::builtin());
        builder.shared_journal(shared.clone()).recovery(Recovery::Lazy).start()
    };
    // Two of them own as one, the third as another one. All start at once, and each has a socket.
    let (first, second, third) =
        tokio::join!(on_shared(), on_shared(), builder(&journal).recovery(Recovery::Lazy).start());
    let systems = [("alice", first.unwrap()), ("bob", second.unwrap()), ("cleo", third.unwrap())];
    let mut sockets = Vec::new();
    for (name, system) in &systems {
        system.session(name).start().await.unwrap();
        sockets.push(opened(system).await);
    }
    sockets.dedup();
    assert_eq!(sockets.len(), 3, "{sockets:?}");
    let mut names: Vec<String> =
        processes(&journal, LONG).await.unwrap().into_iter().filter_map(|process| process.system).collect();
    names.sort();
    let mut running: Vec<String> = systems.iter().map(|(_, system)| system.name().to_owned()).collect();
    running.sort();
    assert_eq!(names, running);
    for (name, system) in &systems {
        let elsewhere = remote(&journal, name).await;
        let Outcome::Ended(result) = elsewhere.send_message("hello").await.unwrap() else {
            panic!("it waits")
        };
        let session = system.whereis(name).await.unwrap();
        assert_eq!(session.turn(result.turn).await.unwrap(), *result);
        assert_eq!(session.status().await.unwrap().activity, Activity::Idle, "it runs where it ran");
        let begun = elsewhere.checkpoint("begun").await.unwrap();
        assert_eq!(begun, session.status().await.unwrap().durable);
        // One that only its owner may bring back is brought back by it.
        session.stop().await.unwrap();
        assert_eq!(elsewhere.approvals().await.unwrap(), []);
    }
    for (_, system) in &systems {
        system.shutdown(LONG).await.unwrap();
    }
    assert!(sockets.iter().all(|socket| !socket.exists()));
}

#[tokio::test]
async fn systems_on_other_journals_are_not_met() {
    let folder = tempfile::tempdir().unwrap();
    let journals = ["a.db", "b.db"].map(|name| folder.path().join(name));
    let (a, b) = tokio::join!(builder(&journals[0]).start(), builder(&journals[1]).start());
    let systems = [a.unwrap(), b.unwrap()];
    systems[0].session("alice").start().await.unwrap();
    for (journal, system) in journals.iter().zip(&systems) {
        let met = processes(journal, LONG).await.unwrap();
        assert_eq!(met.len(), 1, "{met:#?}");
        assert_eq!(met[0].system.as_deref(), Some(system.name()));
        assert_eq!(met[0].journal, journal.canonicalize().unwrap().to_string_lossy());
    }
    assert!(RemoteSession::find(&journals[1], "alice").await.unwrap().is_none());
    for system in systems {
        system.shutdown(LONG).await.unwrap();
    }
}

#[tokio::test]
async fn who_listens_to_a_system_that_is_shut_down_hears_it_and_the_next_one_owns_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let (system, mut questions, alice) = asked_about_alice(&journal).await;
    let mut turn = alice.send_message("hello").stream().await.unwrap();
    let mut asked = questions.next().await;
    system.shutdown(LONG).await.unwrap();
    drop(system);
    asked.given_up().await;
    let ended = loop {
        match turn.next().await {
            Ok(Some(told)) => assert!(!matches!(told, Told::Over(_)), "{told:?}"),
            Ok(None) => panic!("it is not over"),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, RemoteError::OwnerEnded { .. }) && ended.may_pass(), "{ended}");
    // Nothing of the conversation holds on to the journal.
    let (model, mut questions) = common::model();
    let next = System::builder().provider("test", model).journal(Sqlite::open(&journal).unwrap());
    let next = next.recovery(Recovery::Lazy).start().await.unwrap();
    let alice = next.session("alice").start().await.unwrap();
    questions.next().await.answer("good day");
    let result = soon("the turn ends", async { alice.send_message("and again").await });
    let again = async {
        questions.next().await.answer("once more");
    };
    let (result, ()) = tokio::join!(result, again);
    assert_eq!(result.unwrap().ordinal, 2);
    next.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn a_turn_that_is_run_elsewhere_is_told_as_it_is_told_at_home() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let system = builder(&journal).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let mut at_home = alice.subscribe(None).await.unwrap();
    let mut turn = remote(&journal, "alice").await.send_message("hello").key("k").stream().await.unwrap();
    assert_eq!(turn.next().await.unwrap(), Some(Told::Taken));
    let (mut told, mut over) = (Vec::new(), None);
    while let Some(next) = turn.next().await.unwrap() {
        match next {
            Told::Event(event) => told.push(event),
            Told::Over(outcome) => over = Some(outcome),
            other => panic!("{other:?}"),
        }
    }
    let Some(Outcome::Ended(result)) = over else { panic!("{over:?}") };
    assert_eq!(alice.turn(result.turn).await.unwrap(), *result, "whole, with its messages");
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(SessionEvent::Done { .. })) {
        seen.push(at_home.next().await.unwrap().unwrap());
    }
    assert_eq!(told, seen);
    // A refusal has the owner's kind and words.
    let refused = remote(&journal, "alice").await.send_message("something else").key("k").await.unwrap_err();
    let at_home = alice.send_message("something else").key("k").await.unwrap_err();
    assert_eq!((refused.kind(), refused.to_string()), (at_home.code(), at_home.to_string()));
    system.shutdown(LONG).await.unwrap();
}

#[tokio::test]
async fn turns_that_are_told_elsewhere_keep_nobody_from_ending_them() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let (system, mut questions, alice) = asked_about_alice(&journal).await;
    let mut turns = Vec::new();
    for _ in 0..65 {
        let mut turn = alice.send_message("hello").key("k").stream().await.unwrap();
        assert_eq!(turn.next().await.unwrap(), Some(Told::Taken));
        turns.push(turn);
    }
    let mut asked = questions.next().await;
    assert!(alice.interrupt("enough").await.unwrap());
    asked.given_up().await;
    for mut turn in turns {
        let ended = loop {
            match turn.next().await.unwrap() {
                Some(Told::Over(Outcome::Ended(result))) => break result,
                Some(_) => {}
                None => panic!("it has an end"),
            }
        };
        assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    }
    system.shutdown(LONG).await.unwrap();
}

/// Tells who asks.
#[tool(effect = "write")]
async fn who(ctx: &ToolContext) -> String {
    ctx.meta()["user"].as_str().unwrap_or("nobody").to_owned()
}

#[tokio::test]
async fn a_turn_that_waits_elsewhere_is_gone_on_with_by_its_key_and_what_it_brings_is_its_alone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let script = Scripted::replies([
        ScriptedReply::call("who", json!({})),
        ScriptedReply::text("Done."),
        ScriptedReply::text("Hello."),
        ScriptedReply::text("Hello again."),
    ]);
    let system = System::builder().provider("scripted", script).tool(who);
    let system = system.journal(Sqlite::open(&journal).unwrap()).start().await.unwrap();
    let session = system.session("alice").start().await.unwrap();
    let before = session.settings().await.unwrap();
    let alice = remote(&journal, "alice").await;
    let once = SettingsPatch {
        model: Some("m7".into()),
        ungranted: Some(Ungranted::Ask),
        ..SettingsPatch::default()
    };
    let send = || alice.send_message("Who am I?").settings(once.clone()).meta(json!({"user": "ann"}));
    let Outcome::Waits { questions, key } = send().await.unwrap() else { panic!("it asks") };
    alice.approve(&questions[0], Decision::Allow).await.unwrap();
    let Outcome::Ended(result) = send().key(&*key).await.unwrap() else { panic!("it was decided") };
    assert_eq!((result.ordinal, &*result.model), (1, "m7"));
    let told = result.messages.iter().flat_map(|message| message.results()).next();
    assert_eq!(told.map(|result| result.text()).as_deref(), Some("ann"));
    assert_eq!(session.settings().await.unwrap(), before);
    // Refused, it leaves nothing either.
    alice.send_message("  ").settings(once.clone()).keep_settings().await.unwrap_err();
    assert_eq!(session.settings().await.unwrap(), before);
    // Unless it is said that they hold from now on.
    let Outcome::Ended(result) =
        alice.send_message("hello").settings(once.clone()).keep_settings().await.unwrap()
    else {
        panic!("nothing is asked")
    };
    assert_eq!(&*result.model, "m7");
    let kept = session.settings().await.unwrap();
    assert_eq!((&*kept.model, kept.permissions.ungranted), ("m7", Ungranted::Ask));
    let Outcome::Ended(result) = alice.send_message("hello again").await.unwrap() else {
        panic!("nothing is asked")
    };
    assert_eq!(&*result.model, "m7");
    system.shutdown(LONG).await.unwrap();
}

/// Owns a session as it seems, and does as the test says with the next who asks.
fn owner(folder: &Path) -> (tokio::net::UnixListener, RemoteSession) {
    let journal = folder.join("j.db");
    drop(Sqlite::open(&journal).unwrap());
    let sockets = folder.canonicalize().unwrap().join("j.db.sockets");
    std::fs::create_dir(&sockets).unwrap();
    std::fs::set_permissions(&sockets, std::fs::Permissions::from_mode(0o700)).unwrap();
    let listener = tokio::net::UnixListener::bind(sockets.join("4242.sock")).unwrap();
    (listener, RemoteSession::new(&journal, "alice".parse().unwrap(), 4242))
}

#[tokio::test]
async fn signs_of_life_are_waited_through_and_an_owner_that_ends_meanwhile_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (listener, alice) = owner(folder.path());
    let owns = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let lines = concat!(
            r#"{"v":1,"goes_on":true}"#,
            "\n",
            r#"{"v":1,"parked":"the disk is full"}"#,
            "\n",
            r#"{"v":1,"done":"interrupted"}"#,
            "\n"
        );
        tokio::io::AsyncWriteExt::write_all(&mut stream, lines.as_bytes()).await.unwrap();
        stream
    };
    let (interrupted, _stream) = tokio::join!(alice.interrupt("enough"), owns);
    assert!(interrupted.unwrap());
    // It goes in the middle of a request that does not fit into the kernel's queue.
    let long = || "x".repeat(1024 * 1024);
    let goes = async { drop(listener.accept().await.unwrap()) };
    let (sent, ()) = tokio::join!(alice.send_message(long()).key("k"), goes);
    let error = sent.unwrap_err();
    assert!(matches!(error, RemoteError::OwnerEnded { .. }) && error.key() == Some("k"), "{error}");
}

#[tokio::test]
async fn a_request_that_no_owner_would_read_is_not_sent() {
    let alice = RemoteSession::new("there is none", "alice".parse().unwrap(), 4242);
    let error = alice.send_message("x".repeat(17 * 1024 * 1024)).await.unwrap_err();
    assert_eq!((error.kind(), error.may_pass()), ("bad_request", false), "{error}");
    assert!(error.to_string().contains("longer than 17825792 bytes"), "{error}");
}
