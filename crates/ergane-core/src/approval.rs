//! What somebody is asked about a call, and what they say.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::event::Timestamp;
use crate::ids::{CallId, Seq};
use crate::message::Text;

/// What is to be decided about a call.
///
/// ```
/// use ergane_core::ApprovalCause;
///
/// let question = |cause| match cause {
///     ApprovalCause::CutOff => "It may have been done already. Run it once more?",
///     _ => "May it run?",
/// };
/// assert_eq!(question(ApprovalCause::default()), "May it run?");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalCause {
    /// Whether it may run.
    #[default]
    Permission,
    /// It may have changed the world and a crash cut it off: whether it is run once more, was done, or is given up.
    CutOff,
}

impl ApprovalCause {
    /// Whether it is a matter of permission.
    pub(crate) fn is_permission(&self) -> bool {
        *self == Self::Permission
    }
}

/// What somebody decided about a call that waited for it.
///
/// ```
/// use ergane_core::Decision;
///
/// let decide = |answer: &str| match answer {
///     "y" => Decision::Allow,
///     "done" => Decision::Done { result: "the release is out".into() },
///     reason => Decision::deny(reason),
/// };
/// assert_eq!(decide("y"), Decision::Allow);
/// assert_eq!(decide("not on a Friday"), Decision::Deny { reason: "not on a Friday".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// It runs; one that was cut off runs once more.
    Allow,
    /// It does not run: the model is told so, with the reason. One that was cut off is given up.
    Deny {
        /// Why, for the model; may be empty.
        reason: Text,
    },
    /// It does not run, because it was done otherwise: this is its result.
    Done {
        /// The result, for the model.
        result: Text,
    },
}

impl Decision {
    /// A denial.
    ///
    /// ```
    /// use ergane_core::Decision;
    ///
    /// assert_eq!(Decision::deny("too dear"), Decision::Deny { reason: "too dear".into() });
    /// ```
    pub fn deny(reason: impl Into<Text>) -> Self {
        Self::Deny { reason: reason.into() }
    }

    /// The decision in a word: `allow`, `deny` or `done`.
    ///
    /// ```
    /// use ergane_core::Decision;
    ///
    /// assert_eq!((Decision::Allow.as_str(), Decision::deny("no").as_str()), ("allow", "deny"));
    /// ```
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny { .. } => "deny",
            Self::Done { .. } => "done",
        }
    }

    /// Whether deciding `other` after this changes nothing. Two denials are the same whatever their reasons.
    ///
    /// ```
    /// use ergane_core::Decision;
    ///
    /// assert!(Decision::deny("no").is_same(&Decision::deny("never")));
    /// assert!(!Decision::Allow.is_same(&Decision::deny("no")));
    /// ```
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Deny { .. }, Self::Deny { .. }) => true,
            (one, other) => one == other,
        }
    }
}

/// A call that waits for somebody's decision.
///
/// ```
/// use ergane_core::PendingApproval;
///
/// # let pending: PendingApproval = serde_json::from_value(serde_json::json!({
/// #     "call": "812.1", "tool": "bash", "arguments": "{\"command\":\"make\"}",
/// #     "digest": ergane_core::Digest::of(b"{}"), "cause": "permission", "why": "`bash` changes things", "since": 0,
/// # }))?;
/// // What a program shows to who decides:
/// let question = format!("{} {}: {} ({})", pending.tool, pending.call, pending.arguments, pending.why);
/// assert_eq!(question, r#"bash 812.1: {"command":"make"} (`bash` changes things)"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingApproval {
    /// The call.
    pub call: CallId,
    /// The position of the question, which a decision may name: the same call may be asked about again.
    #[serde(default)]
    pub question: Seq,
    /// The tool.
    pub tool: Text,
    /// Its arguments, as the model wrote them.
    pub arguments: Text,
    /// The fingerprint of those arguments, which a decision may name.
    pub digest: Digest,
    /// What is to be decided.
    pub cause: ApprovalCause,
    /// Why somebody must decide.
    pub why: Text,
    /// Since when it waits.
    pub since: Timestamp,
}

/// What became of a call that waited for a decision.
///
/// ```
/// use ergane_core::{Decided, Decision};
///
/// let first = Decided { decision: Decision::deny("not on a Friday"), by: "ann".into() };
/// assert_eq!(format!("{} by {}", first.decision.as_str(), first.by), "deny by ann");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What was decided.
    pub decision: Decision,
    /// By whom.
    pub by: Text,
}

/// What comes of a decision: see [`Conversation::verdict`](crate::Conversation::verdict).
///
/// ```
/// use ergane_core::{Conversation, Decision, Verdict};
///
/// let nothing_was_asked = Conversation::default();
/// assert_eq!(nothing_was_asked.verdict("812.1".parse()?, None, &Decision::Allow), Verdict::NotAsked);
/// # Ok::<(), ergane_core::CoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The question waits for it.
    Waits {
        /// The position of the question.
        question: Seq,
        /// The fingerprint of the arguments that are to be looked at.
        arguments: Digest,
    },
    /// That question was decided about, and the same was said.
    Same,
    /// That question was decided about, and something else was said.
    Other(Decided),
    /// The call was decided about and is asked about again, and the decision does not say which question it answers.
    AskedAgain(Seq),
    /// There is no such question, or none that can be answered any more.
    NotAsked,
}
