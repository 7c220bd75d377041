//! A send, as it happens: the events of its turn, and then its result.
//!
//! What is sent is on its way before anybody reads, and nobody needs to. Which turn is ours is not known at once, so what happens
//! meanwhile is kept back; and where there is nothing to subscribe to yet, because the journal is away, that is told.

use std::collections::VecDeque;
use std::fmt;
use std::future::IntoFuture;

use ergane_core::{SendId, Text, TurnId};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::SessionError;
use crate::event::SessionEvent;
use crate::handle::Session;
use crate::message::{Send, SessionMsg};
use crate::reach::left;
use crate::result::TurnResult;
use crate::send::Boxed;
use crate::subscription::Subscription;

/// So many events of an earlier turn are kept back while it is not known which turn is ours.
const HELD_BACK: usize = 10_000;

/// What happens in one turn, and then its result. Dropping it cancels nothing.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let mut turn = alice.send_message("hello").stream().await?;
/// let mut shown = String::new();
/// while let Some(event) = turn.next().await {
///     if let SessionEvent::Content { text } = event {
///         shown.push_str(&text);
///     }
/// }
/// assert_eq!(shown, *turn.result().await?.text);
/// # Ok(())
/// # }
/// ```
pub struct TurnStream {
    events: Events,
    id: SendId,
    /// When waiting is given up: one clock for the start and the end.
    until: Instant,
    stage: Stage,
    held: VecDeque<(Option<TurnId>, SessionEvent)>,
    /// Said outside of our turn, and nothing after it yet.
    parked: Option<SessionEvent>,
    /// Why no events could be read since the last that was.
    unread: Option<Text>,
    turn: Option<TurnId>,
    over: bool,
    sending: AbortHandle,
}

/// Where the events come from.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it in each stream, and soon it is the large one"
)]
enum Events {
    /// The session's journal is away: why, and what is subscribed to when it is back.
    Opening {
        opened: oneshot::Receiver<Subscription>,
        why: watch::Receiver<Option<Text>>,
    },
    Open(Subscription),
    /// It never came to that, which the send tells.
    Lost,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is one of it in each stream, and its end is what it is for"
)]
enum Stage {
    Accepting(Boxed<(Session, TurnId)>),
    Running(TurnId, Boxed<TurnResult>),
    Ended(Result<TurnResult, SessionError>),
}

impl TurnStream {
    /// `taken` is told when it is durable that the turn will be run.
    pub(crate) async fn begin(
        session: Session,
        send: Send,
        until: Instant,
        taken: Option<oneshot::Sender<()>>,
    ) -> Result<Self, SessionError> {
        let (mut opening, mut why) = open(&session, until);
        // Who would wait for a journal that is away has a stream that says so.
        let opened = tokio::select! {
            biased;
            opened = &mut opening => Some(opened?),
            Ok(()) = why.changed() => None,
        };
        let (events, opening) = match opened {
            Some(subscription) => (Events::Open(subscription), None),
            None => {
                why.mark_changed();
                let (open, opened) = oneshot::channel();
                (Events::Opening { opened, why }, Some((opening, open)))
            }
        };
        let id = send.id.clone();
        send.measured();
        // On its way before anybody reads: dropping the stream cancels nothing.
        let sent = tokio::spawn(async move {
            if let Some((opening, open)) = opening {
                drop(open.send(opening.await?)); // nobody needs to read
            }
            if let Some(taken) = taken {
                let take = |reply| SessionMsg::Take(send.clone(), reply);
                session.request_patiently(until, |_| {}, take).await?;
                taken.send(()).ok(); // nobody needs to wait for it
            }
            let accept = |reply| SessionMsg::Accept(send.clone(), reply);
            let turn = session.request_patiently(until, |_| {}, accept).await?;
            Ok((session, turn))
        });
        let sending = sent.abort_handle();
        let accepted = async move {
            sent.await
                .unwrap_or_else(|error| Err(SessionError::System(format!("the send was lost: {error}"))))
        };
        let stage = Stage::Accepting(Box::pin(accepted));
        Ok(Self {
            events,
            id,
            until,
            stage,
            held: VecDeque::new(),
            parked: None,
            unread: None,
            turn: None,
            over: false,
            sending,
        })
    }

    /// The stream of a send that is durably taken.
    pub(crate) async fn taken(session: Session, send: Send, until: Instant) -> Result<Self, SessionError> {
        let (taken, is_taken) = oneshot::channel();
        let stream = Self::begin(session, send, until, Some(taken)).await?;
        let mut unsent = Unsent(Some(stream.sending()));
        if is_taken.await.is_ok() {
            unsent.0 = None;
            return Ok(stream);
        }
        match stream.result().await {
            Err(refused) => Err(refused),
            Ok(_) => Err(SessionError::System("the send was lost".to_owned())),
        }
    }

    /// Ends the send if it is not accepted yet: for a session that is to be forgotten with its question.
    #[doc(hidden)]
    pub fn sending(&self) -> AbortHandle {
        self.sending.clone()
    }

    /// The key of the send: sent again with it, it is the same turn.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("hello").stream().await?;
    /// let key = turn.key().to_owned(); // to be kept, for whoever asks later
    /// let first = turn.result().await?;
    /// assert_eq!(alice.send_message("hello").key(key).await?, first);
    /// # Ok(())
    /// # }
    /// ```
    pub fn key(&self) -> &str {
        &self.id.0
    }

