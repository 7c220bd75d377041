//! Ctrl-C and the wish of the system that this ends.

use std::future::Future;

use tokio::sync::mpsc;

use crate::outcome::Failure;

/// What somebody outside wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The first Ctrl-C: end the turn, keep the session.
    Interrupt,
    /// A further one: quit at once.
    Quit,
    /// SIGTERM, or the terminal is gone (SIGHUP): stop here; the turn stays open.
    Terminate,
}

/// Listens from its making on.
#[derive(Debug)]
pub(crate) struct Signals {
    coming: mpsc::Receiver<Signal>,
    interrupted: bool,
    quit: bool,
    terminated: bool,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Failure> {
        // More than the two that matter need no place.
        let (sender, coming) = mpsc::channel(4);
        let unusable =
            |error: std::io::Error| Failure::internal(format!("signals cannot be listened to: {error}"));
        forward(sender).map_err(unusable)?;
        Ok(Self { coming, interrupted: false, quit: false, terminated: false })
    }

    /// The next one; never returns when there is none. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Signal {
        match self.coming.recv().await {
            Some(Signal::Interrupt) if self.interrupted => {
                self.quit = true;
                Signal::Quit
            }
            Some(signal) => {
                self.interrupted |= signal == Signal::Interrupt;
                self.terminated |= signal == Signal::Terminate;
                signal
            }
            None => std::future::pending().await,
        }
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// The turn that was interrupted has ended; the next Ctrl-C is the first of another.
    pub(crate) fn forget(&mut self) {
        self.interrupted = false;
    }

    /// Whether the process is to end, for whatever reason.
    pub(crate) fn is_over(&self) -> bool {
        self.quit || self.terminated
    }

    /// Whether it was pressed again.
    pub(crate) fn quit(&self) -> bool {
        self.quit
    }

    /// Runs something that has no turn to interrupt: any signal ends it.
    pub(crate) async fn guard<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            signal = self.next() => Err(ended_by(signal)),
            done = work => done,
        }
    }
}

/// What a command that stopped for `signal` reports.
pub(crate) fn ended_by(signal: Signal) -> Failure {
    match signal {
        Signal::Interrupt | Signal::Quit => Failure::interrupted(),
        Signal::Terminate => Failure::internal("terminated"),
    }
}

#[cfg(unix)]
fn forward(sender: mpsc::Sender<Signal>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut meanings =
        vec![(SignalKind::interrupt(), Signal::Interrupt), (SignalKind::terminate(), Signal::Terminate)];
    if !ignores_hangup(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        meanings.push((SignalKind::hangup(), Signal::Terminate));
    }
    for (kind, meaning) in meanings {
        let (mut signals, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(
            async move { while signals.recv().await.is_some() && sender.send(meaning).await.is_ok() {} },
        );
    }
    Ok(())
}

/// Whether a process of that status was started so that it outlives its terminal, by `nohup` say: to listen would undo it. A system
/// that does not tell is taken not to.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit a signal, from the lowest on; this is the first.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
fn forward(sender: mpsc::Sender<Signal>) -> std::io::Result<()> {
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() && sender.send(Signal::Interrupt).await.is_ok() {}
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(signals: &[Signal]) -> Signals {
        let (sender, coming) = mpsc::channel(4);
        for signal in signals {
            sender.try_send(*signal).unwrap();
        }
        Signals { coming, interrupted: false, quit: false, terminated: false }
    }

    #[tokio::test]
    async fn the_first_ctrl_c_interrupts_and_a_further_one_quits() {
        let mut signals = pressed(&[Signal::Interrupt, Signal::Interrupt, Signal::Terminate]);
        assert!(!signals.interrupted());
        assert_eq!(signals.next().await, Signal::Interrupt);
        assert!(signals.interrupted());
        assert!(!signals.quit());
        assert_eq!(signals.next().await, Signal::Quit);
        assert!(signals.quit());
        assert_eq!(signals.next().await, Signal::Terminate);
    }

    #[cfg(unix)]
    #[test]
    fn a_hangup_that_is_ignored_is_not_listened_to() {
        assert!(ignores_hangup("Name:\tergane\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!ignores_hangup(""), "it is not told");
    }

    #[tokio::test]
    async fn work_without_a_turn_ends_with_a_signal_and_is_undisturbed_without() {
        let never = std::future::pending::<Result<(), Failure>>();
        assert_eq!(pressed(&[Signal::Interrupt]).guard(never).await.unwrap_err().exit, 130);
        assert_eq!(pressed(&[]).guard(async { Ok(7) }).await, Ok(7));
    }
}
