//! Why a reply stopped (the model's word) and why a turn ended (ours).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::message::Text;

/// Why the model stopped one reply, in the canonical words of all providers.
///
/// ```
/// use ergane_core::StopReason;
///
/// let was_cut = |stop: &StopReason| matches!(stop, StopReason::Length | StopReason::ContextWindow);
/// assert!(was_cut(&StopReason::Length) && !was_cut(&StopReason::Unknown("new_word".into())));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It said what it wanted to say.
    Stop,
    /// It met a stop sequence.
    StopSequence,
    /// It asked for tools.
    ToolCalls,
    /// It met its limit of output tokens.
    Length,
    /// The context window was full.
    ContextWindow,
    /// The provider's filter cut it off.
    ContentFilter,
    /// It refused.
    Refusal,
    /// The provider paused it, to go on when it is sent back: tools that run at the provider do so.
    PauseTurn,
    /// It wrote a tool call that nobody can read.
    MalformedToolCall,
    /// A word this version does not know, kept as it came.
    Unknown(Text),
}

/// Why a turn ended. In JSON and on the command line in snake_case.
///
/// ```
/// use ergane_core::{FinishCategory, FinishReason};
///
/// let finish = FinishReason::MaxTurns;
/// assert_eq!(finish.to_string(), "max_turns");
/// assert_eq!(finish.category(), FinishCategory::Capacity, "more rounds would have helped");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The model answered.
    Stop,
    /// A tool ended the turn with its deliverable. Reserved: no turn ends so yet.
    Submitted,
    /// The answer was cut at the model's token limit.
    Length,
    /// The model or the provider's filter refused.
    Refused,
    /// `max_iterations` rounds of tools were done.
    MaxTurns,
    /// The budget of the turn or of the session is spent.
    MaxBudgetUsd,
    /// Too many iterations in a row in which every call failed.
    ConsecutiveMistakes,
    /// The same calls with the same results and no new text, as often as `max_stalled` says (3 by default).
    NoProgress,
    /// The prompt does not fit the model's context window.
    PromptTooLong,
    /// The provider failed, or the turn could not be carried on.
    DuringExecution,
    /// A hook ended the turn. Reserved: no turn ends so yet.
    Halted,
    /// Somebody interrupted the turn.
    Interrupted,
    /// The history could not be made to fit. Reserved: no turn ends so yet, nothing is made to fit.
    CompactionFailed,
    /// The model did not produce the structure asked for. Reserved: no turn ends so yet, the text is not checked.
    StructuredOutputRetries,
    /// The provider's answer did not have the shape asked for. Reserved: no turn ends so yet, the text is not checked.
    SchemaValidation,
    /// The provider did not accept the key.
    ProviderAuth,
}

/// What kind of end a [`FinishReason`] is.
///
/// ```
/// use ergane_core::{FinishCategory, FinishReason};
///
/// let is_worth_another_try = |finish: FinishReason| finish.category() == FinishCategory::Retryable;
/// assert!(is_worth_another_try(FinishReason::DuringExecution));
/// assert!(!is_worth_another_try(FinishReason::ProviderAuth), "the key is still wrong");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishCategory {
    /// The turn did what was asked.
    Success,
    /// A limit was met; more room would help.
    Capacity,
    /// Doing it again may help.
    Retryable,
    /// Doing it again will not help.
    Fatal,
    /// Somebody stopped it.
    Interrupted,
}

impl FinishReason {
    /// What kind of end it is.
    ///
    /// ```
    /// use ergane_core::{FinishCategory, FinishReason};
    ///
    /// assert_eq!(FinishReason::Stop.category(), FinishCategory::Success);
    /// assert_eq!(FinishReason::Interrupted.category(), FinishCategory::Interrupted);
    /// ```
    pub fn category(self) -> FinishCategory {
        match self {
            Self::Stop | Self::Submitted => FinishCategory::Success,
            Self::Length
            | Self::MaxTurns
            | Self::MaxBudgetUsd
            | Self::ConsecutiveMistakes
            | Self::NoProgress
            | Self::PromptTooLong
            | Self::StructuredOutputRetries => FinishCategory::Capacity,
            Self::DuringExecution | Self::SchemaValidation => FinishCategory::Retryable,
            Self::Halted | Self::Refused | Self::CompactionFailed | Self::ProviderAuth => {
                FinishCategory::Fatal
            }
            Self::Interrupted => FinishCategory::Interrupted,
        }
    }

    /// The name in snake_case, as in JSON.
    ///
    /// ```
    /// assert_eq!(ergane_core::FinishReason::PromptTooLong.as_str(), "prompt_too_long");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Submitted => "submitted",
            Self::Length => "length",
            Self::Refused => "refused",
            Self::MaxTurns => "max_turns",
            Self::MaxBudgetUsd => "max_budget_usd",
            Self::ConsecutiveMistakes => "consecutive_mistakes",
            Self::NoProgress => "no_progress",
            Self::PromptTooLong => "prompt_too_long",
            Self::DuringExecution => "during_execution",
            Self::Halted => "halted",
            Self::Interrupted => "interrupted",
            Self::CompactionFailed => "compaction_failed",
            Self::StructuredOutputRetries => "structured_output_retries",
            Self::SchemaValidation => "schema_validation",
            Self::ProviderAuth => "provider_auth",
        }
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finish_reason_is_shown_as_it_is_stored() {
        use FinishReason::*;
        for reason in [
            Stop,
            Submitted,
            Length,
            Refused,
            MaxTurns,
            MaxBudgetUsd,
            ConsecutiveMistakes,
            NoProgress,
            PromptTooLong,
            DuringExecution,
            Halted,
            Interrupted,
            CompactionFailed,
            StructuredOutputRetries,
            SchemaValidation,
            ProviderAuth,
        ] {
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
    }
}
