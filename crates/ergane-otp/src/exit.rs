//! Why an actor ended: one enum, and the one place where it is written into and read from ractor's strings.
//!
//! ractor knows three ways out (a stop with an optional text, a kill, a failure with a boxed error) and tells a panic
//! and a returned error by the same event. Supervision needs more: whether it was a crash decides whether a transient
//! child comes back. So reasons are an enum here, and no other module looks at ractor's texts.

use ractor::{ActorCell, ActorProcessingErr, SupervisionEvent};

/// Why an actor ended.
///
/// It is an error type too: an actor that returns `Err(Box::new(reason))` from a handler ends with exactly that reason.
///
/// ```
/// use ergane_otp::ExitReason;
///
/// let stopped = ExitReason::Shutdown("the user left".to_owned());
/// assert_eq!(stopped.to_string(), "shutdown: the user left");
/// assert!(!stopped.is_crash() && ExitReason::Killed.is_crash());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExitReason {
    /// It finished by itself, without a reason.
    #[error("normal")]
    Normal,
    /// It was asked to stop. The text says by whom or why; it may be empty. Not a crash.
    #[error("shutdown{}", tail(.0))]
    Shutdown(String),
    /// It was killed: its handler was dropped at an await and `post_stop` did not run.
    #[error("killed")]
    Killed,
    /// A handler returned this error.
    #[error("error: {0}")]
    Error(String),
    /// A handler panicked.
    #[error("panic: {message}{}", .location.as_ref().map(|at| format!(" at {at}")).unwrap_or_default())]
    Panic {
        /// What the panic said.
        message: String,
        /// File, line and column; known only after [`record_panic_locations`] was called.
        location: Option<String>,
    },
    /// There was nobody to watch: it had ended before, or never was, or nobody recorded how it ended.
    #[error("noproc")]
    NoProc,
}

fn tail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

const SHUTDOWN: &str = "shutdown";
const SHUTDOWN_WITH: &str = "shutdown: ";
const KILLED: &str = "killed";
const ERROR_WITH: &str = "error: ";
const PANIC_WITH: &str = "panic: ";
const NOPROC: &str = "noproc";
/// What ractor says when the runtime dropped the actor's task.
const CANCELLED_BY_RUNTIME: &str = "actor_task_cancelled";
/// What ractor says after `drain()`.
const DRAINED: &str = "Drained";

impl ExitReason {
    /// A shutdown without further words.
    ///
    /// ```
    /// use ergane_otp::ExitReason;
    ///
    /// assert_eq!(ExitReason::shutdown(), ExitReason::Shutdown(String::new()));
    /// ```
    pub fn shutdown() -> Self {
        Self::Shutdown(String::new())
    }

    /// Whether a transient child is started again after it: true for all but `Normal` and `Shutdown`.
    ///
    /// ```
    /// use ergane_otp::ExitReason;
    ///
    /// assert!(ExitReason::Error("no connection".to_owned()).is_crash());
    /// assert!(!ExitReason::Normal.is_crash());
    /// ```
    pub fn is_crash(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown(_))
    }

    /// Reads who ended, and why, from a supervision event; `None` for the events that tell of no end.
    ///
    /// ```
    /// use ergane_otp::ExitReason;
    /// use ractor::SupervisionEvent;
    ///
    /// // In an actor's `handle_supervisor_evt`:
    /// fn note(event: &SupervisionEvent) {
    ///     if let Some((who, why)) = ExitReason::from_event(event) {
    ///         println!("{} ended: {why}", who.get_id());
    ///     }
    /// }
    /// ```
    pub fn from_event(event: &SupervisionEvent) -> Option<(ActorCell, ExitReason)> {
        match event {
            SupervisionEvent::ActorTerminated(cell, _, text) => {
                Some((cell.clone(), Self::from_stop_reason(text.as_deref())))
            }
            SupervisionEvent::ActorFailed(cell, error) => Some((cell.clone(), Self::from_failure(error))),
            _ => None,
        }
    }

    /// The text for [`ActorCell::stop`] which [`ExitReason::from_event`] reads back as this reason; `None` is `Normal`.
    /// (The location of a panic becomes part of its message.)
    ///
    /// ```
    /// use ergane_otp::ExitReason;
    ///
    /// assert_eq!(ExitReason::Killed.to_stop_reason().as_deref(), Some("killed"));
    /// assert_eq!(ExitReason::Normal.to_stop_reason(), None);
    /// ```
    pub fn to_stop_reason(&self) -> Option<String> {
        match self {
            Self::Normal => None,
            // Every other text is the display, so that logs of ractor itself read the same.
            other => Some(other.to_string()),
        }
    }

    pub(crate) fn from_stop_reason(text: Option<&str>) -> Self {
        match text {
            None | Some(DRAINED) => Self::Normal,
            Some(KILLED | CANCELLED_BY_RUNTIME) => Self::Killed,
            Some(SHUTDOWN) => Self::shutdown(),
            Some(NOPROC) => Self::NoProc,
            Some(text) => {
                if let Some(rest) = text.strip_prefix(SHUTDOWN_WITH) {
                    Self::Shutdown(rest.to_owned())
                } else if let Some(rest) = text.strip_prefix(ERROR_WITH) {
                    Self::Error(rest.to_owned())
                } else if let Some(rest) = text.strip_prefix(PANIC_WITH) {
                    Self::Panic { message: rest.to_owned(), location: None }
                } else {
                    // A plain `stop(Some("why"))` of somebody who does not know this crate: asked to stop, so no crash.
                    Self::Shutdown(text.to_owned())
                }
            }
        }
    }

    pub(crate) fn from_failure(error: &ActorProcessingErr) -> Self {
        match error.downcast_ref::<ExitReason>() {
            Some(reason) => reason.clone(),
            None => Self::Error(error.to_string()),
        }
    }

    pub(crate) fn from_panic(payload: Box<dyn std::any::Any + Send>) -> Self {
        let message = match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(payload) => match payload.downcast::<&'static str>() {
                Ok(text) => (*text).to_owned(),
                Err(_) => "a panic without a message".to_owned(),
            },
        };
        Self::Panic { message, location: location::take() }
    }
}

pub use location::record_panic_locations;

mod location {
    use std::cell::RefCell;
    use std::sync::Once;

    thread_local! {
        static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    /// Lets [`ExitReason::Panic`](super::ExitReason::Panic) say where the panic was.
    ///
    /// It puts a hook before the process's panic hook (which still runs), once, however often it is called. A library
    /// must not do that unasked, so without this call locations are `None`.
    pub fn record_panic_locations() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let previous = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                LAST.with(|last| {
                    if let Ok(mut last) = last.try_borrow_mut() {
                        *last = info.location().map(ToString::to_string);
                    }
                });
                previous(info);
            }));
        });
    }

    /// The unwinding thread is the one that catches, so its last location is that of the panic just caught.
    pub(super) fn take() -> Option<String> {
        LAST.with(|last| last.try_borrow_mut().ok().and_then(|mut last| last.take()))
    }
}

#[cfg(test)]
mod tests;
