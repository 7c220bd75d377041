//! The proofs of `docs/guarantees.md` that go through all of the house: every crash point, and seeded histories of faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

mod script;
mod simulation;
mod sweep;
mod trace;
