//! `fork` and `rewind`: another way from a point of the history.

use std::time::Duration;

use ergane::core::{Point, Seq, SessionName};
use serde_json::json;

use super::Found;
use crate::commands::inventory::Printed;
use crate::commands::session_name;
use crate::config::Config;
use crate::outcome::Failure;
use crate::workshop::{Place, Workshop, seen};

/// How long the system may take to end.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// A position, or the name of a checkpoint, which is never only digits.
pub(crate) fn point(text: &str) -> Point {
    match text.parse() {
        Ok(seq) => Point::At(Seq(seq)),
        Err(_) => Point::Label(text.into()),
    }
}

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
    let at = at.as_deref().map_or(Point::Now, point);
    // The parent is only read, so it may run, and its tools and providers are not needed.
    let workshop = Workshop::open(&place, &Config::default(), None).await?;
    let session = seen(&workshop.system, parent.clone());
    let forked = session.fork(new.as_str(), at).await;
    workshop.close(SHUTDOWN).await;
    forked?;
    Printed::new(json!({"session": new, "parent": parent}), format!("{new}: a fork of {parent}\n"))
}

pub(super) async fn rewind(
    name: String,
    to: String,
    place: Result<Place, Failure>,
) -> Result<Printed, Failure> {
    let place = place?;
    let Stored { name, owner, has_open_turn } = stored(name, &place).await?;
    let told = |seq: String| {
        let json = json!({"session": name, "rewound_to": seq.parse::<u64>().ok()});
        Printed::new(json, format!("{name}: goes on from event {seq}\n"))
    };
    #[cfg(unix)]
    if let (Some(pid), Place::File(journal)) = (owner, &place) {
        let elsewhere = crate::commands::elsewhere::Elsewhere { journal, session: &name, pid };
        let ask = crate::socket::wire::Ask::Rewind { session: name.clone(), to: to.into() };
        return told(elsewhere.ask(ask).await?);
    }
    if let Some(pid) = owner {
        return Err(Failure::owned(&name, pid, "which alone can rewind it"));
    }
    if has_open_turn {
        // To bring it up would be to go on with that turn.
        return Err(Failure::busy(format!(
            "session {name} has an open turn: finish it first with `ergane resume {name}`"
        )));
    }
    let workshop = Workshop::open(&place, &Config::default(), None).await?;
    let session = seen(&workshop.system, name.clone());
    let rewound = session.rewind(point(&to)).await;
    workshop.close(SHUTDOWN).await;
    told(rewound?.to_string())
}
