//! The messages of a session actor.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use ergane_core::{
    CallId, Conversation, Decision, Digest, Durability, Epoch, History, Part, PendingApproval, Point, SendId,
    Seq, Settings, SettingsPatch, Text, TurnId,
};
use ergane_journal::{AppendError, JournalError, Position};
use ergane_loop::LoopReport;
use ergane_otp::IdleToken;
use ergane_tool::{Permission, ProcessRecord, Progress, ToolOutcome};
use ractor::RpcReplyPort;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::error::SessionError;
use crate::facts::encoded_len;
use crate::result::TurnResult;
use crate::status::Status;

/// A reply that may be an error.
pub type Reply<T> = RpcReplyPort<Result<T, SessionError>>;

/// What a send does when a turn is open or other sends wait.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
/// # let system = System::builder().provider("scripted", script).start().await?;
/// # let alice = system.session("alice").start().await?;
/// let turn = alice.send_message("What is the answer?").accepted().await?;
/// let second = alice.send_message("And the question?").when_busy(WhenBusy::Reject).await;
/// assert!(matches!(second, Err(SessionError::Busy { .. })));
/// # let _ = turn;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenBusy {
    /// It waits for its turn, behind at most 31 others; then [`SessionError::Busy`].
    #[default]
    Queue,
    /// It is refused with [`SessionError::Busy`].
    Reject,
    /// It is put into the open turn, as [`Session::steer`](crate::Session::steer) does, and its result is that turn's.
    /// With none open, or one that is ending, it waits for its own; and so it does when it has a
    /// [`meta`](crate::SendMessage::meta) that is not the open turn's, or [`settings`](crate::SendMessage::settings).
    Steer,
}

/// What became of a word that was put in.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
/// # let system = System::builder().provider("scripted", script).start().await?;
/// # let alice = system.session("alice").start().await?;
/// assert_eq!(alice.steer("Anybody there?").await?, Steered::TurnOver, "no turn is open");
/// alice.send_message("What is the answer?").accepted().await?;
/// assert_eq!(alice.steer("I mean: to everything.").await?, Steered::Entered);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steered {
    /// It is part of the open turn: the model sees it with its next request.
    Entered,
    /// No turn is open, or the one that is takes nothing in any more.
    TurnOver,
}

/// A send. The same id is the same send: sent again, it is answered from what is known of it.
#[derive(Debug, Clone)]
pub struct Send {
    /// The caller's key, or one made by the handle.
    pub id: SendId,
    /// What the user says.
    pub input: Vec<Part>,
    /// What goes to the tools of its turn.
    pub meta: Option<Arc<Value>>,
    /// What holds in its turn only.
    pub settings: Option<Arc<SettingsPatch>>,
    /// Whether the session keeps them, from when the send is a fact.
    pub keep: bool,
    /// What to do when the session is busy.
    pub when_busy: WhenBusy,
    /// What is to be known of it before it is taken, once somebody has measured it.
    measured: OnceLock<Measured>,
}

/// What serialising a send tells of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// How many bytes the input has as it stands in an event.
    pub(crate) bytes: usize,
    /// The fingerprint of the input.
    pub(crate) hash: Digest,
    /// How many bytes the `meta` has as it stands in an event.
    pub(crate) meta: usize,
    /// The same of the settings.
    pub(crate) settings: usize,
}

impl Send {
    /// A send.
    pub fn new(id: SendId, input: Vec<Part>, when_busy: WhenBusy) -> Self {
        Self { id, input, meta: None, settings: None, keep: false, when_busy, measured: OnceLock::new() }
    }

    /// Its sizes and its fingerprint. Taken once, which for a large send takes a while: by the handle, in its caller's
    /// time, and not by the session.
    pub(crate) fn measured(&self) -> Measured {
        *self.measured.get_or_init(|| {
            let encoded = self.encoded();
            let meta = self.meta.as_ref().map_or(0, encoded_len);
            let settings = self.settings.as_ref().map_or(0, encoded_len);
            Measured { bytes: encoded.len(), hash: Digest::of(&encoded), meta, settings }
        })
    }

    /// The input as it stands in an event: what its fingerprint and its size are taken of.
    fn encoded(&self) -> Vec<u8> {
        // Parts always serialise: no map with other keys than strings, no float that JSON lacks.
        serde_json::to_vec(&self.input).unwrap_or_default()
    }

    /// Whether every part of it is something that a user says: text or an image.
    pub(crate) fn is_speech(&self) -> bool {
        self.input.iter().all(|part| matches!(part, Part::Text { .. } | Part::Image { .. }))
    }

