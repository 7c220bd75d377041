//! Names of one system: unique while held, held from a start's first moment to the last drop.
//!
//! ractor's registry is one for the process and frees a name *before* `post_stop` runs, so that a second actor can start
//! while the first still lives. Here a name belongs to a claim that is dropped after the actor was awaited. ractor's name
//! is still set, as `<prefix>/<name>`, so that several systems may live in one process.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use ractor::ActorCell;

use crate::call::CallError;
use crate::entry::{Claim, Entry, EntryStatus, Found, Held, Value};
use crate::error::StartError;
use crate::life::Life;
use crate::lock::{lock, read, write};
use crate::monitor::Monitor;
use crate::until::until;
use crate::watch::{Incarnation, Watch, WatchQueue};

/// The names of one system. Cheap to clone; all clones are the same namespace.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
/// # let names = Namespace::new("kitchen-docs");
/// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
/// assert!(names.whereis("kitchen").is_some() && names.whereis("cellar").is_none());
/// assert!(Namespace::new("another").whereis("kitchen").is_none(), "each has its own names");
/// # root.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Namespace(Arc<Inner>);

pub(crate) struct Inner {
    prefix: String,
    hasher: RandomState,
    shards: Vec<Shard>,
    /// Takes the place of a shard that cannot be missing; keeps indexing free of panics.
    spare: Shard,
}

#[derive(Default)]
struct Shard {
    entries: RwLock<HashMap<Arc<str>, Arc<Entry>>>,
    watchers: Mutex<HashMap<String, Vec<Arc<WatchQueue>>>>,
}

const SHARDS: usize = 32;

