//! The kernel's tests, behaviour by behaviour: tables for each decision, and properties over random histories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test may fail the test"
)]

mod log;
mod validity;
mod world;

mod any_history;
mod approvals;
mod fold_refuses;
mod limits;
mod next_after_a_crash;
mod records;
mod rewinding;
mod settings_laws;
mod steering;
