//! What a session needs of its system: the live things that its facts only name.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ergane_core::{Durability, SessionName, Settings};
use ergane_journal::JournalPort;
use ergane_otp::{ChildSpec, DynamicSupervisorRef, Namespace, Restart};
use ergane_provider::Providers;
use ergane_tool::{CanUseTool, ContextFn, ToolRegistry};
use tokio::sync::Semaphore;

use crate::actor::{SessionActor, SessionArgs};

/// At most so many sessions load and fold their logs at once.
const LOADING_AT_ONCE: usize = 50;

/// What every session of a system shares. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionContext(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    namespace: Namespace,
    journal: JournalPort,
    memory: JournalPort,
    providers: Providers,
    tools: ToolRegistry,
    sessions: DynamicSupervisorRef,
    loading: Semaphore,
    options: SessionOptions,
    /// The sessions that stand in somebody's tree, and how often.
    anchored: Names,
    /// The sessions that are brought up to be stopped, and by how many.
    to_stop: Names,
    /// Whether all of it is on its way to its end.
    ending: AtomicBool,
}

/// What a system may set for all its sessions, beside its parts.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Decides about calls that no list and no mode has decided. Default: none.
    pub can_use_tool: Option<CanUseTool>,
    /// Makes what the program gives to its tools. Default: nothing.
    pub extend: ContextFn,
    /// After so long without anything to do, a session's actor stops; the next touch brings it back. Default: never.
    pub passivate_after: Option<Duration>,
}

impl SessionContext {
    /// Puts the parts together. `memory` keeps the sessions of [`Durability::Off`], `journal` all others; they may be
    /// the same.
    pub fn new(
        namespace: Namespace,
        journal: JournalPort,
        memory: JournalPort,
        providers: Providers,
        tools: ToolRegistry,
        options: SessionOptions,
    ) -> Self {
        let sessions = DynamicSupervisorRef::new(&namespace, "sessions");
        let loading = Semaphore::new(LOADING_AT_ONCE);
        Self(Arc::new(Shared {
            namespace,
            journal,
            memory,
            providers,
            tools,
            sessions,
            loading,
            options,
            anchored: Names::default(),
            to_stop: Names::default(),
            ending: AtomicBool::new(false),
        }))
    }

    /// The names of the system.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// Where facts of this durability are kept.
    pub fn journal(&self, durability: Durability) -> &JournalPort {
        match durability {
            Durability::Strict => &self.0.journal,
            Durability::Off => &self.0.memory,
        }
    }

    /// How models are reached.
    pub fn providers(&self) -> &Providers {
        &self.0.providers
    }

    /// The registered tools.
    pub fn tools(&self) -> &ToolRegistry {
        &self.0.tools
    }

    /// What the program gives to its tools.
    pub fn extend(&self) -> &ContextFn {
        &self.0.options.extend
    }

    /// The supervisor of the sessions.
    pub fn sessions(&self) -> &DynamicSupervisorRef {
        &self.0.sessions
    }

    pub(crate) fn options(&self) -> &SessionOptions {
        &self.0.options
    }

    /// Whether the session stands in somebody's tree.
    pub(crate) fn is_anchored(&self, name: &SessionName) -> bool {
        self.0.anchored.has(name)
    }

    /// Counts the session as standing in somebody's tree for as long as that lives.
    pub(crate) fn anchor(&self, name: &SessionName) -> Counted {
        self.0.anchored.count(name)
    }

    /// Whether the session is brought up only to be stopped.
    pub(crate) fn is_to_stop(&self, name: &SessionName) -> bool {
        self.0.to_stop.has(name)
    }

    /// As long as that lives the session, when it is brought up, begins nothing: it brings everything to its end.
    pub(crate) fn to_be_stopped(&self, name: &SessionName) -> Counted {
        self.0.to_stop.count(name)
    }

    /// The system ends: from now on no call begins that may not run twice, or not without being known. It would be cut off in the
    /// middle, and nobody could tell what came of it; so it is left to whoever goes on with its turn, as one that has not begun.
    pub fn end_calls(&self) {
        self.0.ending.store(true, Ordering::Release);
    }

    /// Whether [`end_calls`](Self::end_calls) was said.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.ending.load(Ordering::Acquire)
    }

    pub(crate) fn loading(&self) -> &Semaphore {
        &self.0.loading
    }

    /// The settings of a new session that nobody said anything about: the default provider, its default model, every
    /// registered tool, the folder the process runs in. `None` when no provider is registered.
    pub fn defaults(&self) -> Option<Settings> {
        let name = self.0.providers.default_name()?;
        let model = self.0.providers.get(&name).and_then(|provider| provider.default_model());
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        Some(Settings::new(name, model.unwrap_or_else(|| "".into()), cwd.to_string_lossy().into_owned()))
    }

    /// How the session actor of that name is started, for the supervisor of the sessions.
    pub(crate) fn spec(&self, name: &SessionName, durability: Durability) -> ChildSpec {
        let (context, name) = (self.clone(), name.clone());
        ChildSpec::actor(process_name(&name), move |start| {
            let arguments = SessionArgs { name: name.clone(), durability, context: context.clone(), start };
            (SessionActor, arguments)
        })
        .restart(Restart::Transient)
    }
}

/// Sessions of which something holds as long as anybody says so.
#[derive(Debug, Clone, Default)]
struct Names(Arc<Mutex<HashMap<SessionName, usize>>>);

impl Names {
    fn counts(&self) -> MutexGuard<'_, HashMap<SessionName, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, name: &SessionName) -> bool {
        self.counts().contains_key(name)
    }

    fn count(&self, name: &SessionName) -> Counted {
        *self.counts().entry(name.clone()).or_default() += 1;
        Counted { names: self.clone(), name: name.clone() }
    }
}

/// Says so, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    names: Names,
    name: SessionName,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.names.counts();
        if let Some(count) = counts.get_mut(&self.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.name);
            }
        }
    }
}

/// What the names of all sessions' processes begin with.
const SESSION: &str = "session/";

/// The name of a session's process in the system's namespace.
pub fn process_name(session: &SessionName) -> String {
    format!("{SESSION}{session}")
}

/// The session of a process of that name; `None` when it is another's, also one that a session has for its turn or a tool.
pub fn session_of_process(name: &str) -> Option<SessionName> {
    SessionName::new(name.strip_prefix(SESSION)?).ok()
}