    /// Whether it says nothing but white space.
    pub(crate) fn is_blank(&self) -> bool {
        self.input.iter().all(|part| matches!(part, Part::Text { text } if text.trim().is_empty()))
    }
}

/// A decision about a call that waits.
#[derive(Debug, Clone)]
pub struct Decide {
    /// Which call.
    pub call: CallId,
    /// The position of the question that it answers; the only one there was when left out.
    pub question: Option<Seq>,
    /// The fingerprint of the arguments that were decided about, when the caller saw them.
    pub arguments: Option<Digest>,
    /// What was decided.
    pub decision: Decision,
    /// By whom.
    pub by: Text,
}

/// A message of a session actor. Those that a program sends have a reply port; use them with ractor's `call_t!`, or
/// better through the [`Session`](crate::Session) handle, which survives restarts.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// use ergane::ractor::call_t;
///
/// // Through the handle this is `alice.status().await?`, and survives her restart.
/// let actor = alice.actor_ref().expect("she runs");
/// let status = call_t!(actor, SessionMsg::Status, 1000)?;
/// assert_eq!(status.session.as_str(), "alice");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum SessionMsg {
    /// Begin the session with `initial` under `patch`, or, when it has begun, change what `patch` sets.
    Configure {
        /// The settings of a session that has not begun.
        initial: Arc<Settings>,
        /// What was set explicitly.
        patch: Box<SettingsPatch>,
        /// What the caller takes the session to keep; another one than it does is refused.
        durability: Durability,
        /// Answered when the settings are durable.
        reply: Reply<()>,
    },
    /// Run a turn and answer with its result.
    Send(Send, Reply<TurnResult>),
    /// Run a turn and answer with its id as soon as its start is durable.
    Accept(Send, Reply<TurnId>),
    /// Run a turn and answer as soon as it is durable that it will be run, whatever is before it.
    Take(Send, Reply<()>),
    /// Answer with the result of a turn, once it has ended.
    Await(TurnId, Reply<TurnResult>),
    /// Everything that was said and is durable.
    Messages(Reply<History>),
    /// The settings of the next turn.
    Settings(Reply<Arc<Settings>>),
    /// What it is doing.
    Status(RpcReplyPort<Status>),
    /// End the open turn, or another one; answered when that wish is durable. `false` when there was none to end.
    Interrupt {
        /// By whom.
        by: Text,
        /// Why.
        reason: Text,
        /// Which turn; the open one when left out. One that has ended was interrupted, or was not.
        turn: Option<TurnId>,
        /// The turn of which send, in the place of `turn`. One that waits ends as soon as it begins.
        send: Option<SendId>,
        /// The answer.
        reply: Reply<bool>,
    },
    /// Put something into the open turn; answered when that is durable.
    Steer {
        /// What the user says, under an id of its own.
        send: Send,
        /// Whether an answer under way is given up for it.
        cut: bool,
        /// The answer.
        reply: Reply<Steered>,
    },
    /// Give the present point a name; answered with its position when that is durable.
    Checkpoint {
        /// The name.
        label: Text,
        /// The answer.
        reply: Reply<Seq>,
    },
    /// Go on from an earlier point; answered with its position when that is durable.
    Rewind {
        /// Which wish this is: the same one, asked again, is carried out once.
        id: SendId,
        /// The point.
        to: Point,
        /// The answer.
        reply: Reply<Seq>,
    },
    /// The calls that wait for a decision.
    Approvals(Reply<Vec<PendingApproval>>),
    /// Decide about a call that waits; answered when that is durable.
    Approve(Decide, Reply<()>),
    /// Grant a tool, from now on; calls of it that wait for permission are allowed. Answered when that is durable.
    Grant {
        /// The tool's name.
        tool: Text,
        /// The answer.
        reply: Reply<()>,
    },
    /// End the open turn and every waiting send, then end. Answered before the end.
    Stop(Reply<()>),
    /// Send what happens to `sink` from now on.
    Subscribe {
        /// Where it goes; a full one loses deltas and is told how many.
        sink: mpsc::Sender<Item>,
        /// What is there now.
        reply: Reply<Attached>,
    },
    /// What the session's own parts tell it.
    #[doc(hidden)]
    Internal(Internal),
}

/// What a subscriber is attached to.
#[derive(Debug)]
pub struct Attached {
    pub(crate) snapshot: Snapshot,
    pub(crate) head: watch::Receiver<Seq>,
    /// How many deltas did not fit and were not told of yet.
    pub(crate) lost: Arc<AtomicU64>,
}

