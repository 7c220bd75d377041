//! `ergane-bench`: what everything costs, beside what it would cost without us.
//!
//! The machines this runs on are noisy and shared, so a number alone says little. Hence medians, CPU time beside wall
//! time, and, with `--floor`, the bare thing measured in the same run and in turns with ours.

mod again;
mod all;
mod args;
mod cold_start;
mod crash_all;
mod fanout;
mod http;
mod idle;
mod journal;
mod kill;
mod laps;
mod names;
mod open;
mod otp;
mod out;
mod plan;
mod process;
mod record;
mod shape;
mod table;
mod turns;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::record::Record;

/// As the `ergane` program has it: what is measured is what its users get.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What may go wrong is told to a person and nobody else.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<out::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ergane-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Outcome<()> {
    if let Command::Serve = cli.command {
        return http::server::serve();
    }
    if let Command::All { scale } = cli.command {
        return all::run(&cli.global, scale);
    }
    let records = if cli.global.repeat > 1 {
        again::repeated(cli.global.repeat)?
    } else {
        // In a task: the thread that calls `block_on` is no worker, and would pay for waking one at every step.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (command, global) = (cli.command.clone(), cli.global.clone());
        runtime.block_on(async move { tokio::spawn(measure(command, global)).await })??
    };
    if cli.global.json {
        records.iter().try_for_each(|record| out::line(record.to_json()))
    } else {
        out::line(table::of_records(&records))
    }
}

async fn measure(command: Command, global: args::Global) -> Outcome<Vec<Record>> {
    match command {
        Command::Otp(options) => otp::run(&options).await,
        Command::Children(options) => otp::children::run(&options).await,
        Command::Turns(options) => turns::run(&options, &global).await,
        Command::Http(options) => http::run(&options).await,
        Command::Journal(options) => journal::run(&options, &global).await,
        Command::Idle(options) => idle::run(&options, &global).await,
        Command::Kill(options) => kill::run(&options, &global).await,
        Command::CrashAll(options) => crash_all::run(&options, &global).await,
        Command::Names(options) => names::run(&options, &global).await,
        Command::Fanout(options) => fanout::run(&options, &global).await,
        Command::Open(options) => open::run(&options, &global).await,
        Command::ColdStart(options) => cold_start::run(&options, &global).await,
        // It starts processes for all that it measures, and is done before.
        Command::All { .. } | Command::Serve => Ok(Vec::new()),
    }
}
