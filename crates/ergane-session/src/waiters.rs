//! Who waits for which turn.

use std::collections::HashMap;

use ergane_core::{SendId, TurnId};
use ractor::RpcReplyPort;

use crate::error::SessionError;
use crate::message::Reply;
use crate::result::TurnResult;

/// Who waits for which turn: by the send it answers, or by its id.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    accepted: HashMap<SendId, Vec<Reply<TurnId>>>,
    results: HashMap<SendId, Vec<Reply<TurnResult>>>,
    by_turn: HashMap<TurnId, Vec<Reply<TurnResult>>>,
}

impl Waiters {
    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        fn gone<K, T>(ports: &HashMap<K, Vec<RpcReplyPort<T>>>) -> bool {
            ports.values().flatten().all(RpcReplyPort::is_closed)
        }
        gone(&self.accepted) && gone(&self.results) && gone(&self.by_turn)
    }

    pub(crate) fn for_start(&mut self, send: SendId, reply: Reply<TurnId>) {
        add(self.accepted.entry(send).or_default(), reply);
    }

    pub(crate) fn for_result(&mut self, send: SendId, reply: Reply<TurnResult>) {
        add(self.results.entry(send).or_default(), reply);
    }

    pub(crate) fn for_turn(&mut self, turn: TurnId, reply: Reply<TurnResult>) {
        add(self.by_turn.entry(turn).or_default(), reply);
    }

    /// The turn of this send has durably started.
    pub(crate) fn started(&mut self, send: &SendId, turn: TurnId) {
        for reply in self.accepted.remove(send).into_iter().flatten() {
            answer(reply, Ok(turn));
        }
    }

    /// A turn has durably ended. `result` is only made when somebody waits.
    pub(crate) fn ended(&mut self, send: &SendId, turn: TurnId, result: impl Fn() -> TurnResult) {
        let by_send = self.results.remove(send).into_iter().flatten();
        let by_turn = self.by_turn.remove(&turn).into_iter().flatten();
        for reply in by_send.chain(by_turn) {
            answer(reply, Ok(result()));
        }
    }

    /// This send, or this turn, will have no result here.
    pub(crate) fn refuse(&mut self, send: &SendId, turn: Option<TurnId>, error: &SessionError) {
        for reply in self.accepted.remove(send).into_iter().flatten() {
            answer(reply, Err(error.clone()));
        }
        let by_send = self.results.remove(send).into_iter().flatten();
        let by_turn = turn.and_then(|turn| self.by_turn.remove(&turn)).into_iter().flatten();
        for reply in by_send.chain(by_turn) {
            answer(reply, Err(error.clone()));
        }
    }

    /// Nobody who waits will get a result here.
    pub(crate) fn refuse_all(&mut self, error: &SessionError) {
        for reply in self.accepted.drain().flat_map(|(_, replies)| replies) {
            answer(reply, Err(error.clone()));
        }
        let by_send = self.results.drain().flat_map(|(_, replies)| replies);
        let by_turn = self.by_turn.drain().flat_map(|(_, replies)| replies);
        for reply in by_send.chain(by_turn) {
            answer(reply, Err(error.clone()));
        }
    }
}

/// Adds a port, and forgets those whose callers have left: somebody may ask again and again.
fn add<T>(ports: &mut Vec<RpcReplyPort<T>>, port: RpcReplyPort<T>) {
    ports.retain(|port| !port.is_closed());
    ports.push(port);
}

/// Replies. A caller that has gone away (its deadline passed, its future was dropped) is no failure of the session.
pub(crate) fn answer<T: Send>(reply: RpcReplyPort<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("a caller left before its reply");
    }
}
