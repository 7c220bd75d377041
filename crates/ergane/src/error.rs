//! Why a system could not be started, stopped or asked.

use ergane_core::ProviderError;
use ergane_journal::JournalError;
use ergane_otp::{CallError, StartError};
use ergane_tool::RegistryError;

/// Why a system could not be started, stopped or asked.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broken = System::builder().tools(Tools::all()).tools(Tools::all()).start().await;
/// match broken {
///     Err(SystemError::Tools(error)) => println!("{error}"), // two tools are named "read"; give one of them …
///     Err(error) => println!("{error}"),
///     Ok(_) => unreachable!("every tool is there twice"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemError {
    /// A tool has a name that is not allowed, or two have the same.
    #[error(transparent)]
    Tools(#[from] RegistryError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A provider could not be asked, or its answer was an error.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The supervision tree did not start.
    #[error("the system did not start: {0}")]
    Start(#[from] StartError),
    /// The supervision tree did not answer.
    #[error("the system did not answer: {0}")]
    Call(#[from] CallError),
}
