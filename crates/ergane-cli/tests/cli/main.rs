//! Black-box tests of the `ergane` binary: what a shell sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test fails so

mod answers;
mod bad_input;
mod crashes;
mod harness;
mod json;
mod keys;
mod limits;
mod providers;
mod server;
mod sessions;
mod signals;
#[cfg(unix)]
mod top;
