use std::time::Duration;

use ergane::System;
use ergane::journal::Sqlite;
use ergane::provider::Scripted;
use rusqlite::Connection;

use super::*;

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