/// What a session is, at the moment of a subscription.
///
/// ```
/// # use ergane::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// # let alice = system.session("alice").start().await?;
/// alice.send_message("hello").await?;
/// let events = alice.subscribe(None).await?;
/// let snapshot = events.snapshot(); // what a screen shows before the first event
/// assert_eq!((snapshot.status.turns, snapshot.messages.len()), (1, 2));
/// assert!(snapshot.partial.is_empty(), "no answer is under way");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// What it is doing, and up to which position its facts are durable.
    pub status: Status,
    /// Everything that was said and is durable.
    pub messages: History,
    /// What was shown so far of an answer that is not complete.
    pub partial: Text,
}

/// What goes to a subscriber.
#[derive(Debug, Clone)]
pub enum Item {
    /// A durable fact.
    Fact(Arc<ergane_core::Envelope>),
    /// Something that is no fact, of this turn if one is open, and the position of the last fact before it.
    Live(Option<TurnId>, Live, Seq),
    /// So many deltas were lost because the subscriber was slow.
    Lagged(u64),
}

/// Something that happens and is no fact, mostly in a turn.
#[derive(Debug, Clone)]
pub enum Live {
    /// A piece of the answer.
    Content(Text),
    /// A piece of the model's reasoning.
    Thinking(Text),
    /// What a running tool tells, and how much of it was lost before.
    ToolProgress(CallId, Text, u32),
    /// A model call waits to be made.
    Waiting {
        /// Why.
        reason: Text,
    },
    /// A model call failed and is made again.
    Retrying {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Milliseconds until the next.
        delay_ms: u64,
        /// Why.
        reason: Text,
    },
    /// A provider failed for good, and the next one is asked.
    Fallback {
        /// Who failed.
        from: Text,
        /// Who is asked now.
        to: Text,
        /// Why.
        reason: Text,
    },
    /// The session waits for its store, for a process that was left behind, or for a call that does not end.
    Parked {
        /// Why.
        reason: Text,
    },
    /// What was shown of the answer is void.
    StreamReset,
}

/// What an interrupt waits for before the turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grace {
    /// The wish is to be a fact before tools are told.
    Asked,
    /// It has waited for long enough: a store that takes no facts does not hold it up any more.
    Overdue,
    /// Tools were told, and may still give what they have; then they are killed.
    Told,
}

/// What the session's own parts tell it.
#[derive(Debug)]
pub enum Internal {
    /// The log is loaded and folded.
    Loaded(Result<Box<(Conversation, Epoch)>, JournalError>),
    /// The store cannot be read now; the load goes on trying.
    LoadDelayed {
        /// Why.
        error: JournalError,
        /// How often that was so, in a row.
        failures: u32,
    },
    /// The log does not fold: it is damaged.
    Damaged(String),
    /// An append has its outcome; `None` when that cannot be learned.
    Appended(Option<Result<(), AppendError>>),
    /// The pause after a failed append is over.
    Resubmit,
    /// The store has made a snapshot up to there, or has not.
    Snapshot(Result<Seq, JournalError>),
    /// Where the log stands, asked after an append whose outcome is unknown.
    ReadBack(Result<Option<Position>, JournalError>),
    /// The loop reports.
    Loop(LoopReport),
    /// The loop whose first step was this one is gone before its last word.
    LoopDied(u64),
    /// The callback has said what it says of a call, or why it has not.
    Consulted(CallId, Result<Permission, &'static str>),
    /// A tool call has its outcome; `None` when its actor died first.
    ToolDone(CallId, Option<ToolOutcome>),
    /// Nothing works any more for a call that has ended.
    ToolOver(CallId),
    /// A call that has ended has had its time to be gone.
    ToolOverdue(CallId),
    /// A tool tells how far it is.
    ToolProgress(Progress),
    /// A tool has a process group; it waits until that is durable.
    ToolProcess(ProcessRecord),
    /// The process group that an earlier incarnation left to this call is gone.
    LeftBehindGone {
        /// The call.
        call: CallId,
        /// Whether it is; else it is tried again.
        gone: bool,
    },
    /// It is time to look again.
    Nudge,
    /// Nothing was asked for a time.
    Idle(IdleToken),
    /// The grace that running tools have after an interrupt is over.
    GraceOver(TurnId, Grace),
    /// The journal no longer counts this process as the session's owner.
    Released,
}
