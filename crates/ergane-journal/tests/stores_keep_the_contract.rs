//! Both stores are put through the conformance suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::Cell;
use std::sync::Arc;

use ergane_journal::{Memory, Sqlite, conformance};

#[test]
fn memory_keeps_the_contract() {
    conformance::run(|| Arc::new(Memory::new()));
}

#[test]
fn sqlite_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let made = Cell::new(0);
    conformance::run(|| {
        made.set(made.get() + 1);
        Arc::new(Sqlite::open(dir.path().join(format!("{}.db", made.get()))).unwrap())
    });
    assert_eq!(made.get(), conformance::CHECKS.len(), "every check had a store of its own");
}
