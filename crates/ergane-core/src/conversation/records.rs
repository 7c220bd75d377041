//! What is kept of turns that ended and of sends: plain data.

use std::sync::Arc;

use serde_json::Value;

use crate::digest::Digest;
use crate::error::TurnError;
use crate::event::TurnTotals;
use crate::ids::{SendId, Seq, TurnId};
use crate::message::{Message, Part, Text};
use crate::reason::FinishReason;
use crate::settings::SettingsPatch;

/// A turn that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnRecord {
    /// Its id.
    pub id: TurnId,
    /// The position of its `TurnEnded`.
    pub end: Seq,
    /// Its number in the session, from 1.
    pub ordinal: u32,
    /// The send it answered.
    pub send: SendId,
    /// Why it ended.
    pub finish: FinishReason,
    /// What went wrong, when something did.
    pub error: Option<TurnError>,
    /// Of an interrupted answer, what had been shown.
    pub partial: Option<Text>,
    /// The totals.
    pub totals: TurnTotals,
    /// The provider that answered last, else the one asked.
    pub provider: Text,
    /// The model that answered last, else the one asked.
    pub model: Text,
    /// Whether a part of it ran in an earlier incarnation.
    pub recovered: bool,
    /// The range of its messages in [`Conversation::messages`](super::Conversation::messages), its end excluded.
    pub messages: (usize, usize),
    /// Its messages, when it was rewound: they are no part of the conversation any more.
    pub rewound: Option<Arc<[Arc<Message>]>>,
}

/// A point of a history.
///
/// ```
/// use ergane_core::{Point, Seq};
///
/// assert_eq!(Point::from(Seq(12)), Point::At(Seq(12)));
/// assert_eq!(Point::from("greeted"), Point::Label("greeted".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// The present.
    Now,
    /// After the fact at that position.
    At(Seq),
    /// The checkpoint of that name; of several, the last.
    Label(Text),
}

impl Point {
    /// What somebody has typed: a position, or the name of a checkpoint, which is never only digits.
    ///
    /// ```
    /// use ergane_core::{Point, Seq};
    ///
    /// assert_eq!(Point::typed("12"), Point::At(Seq(12)));
    /// assert_eq!(Point::typed("greeted"), Point::Label("greeted".into()));
    /// ```
    pub fn typed(text: &str) -> Self {
        match text.parse() {
            Ok(seq) => Self::At(Seq(seq)),
            Err(_) => Self::Label(text.into()),
        }
    }
}

impl From<Seq> for Point {
    fn from(seq: Seq) -> Self {
        Self::At(seq)
    }
}

impl From<&str> for Point {
    fn from(label: &str) -> Self {
        Self::Label(label.into())
    }
}

impl From<String> for Point {
    fn from(label: String) -> Self {
        Self::Label(label.into())
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now => f.write_str("now"),
            Self::At(seq) => write!(f, "position {seq}"),
            Self::Label(label) => write!(f, "checkpoint {label:?}"),
        }
    }
}

/// What is known of a send by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendRecord {
    /// The position of the fact by which it was accepted: its `Queued`, or its `Steered`.
    pub seq: Seq,
    /// The fingerprint of its input.
    pub hash: Digest,
    /// Its turn, once it has one.
    pub turn: Option<TurnId>,
}

/// A send that waits for its turn.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedSend {
    /// The position of its `Queued`.
    pub seq: Seq,
    /// Its id.
    pub send: SendId,
    /// What the user says.
    pub input: Vec<Part>,
    /// What the program gave with it for its tools.
    pub meta: Option<Arc<Value>>,
    /// What holds in its turn only, over the session's settings.
    pub settings: Option<Arc<SettingsPatch>>,
}
