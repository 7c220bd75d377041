//! `top`: the supervision trees of the processes that run on a journal, once or again and again.

mod draw;
mod terminal;

use std::time::Duration;

use ergane::socket::Process;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use self::draw::Picture;
use self::terminal::Terminal;
use crate::outcome::{FAILED, Failure, OK};
use crate::report::Failed;
use crate::screen::{Notes, Stdout};
use crate::signals::{Signal, Signals, ended_by};
use crate::term::is_screen;
use crate::workshop::Place;

/// How often the picture is drawn anew.
const PERIOD: Duration = Duration::from_secs(1);
/// A process that takes longer is stopped, or its machine has no time for it.
const PATIENCE: Duration = Duration::from_secs(12);
/// The same while somebody looks on: the next picture will have what this one has not.
const WHILE_DRAWING: Duration = Duration::from_secs(3);

pub(crate) async fn run(place: Result<Place, Failure>, json: bool, notes: Notes) -> u8 {
    let mut stdout = Stdout::default();
    let done = match place {
        Ok(place) => top(&place, json, &mut stdout).await,
        Err(failure) => Err(failure),
    };
    match done {
        Ok(()) if stdout.has_failed() => FAILED,
        Ok(()) => OK,
        Err(failure) => {
            if json {
                stdout.json(&Failed::of(&failure));
            }
            notes.failure(&failure);
            failure.exit
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct All {
    processes: Vec<Process>,
}

async fn top(place: &Place, json: bool, stdout: &mut Stdout) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let processes = signals.guard(look(place, PATIENCE)).await?;
    if json {
        stdout.json(&All { processes });
    } else if processes.is_empty() || !is_screen(&std::io::stdout()) {
        stdout.write(&Picture::of(&processes, &name(place)).plain());
    } else {
        watch(place, processes, stdout, &mut signals).await?;
    }
    Ok(())
}

async fn look(place: &Place, patience: Duration) -> Result<Vec<Process>, Failure> {
    // A journal in memory is its process's own.
    let Place::File(journal) = place else { return Ok(Vec::new()) };
    ergane::socket::processes(journal, patience).await.map_err(|error| {
        Failure::journal(format!("the sockets beside {} cannot be read: {error}", journal.display()))
    })
}

fn name(place: &Place) -> String {
    match place {
        Place::Memory => ":memory:".to_owned(),
        Place::File(path) => path.display().to_string(),
    }
}

/// Draws until somebody has seen enough, which is no error.
async fn watch(
    place: &Place,
    first: Vec<Process>,
    stdout: &mut Stdout,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first one is due at once
    let mut terminal = Terminal::take(stdout);
    let mut processes = first;
    loop {
        terminal.draw(&Picture::of(&processes, &name(place)), stdout);
        if stdout.is_closed() {
            return Ok(());
        }
        let next = async {
            ticks.tick().await;
            look(place, WHILE_DRAWING).await
        };
        processes = tokio::select! {
            biased;
            signal = signals.next() => return end(signal),
            () = terminal.quit() => return Ok(()),
            looked = next => looked?,
        };
    }
}

fn end(signal: Signal) -> Result<(), Failure> {
    match signal {
        Signal::Interrupt | Signal::Quit => Ok(()),
        Signal::Terminate => Err(ended_by(signal)),
    }
}
