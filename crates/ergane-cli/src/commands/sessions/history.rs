//! `checkpoint`, `fork` and `rewind`: a point of the history, and another way from it.

use std::time::Duration;

use ergane::core::{Point, Seq, SessionName};
use ergane::session::{Session, SessionError};
#[cfg(unix)]
use ergane::socket::{RemoteError, RemoteSession};
use serde_json::json;

use super::Found;
use crate::commands::inventory::Printed;
use crate::commands::session_name;
use crate::config::Config;
use crate::outcome::Failure;
use crate::workshop::{Place, Workshop, seen};

/// How long the system may take to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// What is stored of a session.
struct Stored {
    name: SessionName,
    owner: Option<u32>,
    has_open_turn: bool,
}

async fn stored(name: String, place: &Place) -> Result<Stored, Failure> {
    let place = place.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let found = Found::open(&place, &name)?;
        let summary = found.summary()?;
        let has_open_turn = summary.open_turn.is_some();
        Ok(Stored { name: found.name, owner: summary.owner_pid, has_open_turn })
    });
    looked.await.map_err(|error| Failure::internal(error.to_string()))?
}

pub(super) async fn fork(
    name: String,
    new: String,
    at: Option<String>,
    place: Result<Place, Failure>,
) -> Result<Printed, Failure> {
    let place = place?;
    let new = session_name(&new)?;
    let parent = stored(name, &place).await?.name;
    let at = at.as_deref().map_or(Point::Now, Point::typed);
    // The parent is only read, so it may run, and its tools and providers are not needed.
    let workshop = Workshop::open(&place, &Config::default(), None).await?;
    let session = seen(&workshop.system, parent.clone());
    let forked = session.fork(new.as_str(), at).await;
    workshop.close(SHUTDOWN).await;
    forked?;
    Printed::new(json!({"session": new, "parent": parent}), format!("{new}: a fork of {parent}\n"))
}

pub(super) async fn checkpoint(
    name: String,
    label: String,
    place: Result<Place, Failure>,
) -> Result<Printed, Failure> {
    let (name, seq) = change(name, place?, Change::Checkpoint(label.clone())).await?;
    let json = json!({"session": name, "checkpoint": label, "seq": seq});
    Printed::new(json, format!("{name}: {label} is event {seq}\n"))
}

pub(super) async fn rewind(
    name: String,
    to: String,
    place: Result<Place, Failure>,
) -> Result<Printed, Failure> {
    let (name, seq) = change(name, place?, Change::Rewind(to)).await?;
    let json = json!({"session": name, "rewound_to": seq});
    Printed::new(json, format!("{name}: goes on from event {seq}\n"))
}

/// What is done to a session that has no open turn.
enum Change {
    Checkpoint(String),
    Rewind(String),
}

impl Change {
    /// The same, asked of the process that owns the session.
    #[cfg(unix)]
    async fn there(self, session: RemoteSession) -> Result<Seq, RemoteError> {
        match self {
            Self::Checkpoint(label) => session.checkpoint(label).await,
            Self::Rewind(to) => session.rewind(Point::typed(&to)).await,
        }
    }

    async fn here(self, session: Session) -> Result<Seq, SessionError> {
        match self {
            Self::Checkpoint(label) => session.checkpoint(label).await,
            Self::Rewind(to) => session.rewind(Point::typed(&to)).await,
        }
    }
}

/// Does it where the session runs, else here. The position that came of it.
async fn change(name: String, place: Place, change: Change) -> Result<(SessionName, Seq), Failure> {
    let Stored { name, owner, has_open_turn } = stored(name, &place).await?;
    #[cfg(unix)]
    if let (Some(pid), Place::File(journal)) = (owner, &place) {
        let done = change.there(RemoteSession::new(journal, name.clone(), pid)).await?;
        return Ok((name, done));
    }
    if let Some(pid) = owner {
        return Err(Failure::owned(&name, pid, "which alone can do that"));
    }
    if has_open_turn {
        // To bring it up would be to go on with that turn.
        return Err(Failure::busy(format!(
            "session {name} has an open turn: finish it first with `ergane resume {name}`"
        )));
    }
    let workshop = Workshop::open(&place, &Config::default(), None).await?;
    let done = change.here(seen(&workshop.system, name.clone())).await;
    workshop.close(SHUTDOWN).await;
    Ok((name, done?))
}
