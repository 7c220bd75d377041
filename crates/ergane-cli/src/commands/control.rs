//! `steer` and `interrupt`: what is wanted of a turn that another process runs. That process does it, as with all else that
//! is asked of a session which it owns.

use ergane::core::SessionName;
use serde_json::json;

use super::check_prompt;
use super::elsewhere::Elsewhere;
use super::inventory::Printed;
use super::send::new_key;
use super::sessions::Found;
use crate::args::{InterruptArgs, SteerArgs};
use crate::outcome::Failure;
use crate::socket::wire::{Ask, ENTERED, IDLE};
use crate::workshop::Place;

pub(super) async fn steer(args: SteerArgs, place: Result<Place, Failure>) -> Result<Printed, Failure> {
    let SteerArgs { session, prompt, key, cut } = args;
    check_prompt(&prompt)?;
    if key.as_deref().is_some_and(|key| key.trim().is_empty()) {
        return Err(Failure::bad_request("--key is empty"));
    }
    // Made here and not by the owner: whoever hears nothing of his word can say it again.
    let key = key.unwrap_or_else(new_key);
    let ask = |session| Ask::Steer { session, input: prompt.into(), key: Some(key.as_str().into()), cut };
    let (name, done) = of_owner(session, place?, ask).await.map_err(|failure| {
        let message =
            format!("{}; with --key {key} it can be said again and is put in once", failure.message);
        if failure.kind == Some("busy") { Failure { message, ..failure } } else { failure }
    })?;
    if done != ENTERED {
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
    let ask = |session| Ask::Interrupt { session, reason: reason.into() };
    let (name, done) = of_owner(session, place?, ask).await?;
    let done = done != IDLE;
    let text = if done { "the open turn ends" } else { "nothing to interrupt" };
    Printed::new(json!({"session": name, "interrupted": done}), format!("{name}: {text}\n"))
}

/// Asks the process that owns the session; what came of it, in a word.
async fn of_owner(
    session: String,
    place: Place,
    ask: impl FnOnce(SessionName) -> Ask,
) -> Result<(SessionName, String), Failure> {
    let at = place.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let found = Found::open(&at, &session)?;
        let owner = found.summary()?.owner_pid;
        Ok::<_, Failure>((found.name, owner))
    });
    let (name, owner) = looked.await.map_err(|error| Failure::internal(error.to_string()))??;
    let (Some(pid), Place::File(journal)) = (owner, &place) else {
        return Err(Failure::not_found(format!(
            "no process runs session {name}: a turn that was left open is gone on with by `ergane resume {name}`"
        )));
    };
    let done = Elsewhere { journal, session: &name, pid }.ask(ask(name.clone())).await?;
    Ok((name, done))
}
