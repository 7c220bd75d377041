//! `steer` and `interrupt`: what is wanted of a turn that another process runs. That process does it, as with all else that
//! is asked of a session which it owns.

use ergane::session::Steered;
use ergane::socket::{RemoteSession, new_key};
use serde_json::json;

use super::check_prompt;
use super::inventory::Printed;
use super::sessions::Found;
use crate::args::{InterruptArgs, SteerArgs};
use crate::outcome::Failure;
use crate::workshop::Place;

pub(super) async fn steer(args: SteerArgs, place: Result<Place, Failure>) -> Result<Printed, Failure> {
    let SteerArgs { session, prompt, key, cut } = args;
    check_prompt(&prompt)?;
    if key.as_deref().is_some_and(|key| key.trim().is_empty()) {
        return Err(Failure::bad_request("--key is empty"));
    }
    // Made here and not by the owner: whoever hears nothing of his word can say it again.
    let key = key.unwrap_or_else(|| new_key().to_string());
    let session = of_owner(session, place?).await?;
    let name = session.name();
    let steer = session.steer(prompt).key(key.as_str());
    let steered = if cut { steer.cut().await } else { steer.await };
    let steered = steered.map_err(|error| Failure::from(error).or_again(&key))?;
    if steered == Steered::TurnOver {
        return Err(Failure::not_found(format!(
            "session {name} has no open turn that takes it in: say it with `ergane send {name}`"
        )));
    }
    Printed::new(json!({"session": name, "steered": true}), format!("{name}: the open turn has it\n"))
}

pub(super) async fn interrupt(
    args: InterruptArgs,
    place: Result<Place, Failure>,
) -> Result<Printed, Failure> {
    let InterruptArgs { session, reason } = args;
    let session = of_owner(session, place?).await?;
    let name = session.name();
    let done = session.interrupt(reason).await?;
    let text = if done { "the open turn ends" } else { "nothing to interrupt" };
    Printed::new(json!({"session": name, "interrupted": done}), format!("{name}: {text}\n"))
}

/// The session, as the process that owns it has it.
async fn of_owner(session: String, place: Place) -> Result<RemoteSession, Failure> {
    let at = place.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let found = Found::open(&at, &session)?;
        let owner = found.summary()?.owner_pid;
        Ok::<_, Failure>((found.name, owner))
    });
    let (name, owner) = looked.await.map_err(|error| Failure::internal(error.to_string()))??;
    match (owner, place) {
        (Some(pid), Place::File(journal)) => Ok(RemoteSession::new(journal, name, pid)),
        _ => Err(Failure::not_found(format!(
            "no process runs session {name}: a turn that was left open is gone on with by `ergane resume {name}`"
        ))),
    }
}