impl Namespace {
    /// A namespace of its own. `prefix` (the system's name) must be unique in the process.
    ///
    /// ```
    /// assert_eq!(ergane_otp::Namespace::new("office").prefix(), "office");
    /// ```
    pub fn new(prefix: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            prefix: prefix.into(),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            spare: Shard::default(),
        }))
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// What it was made with.
    ///
    /// ```
    /// let names = ergane_otp::Namespace::new("office");
    /// assert_eq!(names.prefix(), "office");
    /// ```
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// The name in ractor's process-wide registry: `<prefix>/<name>`.
    ///
    /// ```
    /// let names = ergane_otp::Namespace::new("office");
    /// assert_eq!(names.full_name("printer"), "office/printer");
    /// ```
    pub fn full_name(&self, name: &str) -> String {
        let mut full = String::with_capacity(self.0.prefix.len() + 1 + name.len());
        full.push_str(&self.0.prefix);
        full.push('/');
        full.push_str(name);
        full
    }

    /// The living actor of that name; never one that has ended, nor one still starting.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let kitchen = names.whereis("kitchen").expect("it lives");
    /// kitchen.stop(None);
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn whereis(&self, name: &str) -> Option<ActorCell> {
        match read(&self.shard(name).entries).get(name)?.find() {
            Found::Live(cell) => Some(cell),
            _ => None,
        }
    }

    /// Where the name stands; `None` if nobody holds it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use ergane_otp::EntryStatus;
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// assert_eq!(names.status("kitchen"), Some(EntryStatus::Live));
    /// assert_eq!(names.status("cellar"), None);
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self, name: &str) -> Option<EntryStatus> {
        read(&self.shard(name).entries).get(name)?.status()
    }

    /// The living actor of that name, waited for while it starts, restarts or backs off.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use std::time::Duration;
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// names.whereis("kitchen").expect("it lives").kill();
    /// let successor = names.wait_for("kitchen", Duration::from_secs(5)).await?;
    /// # let _ = successor;
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::NoProc`] at once if nobody holds the name, or it is quarantined or stuck; [`CallError::Timeout`].
    pub async fn wait_for(&self, name: &str, deadline: Duration) -> Result<ActorCell, CallError> {
        if let Some(cell) = self.whereis(name) {
            return Ok(cell);
        }
        match tokio::time::timeout(deadline, self.wait(name)).await {
            Ok(found) => found.ok_or(CallError::NoProc),
            Err(_) => Err(CallError::Timeout),
        }
    }

    async fn wait(&self, name: &str) -> Option<ActorCell> {
        loop {
            let entry = self.entry(name)?;
            let changed = entry.changed();
            match entry.find() {
                Found::Live(cell) => return Some(cell),
                Found::Never => return None,
                Found::Released => {}
                Found::Wait => changed.await,
            }
        }
    }

    /// The living actor of that name, waited for also if nobody holds the name now, or it is quarantined or stuck: a name may
    /// wait for its next owner.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use std::time::Duration;
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let hall = TaskSupervisor::child_spec("hall");
    /// let (hall, house) = tokio::join!(
    ///     names.wait_for_owner("hall", Duration::from_secs(5)), // before there is anybody of that name
    ///     Supervisor::builder().child(hall).start(&names, "house"),
    /// );
    /// assert_eq!(hall?.get_name().as_deref(), Some("kitchen-docs/hall"));
    /// # house?.shutdown(Duration::from_secs(5)).await?;
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`CallError::Timeout`].
    pub async fn wait_for_owner(&self, name: &str, deadline: Duration) -> Result<ActorCell, CallError> {
        let mut watch = self.watch(name);
        let owner = async {
            loop {
                if let Some(cell) = self.whereis(name) {
                    return Ok(cell);
                }
                if watch.next().await.is_none() {
                    return Err(CallError::NoProc);
                }
            }
        };
        tokio::time::timeout(deadline, owner).await.unwrap_or(Err(CallError::Timeout))
    }

    /// The living actor of that name with the value it has set by
    /// [`StartContext::set_value`](crate::StartContext::set_value); `None` if nobody lives there, or has set a `T`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// // An actor sets a value of its own by `StartContext::set_value`; a task supervisor sets its scope.
    /// assert!(names.lookup::<ergane_otp::Scope>("kitchen").is_some());
    /// assert!(names.lookup::<u32>("kitchen").is_none());
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn lookup<T: Any + Send + Sync>(&self, name: &str) -> Option<(ActorCell, Arc<T>)> {
        let (cell, value) = self.entry(name)?.living_value()?;
        Some((cell, value.downcast().ok()?))
    }

    pub(crate) fn set_value(&self, name: &str, life: &Arc<Life>, value: Value) -> bool {
        self.entry(name).is_some_and(|entry| entry.set_value(life, value).is_ok())
    }

    /// Watches the incarnation alive now (or being started): tells once when it ends, restart or not. If nobody lives
    /// under the name it tells [`NoProc`](crate::ExitReason::NoProc) at once.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use ergane_otp::ExitReason;
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let monitor = names.monitor("kitchen");
    /// names.whereis("kitchen").expect("it lives").kill();
    /// assert_eq!(monitor.await.reason, ExitReason::Killed);
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn monitor(&self, name: &str) -> Monitor {
        match self.entry(name).and_then(|entry| entry.present_life()) {
            Some(life) => Monitor::life(name.to_owned(), life),
            _ => Monitor::nobody(name.to_owned(), None),
        }
    }

    /// Follows the name over its incarnations.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// use ergane_otp::Incarnation;
    ///
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let mut watch = names.watch("kitchen");
    /// assert!(matches!(watch.next().await, Some(Incarnation::Up { .. })));
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, name: &str) -> Watch {
        let queue = Arc::new(WatchQueue::default());
        let shard = self.shard(name);
        let register = |first: Option<Incarnation>| {
            if let Some(first) = first {
                queue.push(first);
            }
            lock(&shard.watchers).entry(name.to_owned()).or_default().push(queue.clone());
        };
        // Locks are always taken in the order entries, entry, watchers.
        let entries = read(&shard.entries);
        match entries.get(name) {
            Some(entry) => entry.introduce(register),
            None => register(Some(Incarnation::Gone)),
        }
        drop(entries);
        Watch { name: name.to_owned(), queue, namespace: Arc::downgrade(&self.0) }
    }

    /// All names held now, with where they stand, sorted by name. Linear in their number.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use ergane_otp::{Namespace, Supervisor, TaskSupervisor};
    /// # let names = Namespace::new("kitchen-docs");
    /// # let root = Supervisor::builder().child(TaskSupervisor::child_spec("kitchen")).start(&names, "root").await?;
    /// let held: Vec<String> = names.names().into_iter().map(|(name, _)| name).collect();
    /// assert!(held.contains(&"kitchen".to_owned()), "{held:?}");
    /// # root.shutdown(std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn names(&self) -> Vec<(String, EntryStatus)> {
        let entries: Vec<Arc<Entry>> = self
            .0
            .shards
            .iter()
            .flat_map(|shard| read(&shard.entries).values().cloned().collect::<Vec<_>>())
            .collect();
        let mut names: Vec<_> =
            entries.iter().filter_map(|entry| Some((entry.name.to_string(), entry.status()?))).collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        names
    }

    /// Claims a name, waiting up to `patience` for one that is about to be free.
    pub(crate) async fn claim(
        &self,
        name: &Arc<str>,
        owner: Option<ActorCell>,
        patience: Duration,
    ) -> Result<Claim, StartError> {
        let mut deadline = None;
        loop {
            let entry = match self.try_claim(name, owner.clone()) {
                Ok(claim) => return Ok(claim),
                Err(entry) => entry,
            };
            let changed = entry.changed();
            match entry.held() {
                Held::Released => continue,
                Held::ByLiving(cell) => return Err(StartError::AlreadyStarted(cell)),
                Held::ByQuarantine(reason) => return Err(StartError::Quarantined { reason }),
                Held::ByStuck(reason) => return Err(StartError::Stuck { reason }),
                Held::Otherwise => return Err(StartError::NameTaken { name: name.to_string() }),
                Held::ForAMoment => {
                    let deadline = *deadline.get_or_insert_with(|| until(patience));
                    if tokio::time::timeout_at(deadline, changed).await.is_err() {
                        return Err(StartError::NameTaken { name: name.to_string() });
                    }
                }
            }
        }
    }

    fn try_claim(&self, name: &Arc<str>, owner: Option<ActorCell>) -> Result<Claim, Arc<Entry>> {
        match write(&self.shard(name).entries).entry(name.clone()) {
            Slot::Occupied(held) => Err(held.get().clone()),
            Slot::Vacant(free) => {
                let entry = Entry::new(name.clone(), self.clone(), owner);
                free.insert(entry.clone());
                Ok(Claim::new(entry))
            }
        }
    }

    pub(crate) fn release(&self, entry: &Arc<Entry>) {
        let mut entries = write(&self.shard(&entry.name).entries);
        if entries.get(&entry.name).is_some_and(|held| Arc::ptr_eq(held, entry)) {
            entries.remove(&entry.name);
        }
        // Under the lock: a new owner's `Up` must come after this `Gone`.
        entry.released();
    }

    pub(crate) fn publish(&self, name: &str, event: Incarnation) {
        let watchers = lock(&self.shard(name).watchers);
        if watchers.is_empty() {
            return;
        }
        for queue in watchers.get(name).into_iter().flatten() {
            queue.push(event.clone());
        }
    }

    pub(crate) fn unwatch(&self, name: &str, queue: &Arc<WatchQueue>) {
        let mut watchers = lock(&self.shard(name).watchers);
        if let Some(queues) = watchers.get_mut(name) {
            queues.retain(|other| !Arc::ptr_eq(other, queue));
            if queues.is_empty() {
                watchers.remove(name);
            }
        }
    }

    fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        read(&self.shard(name).entries).get(name).cloned()
    }

    fn shard(&self, name: &str) -> &Shard {
        let index = self.0.hasher.hash_one(name) as usize % SHARDS;
        self.0.shards.get(index).unwrap_or(&self.0.spare)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for shard in &self.shards {
            for queue in lock(&shard.watchers).values().flatten() {
                queue.close();
            }
        }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("prefix", &self.0.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
