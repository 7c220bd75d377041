use std::sync::Arc;
use std::time::Duration;

use ergane::System;
use ergane::journal::Sqlite;
use ergane::provider::Scripted;
use ergane_core::SessionName;
use ergane_journal::JournalError;
use rusqlite::Connection;

use super::*;
use crate::error::RemoteError;

#[tokio::test]
async fn a_quarantine_is_lifted_when_the_log_can_be_read_again_and_is_not_said_to_be_before() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j.db");
    let system = System::builder().provider("scripted", Scripted::builtin());
    let system = system.journal(Sqlite::open(&journal).unwrap()).start().await.unwrap();
    let alice = system.session("alice").start().await.unwrap();
    alice.send_message("hello").await.unwrap();
    alice.stop().await.unwrap();
    let file = Connection::open(&journal).unwrap();
    let change = |by: i64| {
        let rows = file.execute("UPDATE event SET crc = crc + ?1 WHERE seq = 2", [by]).unwrap();
        assert_eq!(rows, 1);
    };
    change(1);
    let refused = alice.messages().await.unwrap_err();
    assert!(matches!(refused, SessionError::Quarantined { .. }), "{refused}");
    let trees = Trees::new(|| async { Err(Problem::new("internal", "nobody looks")) });
    let served = Served { journal, context: system.context().clone(), trees };
    let lift = || served.answer(Ask::Lift { session: alice.name().clone() });
    for _ in 0..2 {
        let problem = lift().await.unwrap_err();
        assert!(problem.message.contains("event 2 of session alice is damaged"), "{problem:?}");
    }
    change(-1);
    assert_eq!(lift().await.unwrap(), Answer::Done { done: "lifted".to_owned() });
    assert_eq!(alice.messages().await.unwrap().len(), 2, "nothing of it is lost");
    assert_eq!(alice.send_message("again").await.unwrap().ordinal, 2);
    system.shutdown(Duration::from_secs(30)).await.unwrap();
}

#[test]
fn whether_it_may_pass_is_told_as_it_is_at_home() {
    let name = || SessionName::new("a").unwrap();
    for error in [
        SessionError::Stuck { session: name(), reason: "r".into() },
        SessionError::TurnOpen { session: name(), turn: 3, ending: false },
        SessionError::Busy { session: name(), queued: 32 },
        SessionError::Journal(Arc::new(JournalError::Locked { path: "j.db".into() })),
        SessionError::Journal(Arc::new(JournalError::Newer { place: "p".into(), found: 2, supported: 1 })),
        SessionError::EmptyPrompt,
    ] {
        let (at_home, told) = (error.may_pass(), problem(error.clone()));
        let there = RemoteError::Refused { session: name(), pid: 17, problem: told };
        assert_eq!((there.may_pass(), there.kind()), (at_home, error.code()), "{error}");
    }
}
