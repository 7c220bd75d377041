//! By termios.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;

/// The keyboard. Dropping it puts the terminal back as it was.
#[derive(Debug)]
pub(crate) struct Keys {
    before: Termios,
    ready: AsyncFd<OwnedFd>,
}

impl Keys {
    /// `None` when nobody types: stdin is no terminal, or one that cannot be waited for.
    pub(crate) fn listen() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        // The descriptor is ours and is closed with it, after which nothing watches it any more.
        #[expect(
            deprecated,
            reason = "the safe way to say so is not there yet, and unsafe code is forbidden here"
        )]
        let ready = AsyncFd::new(stdin.as_fd().try_clone_to_owned().ok()?).ok()?;
        let before = tcgetattr(&stdin).ok()?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &now).ok()?;
        Some(Self { before, ready })
    }

    /// Forgets what was typed before a question was seen: it was no answer to that.
    pub(crate) fn forget(&self) {
        if let Err(error) = tcflush(io::stdin(), QueueSelector::IFlush) {
            tracing::debug!(%error, "what was typed ahead is still there");
        }
    }

    /// The next key, once it is pressed; pends for ever when the terminal is gone. Dropping the future loses none.
    pub(crate) async fn next(&self) -> u8 {
        loop {
            let Ok(mut ready) = self.ready.readable().await else { return std::future::pending().await };
            match ready.try_io(|fd| read(fd.get_ref())) {
                Ok(Ok(Some(key))) => return key,
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) => return std::future::pending().await,
                Err(_) => {} // there was no further key
            }
        }
    }
}

/// A key that is there; `None` at the terminal's end. The terminal is other programs' too, so it is not made
/// non-blocking; it is asked first.
fn read(terminal: &OwnedFd) -> io::Result<Option<u8>> {
    let mut ready = [PollFd::new(terminal, PollFlags::IN)];
    if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let mut key = [0];
    Ok((rustix::io::read(terminal, &mut key)? == 1).then_some(key[0]))
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.before) {
            tracing::debug!(%error, "the terminal could not be put back as it was");
        }
    }
}
