//! The running system of a command: every provider and tool there is, so that any stored session can go on.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergane::core::{Durability, SessionName, Text};
use ergane::journal::{JournalError, JournalPort, Sqlite};
use ergane::session::{Activity, Session, session_of_process};
use ergane::tools::Tools;
use ergane::{Recovery, System};

use crate::config::Config;
use crate::folders;
use crate::outcome::Failure;
use crate::provider;

/// Where sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    File(PathBuf),
}

impl Place {
    /// What `--journal` says, else the environment, else the configuration, else the user's data directory.
    pub(crate) fn find(flag: Option<&Path>, config: &Config) -> Result<Self, Failure> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self::decide(flag, config.journal.as_deref(), variable)
    }

    fn decide(
        flag: Option<&Path>,
        configured: Option<&Path>,
        variable: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Self, Failure> {
        let given = flag.map(Path::to_owned).or_else(|| variable("ERGANE_JOURNAL"));
        let given = given.or_else(|| configured.map(Path::to_owned));
        if let Some(path) = given {
            return match path.to_str() {
                Some("") => Err(Failure::config("--journal is empty: give a path, or :memory:")),
                Some(":memory:") => Ok(Self::Memory),
                Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                    Err(Failure::config(
                        "PostgreSQL journals are not built yet: give the path of a file, or :memory:",
                    ))
                }
                _ => Ok(Self::File(path)),
            };
        }
        let data = folders::data(variable).ok_or_else(|| {
            Failure::config("there is no home directory to keep the journal in: give --journal PATH or set ERGANE_JOURNAL")
        })?;
        Ok(Self::File(data.join("ergane.db")))
    }

    /// The store, for a command that only looks: `None` when there is none yet, and none is made.
    pub(crate) fn look(&self) -> Result<Option<Sqlite>, JournalError> {
        match self {
            Self::File(path) if self.is_there() => Sqlite::open(path).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether there can be a stored session: no when the file is not there.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::File(path) => !matches!(path.try_exists(), Ok(false)),
        }
    }
}

/// The running system. Other commands on the same journal reach it by its socket.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) system: System,
}

impl Workshop {
    /// Starts it. Open turns are not touched: a command goes on with those it is about.
    pub(crate) async fn open(place: &Place, config: &Config, script: Option<&Path>) -> Result<Self, Failure> {
        let mut builder = System::builder().tools(Tools::all()).recovery(Recovery::Lazy);
        for (name, provider) in provider::all(config, script)? {
            for (model, price) in config.of(&name).into_iter().flat_map(|said| &said.prices) {
                builder = builder.price(name.as_str(), model.clone(), *price);
            }
            builder = builder.provider(name, provider);
        }
        if let Place::File(path) = place {
            let path = path.clone();
            let opened = tokio::task::spawn_blocking(move || Sqlite::open(path)).await;
            builder = builder.journal(opened.map_err(|error| Failure::internal(error.to_string()))??);
        }
        Ok(Self { system: builder.start().await? })
    }

    /// The names of the tools.
    pub(crate) fn tools(&self) -> Vec<Text> {
        self.system.context().tools().names().cloned().collect()
    }

    /// The way to the journal.
    pub(crate) fn journal(&self) -> &JournalPort {
        self.system.context().journal(Durability::Strict)
    }

    /// Whether a session has a turn that goes on, or one that will: none that waits for somebody, or for what does not come.
    pub(crate) async fn is_at_work(&self) -> bool {
        let names = self.system.context().namespace().names();
        for name in names.into_iter().filter_map(|(name, _)| session_of_process(&name)) {
            let Ok(status) = seen(&self.system, name).status().await else { continue };
            let goes_on = matches!(
                status.activity,
                Activity::Starting
                    | Activity::Idle
                    | Activity::Committing
                    | Activity::CallingModel
                    | Activity::Waiting { .. }
                    | Activity::Retrying { .. }
                    | Activity::RunningTools { .. }
                    | Activity::Interrupting
            );
            if goes_on && (status.turn.is_some() || status.queued > 0) {
                return true;
            }
        }
        false
    }

    /// Ends it within `deadline`. No fact is written: an open turn stays open.
    pub(crate) async fn close(self, deadline: Duration) {
        if let Err(error) = self.system.shutdown(deadline).await {
            tracing::warn!(%error, "the system did not end in time");
        }
    }
}

/// A session as it stands: it is asked and told of, and not started.
pub(crate) fn seen(system: &System, name: SessionName) -> Session {
    Session::new(system.context().clone(), name, Durability::Strict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(flag: Option<&str>, set: &[(&str, &str)]) -> Result<Place, Failure> {
        decide_with(flag, None, set)
    }

    fn decide_with(
        flag: Option<&str>,
        configured: Option<&str>,
        set: &[(&str, &str)],
    ) -> Result<Place, Failure> {
        Place::decide(flag.map(Path::new), configured.map(Path::new), |name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| PathBuf::from(value))
        })
    }

    fn file(path: &str) -> Result<Place, Failure> {
        Ok(Place::File(path.into()))
    }

    #[test]
    fn the_flag_beats_the_environment_beats_the_configuration_beats_the_data_directory() {
        let all = [("ERGANE_JOURNAL", "/e.db"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(decide(Some("f.db"), &all), file("f.db"));
        assert_eq!(decide(None, &all), file("/e.db"));
        assert_eq!(decide(None, &all[1..]), file("/x/ergane/ergane.db"));
        assert_eq!(decide(None, &all[2..]), file("/h/.local/share/ergane/ergane.db"));
        assert_eq!(
            decide(None, &[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]),
            file("/h/.local/share/ergane/ergane.db")
        );
        assert_eq!(decide(None, &[]).unwrap_err().exit, 2);
        assert_eq!(decide_with(Some("f.db"), Some("/c.db"), &all), file("f.db"));
        assert_eq!(decide_with(None, Some("/c.db"), &all), file("/e.db"));
        assert_eq!(decide_with(None, Some("/c.db"), &all[1..]), file("/c.db"));
    }

    #[test]
    fn memory_is_a_word_and_what_is_not_built_is_refused() {
        assert_eq!(decide(Some(":memory:"), &[]), Ok(Place::Memory));
        assert_eq!(decide(None, &[("ERGANE_JOURNAL", ":memory:")]), Ok(Place::Memory));
        assert_eq!(decide(Some("postgres://h/d"), &[]).unwrap_err().exit, 2);
        assert_eq!(decide(Some(""), &[]).unwrap_err().exit, 2);
    }
}
