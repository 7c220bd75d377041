//! Following a turn to its end, with one eye on the clock, one on Ctrl-C, and one on who is to be asked.

use std::time::Duration;

use ergane::OneShotStream;
use ergane::core::{CallId, Decision, TurnId};
use ergane::session::{Activity, Session, SessionError, SessionEvent, Subscription, TurnResult, TurnStream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::outcome::Failure;
use crate::screen::{Notes, Screen};
use crate::signals::{Signal, Signals, ended_by};
use crate::term::display::Question;
use crate::term::keys::Keys;

/// A pause before an interrupt that found no open turn is asked for again.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);
/// How often it is looked whether the journal can take what happens.
const LOOK: Duration = Duration::from_secs(1);
/// A session that is there answers at once.
const SOON: Duration = Duration::from_secs(1);
/// How often what moves is moved, and how often it is looked whether a turn waits for nothing but a decision.
const TICK: Duration = Duration::from_millis(100);

/// A turn whose events can be told and whose result will come.
#[derive(Debug)]
pub(crate) enum Following {
    /// Of a question of which nothing is kept.
    OneShot(OneShotStream),
    /// Of a send.
    Send(TurnStream),
    /// One that was open before.
    Open { session: Session, turn: TurnId, events: Subscription },
}

/// The turn that is to end: one's own, whoever else's is open.
#[derive(Debug)]
enum Whose {
    /// The only one that there is.
    Open,
    Turn(TurnId),
    /// The one of the send with that key, also while that waits.
    Send(String),
}

impl Following {
    /// The next event; `None` when no more come and the result tells. Dropping the future loses none.
    async fn next(&mut self) -> Option<SessionEvent> {
        match self {
            Self::OneShot(stream) => stream.next().await,
            Self::Send(stream) => stream.next().await,
            Self::Open { events, .. } => loop {
                match events.next().await? {
                    Ok(event) => return Some(event),
                    Err(error) => tracing::debug!(%error, "events could not be read; trying again"),
                }
            },
        }
    }

    /// Whose end Ctrl-C is.
    fn whose(&self) -> Whose {
        match self {
            Self::OneShot(_) => Whose::Open,
            Self::Send(stream) => Whose::Send(stream.key().to_owned()),
            Self::Open { turn, .. } => Whose::Turn(*turn),
        }
    }

    fn is_end(&self, event: &SessionEvent) -> bool {
        matches!((self, event), (Self::Open { turn, .. }, SessionEvent::Done { turn: ended, .. }) if turn == ended)
    }

    async fn result(self) -> Result<TurnResult, SessionError> {
        match self {
            Self::OneShot(stream) => stream.result().await,
            Self::Send(stream) => stream.result().await,
            Self::Open { session, turn, .. } => session.turn(turn).await,
        }
    }

    async fn run(mut self, screen: &mut Screen, session: &Session) -> Result<TurnResult, Failure> {
        let keys = if screen.can_ask() { Keys::listen() } else { None };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut undecided = Undecided::default();
        if !matches!(self, Self::OneShot(_)) {
            // What was asked before is not told again: the turn may have been open, or have one before it that is.
            for pending in session.approvals().await? {
                screen.pending(&pending);
                undecided.add(pending.call, keys.as_ref());
            }
        }
        screen.begin(session).await;
        loop {
            let key = async {
                match &keys {
                    Some(keys) if screen.question().is_some() => keys.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = self.next() => {
                    let Some(event) = event else { break };
                    match &event {
                        SessionEvent::ApprovalRequested { call, .. } => undecided.add(*call, keys.as_ref()),
                        SessionEvent::ApprovalDecided { call, .. } => undecided.remove(*call),
                        _ => {}
                    }
                    screen.event(&event);
                    if self.is_end(&event) {
                        break;
                    }
                }
                key = key => answer(key, screen, session).await?,
                _ = ticks.tick() => {
                    screen.tick();
                    if keys.is_none() && !undecided.is_empty() {
                        undecided.check(session).await?;
                    }
                }
            }
        }
        Ok(self.result().await?)
    }
}

/// The calls that somebody must decide about.
#[derive(Debug, Default)]
struct Undecided(Vec<CallId>);

impl Undecided {
    fn add(&mut self, call: CallId, keys: Option<&Keys>) {
        // What was typed before the question was seen is no answer to it.
        if let Some(keys) = keys.filter(|_| self.0.is_empty()) {
            keys.forget();
        }
        self.0.push(call);
    }

    fn remove(&mut self, call: CallId) {
        self.0.retain(|waiting| *waiting != call);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An error as soon as the turn waits for nothing but a decision, which nobody here can make.
    async fn check(&self, session: &Session) -> Result<(), Failure> {
        if !matches!(session.status().await?.activity, Activity::AwaitingApproval { .. }) {
            return Ok(());
        }
        let pending = session.approvals().await?;
        if pending.is_empty() { Ok(()) } else { Err(Failure::waiting(session.name(), &pending)) }
    }
}

/// Does what a key says about the question that is asked.
async fn answer(key: u8, screen: &mut Screen, session: &Session) -> Result<(), Failure> {
    let Some(question) = screen.question().cloned() else { return Ok(()) };
    let Question { call, seq, arguments, cut_off, .. } = question;
    let decision = match key {
        b'y' | b'Y' => Decision::Allow,
        b'n' | b'N' => Decision::deny(""),
        b'a' | b'A' if !cut_off => match screen.tool_of(call) {
            Some(tool) => {
                match session.grant(tool).await {
                    // It counts as soon as the journal can be written, which is said where the turn is followed.
                    Ok(()) | Err(SessionError::Parked { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                screen.decided(call);
                return Ok(());
            }
            None => Decision::Allow,
        },
        _ => return Ok(()),
    };
    match session.approve(call, decision).question(seq).arguments(arguments).await {
        Ok(()) | Err(SessionError::Parked { .. }) => {}
        // Somebody else was faster.
        Err(SessionError::AlreadyDecided { .. } | SessionError::NotPending { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    screen.decided(call);
    Ok(())
}

/// Shows the turn as it happens, until it ends, `until` comes, or somebody wants it to stop.
pub(crate) async fn follow(
    following: Following,
    session: &Session,
    screen: &mut Screen,
    signals: &mut Signals,
    until: Option<Instant>,
) -> Result<TurnResult, Failure> {
    let notes = screen.notes;
    let whose = following.whose();
    let guided = guide(following.run(screen, session), || interrupt(session, &whose), notes, signals, until);
    told_of_parking(session, notes, guided).await
}

/// Waits until a send is accepted, or its session has begun again, but not past `until`.
pub(crate) async fn accepted<T>(
    session: &Session,
    notes: Notes,
    until: Option<Instant>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    told_of_parking(session, notes, within(until, work)).await
}

/// Says while it waits why the journal cannot take what happens, if it cannot; then that is why a deadline passed, too.
async fn told_of_parking<T>(
    session: &Session,
    notes: Notes,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let tell = async {
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let reason = parked(session).await;
            if let Some(reason) = reason.as_ref().filter(|_| reason != told) {
                notes.say(&format!("waiting: {reason}"));
            }
            told = reason;
        }
    };
    let done = tokio::select! {
        biased;
        done = work => done,
        () = tell => return Err(too_late()), // it has no end
    };
    match done {
        // Who gave a deadline does not wait for a session that does not answer.
        Err(failure) if failure.is_timeout() => {
            Err(failure.or_parked(timeout(SOON, parked(session)).await.ok().flatten()))
        }
        done => done,
    }
}

/// Why the session's facts cannot be written now, if they cannot.
pub(crate) async fn parked(session: &Session) -> Option<String> {
    match session.status().await.ok()?.activity {
        Activity::Parked { reason } => Some(reason),
        _ => None,
    }
}

/// Runs `turn` to its end, which Ctrl-C asks for by `interrupt`, meanwhile; so does one that was pressed while an earlier owner was
/// asked. A further Ctrl-C does not wait for anything.
pub(crate) async fn guide<T, I: Future<Output = Result<(), Failure>>>(
    turn: impl Future<Output = Result<T, Failure>>,
    interrupt: impl Fn() -> I,
    notes: Notes,
    signals: &mut Signals,
    until: Option<Instant>,
) -> Result<T, Failure> {
    let mut turn = std::pin::pin!(turn);
    let mut interrupting = signals.interrupted().then(|| Box::pin(interrupt()));
    loop {
        let interrupted = async {
            match interrupting.as_mut() {
                Some(asking) => std::pin::Pin::as_mut(asking).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            signal = signals.next() => match signal {
                Signal::Interrupt => {
                    notes.say("interrupting; Ctrl-C again quits at once");
                    interrupting = Some(Box::pin(interrupt()));
                }
                Signal::Quit | Signal::Terminate => return Err(ended_by(signal)),
            },
            ended = &mut turn => return ended,
            asked = interrupted => {
                interrupting = None;
                asked?;
                notes.say("it is to end, and waits for what is still at work or for the turn before it");
            }
            () = passed(until) => return Err(too_late()),
        }
    }
}

/// Ends the turn, once there is one to end: at once, or when the disk can take it.
async fn interrupt(session: &Session, whose: &Whose) -> Result<(), Failure> {
    loop {
        let asked = match whose {
            Whose::Open => session.interrupt("Ctrl-C").await,
            Whose::Turn(turn) => session.interrupt_turn(*turn, "Ctrl-C").await,
            Whose::Send(key) => session.interrupt_send(key, "Ctrl-C").await,
        };
        match asked {
            Ok(true) | Err(SessionError::Parked { .. }) => return told().await,
            Ok(false) => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// It is known that a turn is to end, which most do at once.
pub(crate) async fn told() -> Result<(), Failure> {
    tokio::time::sleep(LOOK).await;
    Ok(())
}

pub(crate) async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn too_late() -> Failure {
    Failure::timeout("the turn did not end within --timeout")
}

/// Waits for `work`, but not past `until`.
pub(crate) async fn within<T>(
    until: Option<Instant>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        done = work => done,
        () = passed(until) => Err(too_late()),
    }
}
