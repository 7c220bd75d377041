//! The `ergane` command.
//!
//! Everything it does it does through the library. This crate is the shell around it: flags become settings, events
//! become lines, and every outcome, a panic included, becomes an exit status and, if asked for, a JSON object.

mod args;
mod commands;
mod config;
mod duration;
mod folders;
mod follow;
mod logs;
mod outcome;
#[cfg(test)]
mod pages;
mod plain;
mod provider;
mod report;
mod screen;
mod settings;
mod signals;
mod term;
mod workshop;

use std::process::ExitCode;
use std::time::Duration;

use crate::args::Cli;
use crate::outcome::{FAILED, USAGE};
use crate::screen::Notes;

/// A turn makes and drops two actors and several tasks, for which glibc's allocator has no fast path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and a reader that has gone away is none either.
            let told = error.print();
            let usage = if error.use_stderr() { USAGE } else { outcome::OK };
            return ExitCode::from(if told.is_ok() { usage } else { usage.max(FAILED) });
        }
    };
    logs::start(cli.global.verbose, cli.global.quiet);
    let notes = Notes::new(cli.global.quiet);
    // Two at least: a reader of stdout that is slow may hold one.
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            notes.error(&format!("no threads could be started: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let exit = runtime.block_on(async {
        // In a task, so that a defect that panics is an outcome like any other.
        match tokio::spawn(commands::run(cli)).await {
            Ok(exit) => exit,
            Err(error) => {
                notes.error(&format!("this is a defect of ergane, please report it: {error}"));
                FAILED
            }
        }
    });
    // A thread that hangs in a read of a dead disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ExitCode::from(exit)
}
