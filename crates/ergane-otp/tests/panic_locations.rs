//! Where a panic was. In a process of its own: the hook it needs is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::*;
use ergane_otp::*;

#[tokio::test]
async fn a_panic_says_where_once_that_was_asked_for() {
    record_panic_locations();
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let cell = find(&namespace, "a").await;
    let monitor = namespace.monitor("a");
    let line = line!() + 1;
    order(&cell, |_, _| async { panic!("told to panic") });
    let ExitReason::Panic { message, location: Some(location) } = soon(monitor).await.reason else {
        panic!("not told where")
    };
    assert_eq!(message, "told to panic");
    assert!(location.contains(&format!("panic_locations.rs:{line}:")), "{location}");
    soon(root.shutdown(LONG)).await.unwrap();
}
