//! The keyboard while a turn runs: keys come one by one and unechoed, so that what is typed ahead does not lie across the
//! answer. Ctrl-C stays the signal that it is. What is typed and asked for by nobody waits for the next prompt.

#[cfg(unix)]
pub(crate) use self::unix::Keys;

/// Elsewhere nobody is listened to, so nobody is asked.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Keys(std::convert::Infallible);

#[cfg(not(unix))]
impl Keys {
    pub(crate) fn listen() -> Option<Self> {
        None
    }

    pub(crate) fn forget(&self) {}

    pub(crate) async fn next(&self) -> u8 {
        match self.0 {}
    }
}

#[cfg(unix)]
mod unix;
