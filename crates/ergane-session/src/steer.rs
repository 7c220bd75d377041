//! A word put into the open turn, to be awaited.

use std::future::{Future, IntoFuture};
use std::pin::Pin;

use ergane_core::{Part, SendId};

use crate::error::SessionError;
use crate::handle::{QUICK, Session};
use crate::message::{Send as Sent, SessionMsg, Steered, WhenBusy};

/// A word put into the open turn. See [`Session::steer`].
#[derive(Debug)]
#[must_use = "nothing is put in until it is awaited"]
pub struct Steer {
    session: Session,
    send: Sent,
    cut: bool,
}

impl Steer {
    pub(crate) fn new(session: Session, id: SendId, input: Vec<Part>) -> Self {
        Self { session, send: Sent::new(id, input, WhenBusy::Steer), cut: false }
    }

    /// Gives up an answer that is under way, and asks the model again at once, with this. What was shown of the answer
    /// is void; running tools go on. Default: the answer comes to its end first.
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// The key of this word: with the same key and input it is put in once. Default: a new one.
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.send.id = SendId::from(key.as_ref());
        self
    }
}

impl IntoFuture for Steer {
    type Output = Result<Steered, SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { session, send, cut } = self;
            send.measured();
            let steer = |reply| SessionMsg::Steer { send: send.clone(), cut, reply };
            session.request(QUICK, steer).await
        })
    }
}
