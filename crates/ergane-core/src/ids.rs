//! Typed ids: a number or a name that cannot be taken for another one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::CoreError;
use crate::hex::shown_in_hex;

/// The position of a fact in its session: 1, 2, 3… without gaps. 0 is "before the first".
///
/// ```
/// use ergane_core::Seq;
///
/// let read_so_far = Seq(7);
/// assert!(read_so_far < Seq(8) && read_so_far.next() == Seq(8));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    ///
    /// ```
    /// use ergane_core::Seq;
    ///
    /// assert_eq!(Seq(0).next(), Seq(1), "the first fact");
    /// ```
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One incarnation of a session; a higher epoch fences off every lower one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A turn: the seq of its `TurnStarted`, never used again.
///
/// ```
/// use ergane_core::{CallId, TurnId};
///
/// let call: CallId = "812.1".parse()?;
/// assert_eq!(call.turn, TurnId(812));
/// # Ok::<(), ergane_core::CoreError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TurnId(pub u64);

impl fmt::Display for TurnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A tool call: its turn, and its number in that turn, counted from 1. Shown and stored as `812.1`.
///
/// ```
/// use ergane_core::{CallId, CoreError, TurnId};
///
/// let call = CallId { turn: TurnId(812), index: 1 };
/// assert_eq!(call.to_string(), "812.1");
/// assert_eq!("812.1".parse(), Ok(call));
/// assert!(matches!("first".parse::<CallId>(), Err(CoreError::BadCallId(_))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The turn in which the model asked for it.
    pub turn: TurnId,
    /// Its number in that turn, from 1. 0 means "not numbered yet": a decoder does not know the turn.
    pub index: u32,
}

impl CallId {
    /// The id of a call that came off the wire and was not journaled yet.
    pub const UNNUMBERED: Self = Self { turn: TurnId(0), index: 0 };

    /// The idempotency key of this call in `session`: the same over retries and restarts, another in every other session,
    /// also in a fork, in one that has the name of one that was deleted, and in another journal. What tells these apart is
    /// the session's identity; one that began before there were any has none.
    ///
    /// ```
    /// use ergane_core::{CallId, Identity, SessionName, TurnId};
    ///
    /// let (alice, call): (_, CallId) = (SessionName::new("alice")?, "812.1".parse()?);
    /// let key = call.idempotency_key(&alice, Some(Identity(0xa1)));
    /// assert_eq!(&*key, "alice#000000000000000000000000000000a1#812.1");
    /// assert_eq!(&*call.idempotency_key(&alice, None), "alice#812.1");
    ///
    /// let (longest, last) = (SessionName::new("x".repeat(128))?, CallId { turn: TurnId(u64::MAX), index: u32::MAX });
    /// assert!(last.idempotency_key(&longest, Some(Identity(u128::MAX))).len() <= 255);
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn idempotency_key(self, session: &SessionName, identity: Option<Identity>) -> Arc<str> {
        match identity {
            Some(identity) => format!("{session}#{identity}#{self}").into(),
            None => format!("{session}#{self}").into(),
        }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.turn, self.index)
    }
}

impl FromStr for CallId {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self, CoreError> {
        text.split_once('.')
            .and_then(|(turn, index)| {
                Some(Self { turn: TurnId(turn.parse().ok()?), index: index.parse().ok()? })
            })
            .ok_or_else(|| CoreError::BadCallId(text.to_owned()))
    }
}

impl Serialize for CallId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What tells a session from every other one that has, had or will have its name: a number that is drawn once and is a fact
/// of it. Shown as 32 hexadecimal digits.
///
/// ```
/// use ergane_core::Identity;
///
/// let drawn = Identity(0xa1);
/// assert_eq!(drawn.to_string(), "000000000000000000000000000000a1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub u128);

shown_in_hex!(Identity);

/// The name of a session: 1 to 128 ASCII letters, digits and `._-/:@`, not starting with `-`.
///
/// ```
/// use ergane_core::{CoreError, SessionName};
///
/// let name: SessionName = "team/alice".parse()?;
/// assert_eq!(name.as_str(), "team/alice");
/// assert!(matches!("not a name".parse::<SessionName>(), Err(CoreError::BadSessionName(_))));
/// # Ok::<(), CoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionName(Arc<str>);

impl SessionName {
    /// Checks `name` and keeps it.
    ///
    /// ```
    /// use ergane_core::SessionName;
    ///
    /// assert!(SessionName::new("alice@example.org").is_ok());
    /// assert!(SessionName::new("-alice").is_err());
    /// ```
    ///
    /// # Errors
    /// [`CoreError::BadSessionName`] when it is empty, too long, starts with `-` or has another character.
    pub fn new(name: impl Into<Arc<str>>) -> Result<Self, CoreError> {
        let name = name.into();
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if name.is_empty() || name.len() > 128 || name.starts_with('-') || !name.chars().all(legal) {
            return Err(CoreError::BadSessionName(name.to_string()));
        }
        Ok(Self(name))
    }

    /// The name as text.
    ///
    /// ```
    /// assert_eq!(ergane_core::SessionName::new("alice")?.as_str(), "alice");
    /// # Ok::<(), ergane_core::CoreError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionName {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self, CoreError> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for SessionName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The id of one send: the caller's key, or one made by the handle. The same id is the same send, also after a crash.
///
/// ```
/// use ergane_core::SendId;
///
/// assert_eq!(SendId::from("request-1").to_string(), "request-1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SendId(pub Arc<str>);

impl fmt::Display for SendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for SendId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_name_is_checked_at_the_door() {
        for good in ["a", "alice", "team/alice:1@host", "A.b_c-d", &"x".repeat(128)] {
            assert!(SessionName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "é", "a\n", "a\0", &"x".repeat(129)] {
            assert!(matches!(SessionName::new(bad), Err(CoreError::BadSessionName(_))), "{bad:?}");
        }
        assert!(serde_json::from_str::<SessionName>("\"a b\"").is_err());
    }

    #[test]
    fn a_call_id_reads_back_what_it_shows() {
        let id = CallId { turn: TurnId(812), index: 2 };
        assert_eq!(id.to_string(), "812.2");
        assert_eq!("812.2".parse::<CallId>().unwrap(), id);
        assert!("812".parse::<CallId>().is_err());
        assert!("x.1".parse::<CallId>().is_err());
    }
}