    /// The next event of this turn; `None` after its `Done`, or when there is none to come: the
    /// [`result`](Self::result) tells. [`SessionEvent::Parked`] is told also before this turn begins, while it holds.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let mut turn = alice.send_message("hello").stream().await?;
    /// let mut last = None;
    /// while let Some(event) = turn.next().await {
    ///     last = Some(event);
    /// }
    /// assert!(matches!(last, Some(SessionEvent::Done { finish_reason: FinishReason::Stop, .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<SessionEvent> {
        loop {
            if let Some(event) = self.take_held() {
                self.over |= matches!(event, SessionEvent::Done { .. });
                return Some(event);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                biased;
                event = self.events.next() => match event {
                    // It concerns the session, and matters now: no turn may begin before there is room.
                    Some(Ok((turn, parked @ SessionEvent::Parked { .. })))
                        if turn.is_none() || turn != self.turn => self.parked = Some(parked),
                    Some(Ok(event)) => {
                        (self.parked, self.unread) = (None, None);
                        self.hold(event);
                    }
                    // The result is known, and what cannot be read now will hardly be read soon.
                    Some(Err(_)) if matches!(self.stage, Stage::Ended(_)) => self.over = true,
                    // What happens in the turn is known to nobody here as long as that lasts.
                    Some(Err(error)) if error.may_pass() => {
                        let reason: Text = error.to_string().into();
                        if self.unread.as_ref() != Some(&reason) {
                            self.parked = Some(SessionEvent::Parked { reason: reason.clone() });
                            self.unread = Some(reason);
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "events of a turn could not be read; trying again if there is use in it");
                    }
                    None => self.over = true,
                },
                // Nothing has happened since, so it holds still.
                () = std::future::ready(()), if self.parked.is_some() => return self.parked.take(),
                () = self.stage.step(self.until) => self.after_step(),
            }
        }
    }

    /// The next event of this turn among those held back, once it is known which turn is ours.
    fn take_held(&mut self) -> Option<SessionEvent> {
        let ours = self.turn?;
        while let Some((turn, event)) = self.held.pop_front() {
            if turn == Some(ours) {
                return Some(event);
            }
        }
        None
    }

    fn hold(&mut self, event: (Option<TurnId>, SessionEvent)) {
        if let SessionEvent::TurnStarted { seq, send } = &event.1
            && **send == *self.id.0
        {
            self.turn = Some(TurnId(seq.0));
        }
        if self.held.len() >= HELD_BACK {
            self.held.pop_front();
        }
        self.held.push_back(event);
    }

    fn after_step(&mut self) {
        match &self.stage {
            Stage::Accepting(_) => {}
            Stage::Running(turn, _) => self.turn = Some(*turn),
            Stage::Ended(Err(_)) => self.over = true,
            Stage::Ended(Ok(result)) => {
                self.turn = Some(result.turn);
                // It had ended before this subscription began: its events are not told again.
                if let Events::Open(subscription) = &self.events {
                    let before = &subscription.snapshot().status;
                    self.over = result.turn.0 <= before.durable.0 && before.turn != Some(result.turn);
                }
            }
        }
    }

    /// The turn's result; events not taken yet are skipped.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let turn = alice.send_message("hello").stream().await?; // nobody needs to read
    /// assert_eq!(turn.result().await?.ordinal, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As awaiting the send.
    pub async fn result(mut self) -> Result<TurnResult, SessionError> {
        loop {
            if let Stage::Ended(result) = self.stage {
                return result;
            }
            self.stage.step(self.until).await;
        }
    }
}

/// Who gives up before the send was taken does not send it.
struct Unsent(Option<AbortHandle>);

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(sending) = self.0.take() {
            sending.abort();
        }
    }
}

impl Events {
    async fn next(&mut self) -> Option<Result<(Option<TurnId>, SessionEvent), SessionError>> {
        loop {
            let (opened, why) = match self {
                Self::Open(subscription) => return subscription.next_of_turn().await,
                Self::Opening { opened, why } => (opened, why),
                Self::Lost => return std::future::pending().await,
            };
            tokio::select! {
                biased;
                subscription = opened => *self = subscription.map_or(Self::Lost, Self::Open),
                Ok(()) = why.changed() => {
                    if let Some(reason) = why.borrow_and_update().clone() {
                        return Some(Ok((None, SessionEvent::Parked { reason })));
                    }
                }
            }
        }
    }
}

/// A subscription on its way, and why it is not there, if its journal is away.
fn open(session: &Session, until: Instant) -> (Boxed<Subscription>, watch::Receiver<Option<Text>>) {
    let (say, why) = watch::channel(None);
    let held_up = move |error: &SessionError| {
        let reason: Text = error.to_string().into();
        say.send_if_modified(|told: &mut Option<Text>| told.replace(reason.clone()) != Some(reason));
    };
    (Box::pin(Subscription::open_patiently(session.clone(), until, held_up)), why)
}

impl Stage {
    /// Waits for the next stage. The last one has none.
    async fn step(&mut self, until: Instant) {
        let next = match self {
            Self::Ended(_) => return std::future::pending().await,
            Self::Accepting(accepting) => match accepting.await {
                Ok((session, turn)) => {
                    Self::Running(turn, session.turn(turn).deadline(left(until)).into_future())
                }
                Err(error) => Self::Ended(Err(error)),
            },
            Self::Running(_, running) => Self::Ended(running.await),
        };
        *self = next;
    }
}

impl fmt::Debug for TurnStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnStream").field("send", &self.id).field("turn", &self.turn).finish_non_exhaustive()
    }
}
