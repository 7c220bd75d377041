//! Ends an actor of a running system, as a bug or an operator does.

use ergane_session::session_of_process;
use ractor::{ActorCell, registry};

/// A kind of actor of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Victim {
    /// A session.
    Session,
    /// The loop of an open turn.
    Loop,
    /// A tool call in flight.
    Tool,
    /// A model call in flight.
    Request,
    /// What admits calls to a provider.
    Provider,
    /// The writer of the journal.
    Journal,
}

impl Victim {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Session, Self::Loop, Self::Tool, Self::Request, Self::Provider, Self::Journal];

    /// Those of this kind that live in the system of that name, in an order that is the same every time.
    pub fn living(self, system: &str) -> Vec<ActorCell> {
        let prefix = format!("{system}/");
        let mut names: Vec<String> = registry::registered();
        names.retain(|name| name.strip_prefix(&prefix).is_some_and(|name| self.is(name)));
        // Numbers in names count up over all systems of the process: 9 comes before 10.
        names.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        names.into_iter().filter_map(registry::where_is).collect()
    }

    /// Kills one of them, at once and without a word: number `choice`, counted round. Returns its name; `None` when there
    /// is none.
    pub fn kill(self, system: &str, choice: u64) -> Option<String> {
        let living = self.living(system);
        let index = usize::try_from(choice.checked_rem(living.len() as u64)?).ok()?;
        let victim = living.get(index)?;
        victim.kill();
        victim.get_name()
    }

    /// Whether an actor of this name, below its system's, is of this kind.
    fn is(self, name: &str) -> bool {
        let of_session = |part: &str| {
            name.find(part).and_then(|end| name.get(..end)).and_then(session_of_process).is_some()
        };
        match self {
            Self::Session => session_of_process(name).is_some(),
            Self::Loop => of_session("#turn/"),
            Self::Tool => of_session("#tool/"),
            Self::Request => name.starts_with("request/"),
            Self::Provider => name.starts_with("provider/"),
            Self::Journal => name == "journal",
        }
    }
}
