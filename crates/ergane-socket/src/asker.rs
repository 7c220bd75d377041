//! Whoever asked, as long as it is answered: what it was told, and whether it is there still.
//!
//! # Why it is looked before anything is done
//!
//! A request may have waited long: this process was stopped, or its places were taken. Who asked has then given up, and has told
//! somebody that it failed; what is done all the same is done behind his back, and a second time when he asks again.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use crate::tree::Problem;
use crate::wire::{self, Answer};

/// How long whoever asked may take to hear a line.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often something is said, whatever it waits for: before whoever asked takes this process for a stopped one.
pub(crate) const AGAIN: Duration = Duration::from_secs(3);

/// Whoever asked.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) stream: UnixStream,
    /// What it was told last of the journal: why it takes nothing, if it does not.
    parked: Option<String>,
    /// When it was told something.
    told: Instant,
}

impl Asker {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self { stream, parked: None, told: Instant::now() }
    }

    pub(crate) async fn say(&mut self, answer: &Result<Answer, Problem>) -> io::Result<()> {
        write(&mut self.stream, &wire::answer(answer), PATIENCE).await?;
        self.told = Instant::now();
        Ok(())
    }

    /// The last that is said.
    pub(crate) async fn say_at_last(&mut self, answer: &Result<Answer, Problem>) -> io::Result<()> {
        self.say(answer).await?;
        self.stream.shutdown().await
    }

    /// Says why the journal takes nothing, if it does not, when that has changed; and once more when nothing was said for a
    /// while, as a sign of life.
    pub(crate) async fn is_waited_for(&mut self, parked: Option<String>) -> io::Result<()> {
        if self.parked == parked && self.told.elapsed() < AGAIN {
            return Ok(());
        }
        let answer = match &parked {
            Some(reason) => Answer::Parked { parked: reason.clone() },
            None => Answer::GoesOn { goes_on: true },
        };
        self.parked = parked;
        self.say(&Ok(answer)).await
    }

    /// The same when it is not known how that is now.
    pub(crate) async fn is_waited_for_still(&mut self) -> io::Result<()> {
        self.is_waited_for(self.parked.clone()).await
    }

    /// An error when it has gone away. The kernel is asked, and not the runtime, which may not have heard of it yet.
    pub(crate) fn is_there(&self) -> io::Result<()> {
        // For want of a descriptor to ask with it is believed to wait.
        let Ok(descriptor) = self.stream.as_fd().try_clone_to_owned() else { return Ok(()) };
        let mut stream = net::UnixStream::from(descriptor);
        match stream.read(&mut [0; 64]) {
            Ok(0) => Err(io::ErrorKind::BrokenPipe.into()),
            Ok(_) => Ok(()), // all was said in the first line
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits until it has gone away, and says how. In a turn in which nothing happens nothing is written that would tell.
    pub(crate) async fn hung_up(&self) -> io::Error {
        loop {
            let read = match self.stream.readable().await {
                Ok(()) => self.stream.try_read(&mut [0; 64]),
                Err(error) => return error,
            };
            match read {
                Ok(0) => return io::ErrorKind::BrokenPipe.into(),
                Ok(_) => {} // all was said in the first line
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error,
            }
        }
    }
}

/// One that does not listen, a stopped one say, gives its place to others.
async fn write(stream: &mut (impl AsyncWrite + Unpin), line: &[u8], patience: Duration) -> io::Result<()> {
    timeout(patience, stream.write_all(line)).await.unwrap_or_else(|late| Err(late.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_does_not_listen_is_not_told_for_ever() {
        let (mut here, _there) = tokio::io::duplex(4);
        let written = write(&mut here, b"longer than that", Duration::from_millis(10)).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let (mut here, _there) = tokio::io::duplex(64);
        write(&mut here, b"shorter than that", PATIENCE).await.unwrap();
    }

    #[tokio::test]
    async fn it_is_known_at_once_that_whoever_asked_has_gone_away() {
        let (here, there) = UnixStream::pair().unwrap();
        let asker = Asker::new(here);
        asker.is_there().unwrap();
        drop(there);
        assert_eq!(asker.is_there().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
