//! A system to measure in, and the folder of its store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ergane::journal::Sqlite;
use ergane::provider::Provider;
use ergane::session::Session;
use ergane::{System, SystemBuilder};
use tokio::task::JoinSet;

use super::model;
use crate::Outcome;
use crate::args::JournalKind;
use crate::otp::children::shares;

const PATIENCE: Duration = Duration::from_secs(60);
/// So many tasks start sessions at once.
const STARTERS: usize = 64;

/// A running system.
pub(crate) struct House {
    pub(crate) system: System,
    pub(crate) store: Option<Arc<Sqlite>>,
    _folder: Option<Folder>,
}

impl House {
    /// With a model that answers after `latency_ms`. Its sessions may be killed as often as one likes.
    pub(crate) async fn open(journal: JournalKind, dir: Option<&Path>, latency_ms: u64) -> Outcome<Self> {
        Self::with(journal, dir, "scripted", model::provider(latency_ms)).await
    }

    /// The same with another model.
    pub(crate) async fn with(
        journal: JournalKind,
        dir: Option<&Path>,
        name: &'static str,
        provider: impl Provider,
    ) -> Outcome<Self> {
        if journal == JournalKind::Sqlite {
            let folder = Folder::make(dir)?;
            let store = Arc::new(Sqlite::open(folder.0.join("journal.db"))?);
            return Self::on(store, folder, builder(name, provider)).await;
        }
        Ok(Self { system: builder(name, provider).start().await?, store: None, _folder: None })
    }

    /// With a store that is there, in that folder.
    pub(crate) async fn around(store: Arc<Sqlite>, folder: Folder) -> Outcome<Self> {
        Self::on(store, folder, builder("scripted", model::provider(0))).await
    }

    async fn on(store: Arc<Sqlite>, folder: Folder, builder: SystemBuilder) -> Outcome<Self> {
        let system = builder.shared_journal(store.clone()).start().await?;
        Ok(Self { system, store: Some(store), _folder: Some(folder) })
    }

    /// Starts so many sessions, several at a time.
    pub(crate) async fn sessions(&self, prefix: &str, count: usize) -> Outcome<Vec<Session>> {
        let mut starters: JoinSet<Outcome<Vec<Session>>> = JoinSet::new();
        for share in shares(count, STARTERS) {
            let (system, prefix) = (self.system.clone(), prefix.to_owned());
            starters.spawn(async move {
                let mut started = Vec::with_capacity(share.len());
                for number in share {
                    started.push(system.session(&format!("{prefix}/{number}")).start().await?);
                }
                Ok(started)
            });
        }
        let mut sessions = Vec::with_capacity(count);
        while let Some(started) = starters.join_next().await {
            sessions.extend(started??);
        }
        Ok(sessions)
    }

    pub(crate) async fn close(self) -> Outcome<()> {
        Ok(self.system.shutdown(PATIENCE).await?)
    }
}

fn builder(name: &'static str, provider: impl Provider) -> SystemBuilder {
    System::builder()
        .provider(name, provider)
        .tool(model::add)
        // No two kills meet in so short a window: what is measured is restarts, and not back-offs.
        .restart_budget(u32::MAX, Duration::from_nanos(1))
}

/// A folder of its own, removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn make(dir: Option<&Path>) -> Outcome<Self> {
        let dir = dir.map_or_else(std::env::temp_dir, Path::to_owned);
        std::fs::create_dir_all(&dir)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let folder = dir.join(format!("ergane-bench-{}-{now}", std::process::id()));
        // One that is there already is not ours: not to be measured in, nor to be removed.
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("ergane-bench: {} could not be removed: {error}", self.0.display());
        }
    }
}
