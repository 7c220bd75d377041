//! What is printed. A reader that has read enough, such as `head`, is no error: the program ends.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, Write};

use crate::Outcome;

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads what is printed")
    }
}

impl Error for Closed {}

/// Prints a line, or several.
///
/// # Errors
/// [`Closed`], and what else may be wrong with the standard output.
pub(crate) fn line(text: impl Display) -> Outcome<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => Ok(written?),
    }
}
