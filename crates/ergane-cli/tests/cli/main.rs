//! Black-box tests of the `ergane` binary: what a shell sees.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test fails so

#[cfg(target_os = "linux")]
mod a_program;
mod answers;
mod approvals;
mod bad_input;
#[cfg(target_os = "linux")]
mod chat;
mod config;
mod crashes;
mod formats;
#[cfg(target_os = "linux")]
mod full_disk;
mod harness;
mod history;
mod inventory;
mod json;
mod keys;
mod limits;
mod pages;
mod providers;
mod server;
mod sessions;
#[cfg(target_os = "linux")]
mod shells;
mod signals;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(unix)]
mod top;
#[cfg(target_os = "linux")]
mod two_processes;
#[cfg(target_os = "linux")]
mod waits;
