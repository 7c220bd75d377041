//! OTP on ractor, useful without any LLM: child specs, supervisors, scopes, names, calls with deadlines, monitors.
//!
//! ractor gives actors, links and supervision events. What it leaves to its user is what makes supervision trustworthy: that a
//! successor never runs beside its predecessor, that a name means one living actor, that a caller hears of its callee's
//! death at once, that nothing an actor started outlives it unnoticed. This crate is that part.
//!
//! # A supervisor
//!
//! Children start in order and end in reverse. One that crashes is started again under its name, but only when the former
//! one is truly gone: its task awaited, its state dropped, its [`Scope`] drained.
//!
//! ```
//! use std::time::Duration;
//! use ergane_otp::{ChildSpec, Intensity, Namespace, Supervisor, call_name};
//! use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
//!
//! struct Counter;
//!
//! enum Msg {
//!     Next(RpcReplyPort<u64>),
//!     Crash,
//! }
//!
//! impl Actor for Counter {
//!     type Msg = Msg;
//!     type State = u64;
//!     type Arguments = u64;
//!
//!     async fn pre_start(&self, _: ActorRef<Msg>, first: u64) -> Result<u64, ActorProcessingErr> {
//!         Ok(first)
//!     }
//!
//!     async fn handle(&self, _: ActorRef<Msg>, msg: Msg, count: &mut u64) -> Result<(), ActorProcessingErr> {
//!         match msg {
//!             Msg::Next(reply) => {
//!                 *count += 1;
//!                 // A caller that gave up is no reason to fail.
//!                 reply.send(*count).ok();
//!             }
//!             Msg::Crash => return Err("out of numbers".into()),
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let names = Namespace::new("shop");
//! let counter = ChildSpec::actor("counter", |_context| (Counter, 100));
//! let root = Supervisor::start(&names, "root", Intensity::default(), vec![counter], None).await?;
//!
//! let deadline = Duration::from_secs(5);
//! assert_eq!(call_name(&names, "counter", Msg::Next, deadline).await?, 101);
//!
//! // A call to a name waits for the restart.
//! let monitor = names.monitor("counter");
//! let counter = names.wait_for("counter", deadline).await?;
//! counter.send_message(Msg::Crash)?;
//! assert_eq!(monitor.await.reason.to_string(), "error: out of numbers");
//! assert_eq!(call_name(&names, "counter", Msg::Next, deadline).await?, 101);
//!
//! root.shutdown(deadline).await?;
//! assert!(names.names().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! [`Supervisor::builder`] knows the other strategies, one_for_all and rest_for_one; [`SupervisorRef`] and, for a supervisor
//! within a tree, [`SupervisorHandle`] start, end, restart and delete children at run time.
//!
//! # A dynamic supervisor
//!
//! Any number of children, started at run time, each with a budget of restarts of its own. One that uses it up is
//! quarantined: it stays listed with the reason, until somebody lifts that.
//!
//! ```
//! use std::time::Duration;
//! use ergane_otp::*;
//! # use ractor::{Actor, ActorProcessingErr, ActorRef};
//! # struct Worker;
//! # impl Actor for Worker {
//! #     type Msg = ();
//! #     type State = ();
//! #     type Arguments = ();
//! #     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> { Ok(()) }
//! # }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let names = Namespace::new("works");
//! let budget = RestartBudget { max_restarts: 0, ..RestartBudget::default() };
//! let pool = DynamicSupervisor::child_spec("workers", DynamicOptions::new().budget(budget));
//! let root = Supervisor::start(&names, "root", Intensity::default(), vec![pool], None).await?;
//!
//! let workers = DynamicSupervisorRef::new(&names, "workers");
//! let deadline = Duration::from_secs(5);
//! let spec = ChildSpec::actor("worker/7", |_context| (Worker, ())).restart(Restart::Transient);
//! let worker = workers.start_child(spec.clone(), deadline).await?;
//! assert!(matches!(workers.start_child(spec.clone(), deadline).await, Err(StartError::AlreadyStarted(_))));
//!
//! // Its budget is 0, so the first crash is one too many.
//! let mut watch = names.watch("worker/7");
//! worker.kill();
//! while !matches!(watch.next().await, Some(Incarnation::Quarantined { .. })) {}
//! assert_eq!(workers.quarantined().await?.len(), 1);
//!
//! workers.release("worker/7").await?;
//! workers.start_child(spec, deadline).await?;
//! workers.terminate_child("worker/7", deadline).await?;
//! root.shutdown(deadline).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # A task supervisor
//!
//! [`TaskSupervisor`] holds actors that carry out one piece of work and end with it. They cost a third of a child that can be
//! started again, and starting one needs no message.
//!
//! # Calls and monitors
//!
//! [`call`] (by reference) and [`call_name`] (by name) have a deadline, and an error that tells nobody there, died in
//! mid-call, too slow, and oneself apart. A [`Monitor`] tells once when an incarnation ends, a [`Watch`] follows a name.
//!
//! ```
//! use std::time::Duration;
//! use ergane_otp::{CallError, ExitReason, Monitor, call};
//! use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
//!
//! struct Mute;
//!
//! impl Actor for Mute {
//!     type Msg = RpcReplyPort<()>;
//!     type State = Vec<RpcReplyPort<()>>;
//!     type Arguments = ();
//!
//!     async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<Self::State, ActorProcessingErr> {
//!         Ok(Vec::new())
//!     }
//!
//!     async fn handle(
//!         &self,
//!         _: ActorRef<Self::Msg>,
//!         reply: Self::Msg,
//!         kept: &mut Self::State,
//!     ) -> Result<(), ActorProcessingErr> {
//!         kept.push(reply);
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mute, join) = Actor::spawn(None, Mute, ()).await?;
//! let asked = call(&mute, |reply| reply, Duration::from_millis(1)).await;
//! assert_eq!(asked, Err(CallError::Timeout));
//!
//! // Plain async code can monitor; no actor is needed to be told.
//! let monitor = Monitor::of(&mute);
//! mute.stop(None);
//! let down = monitor.await;
//! assert_eq!(down.pid, Some(mute.get_id()));
//! // No supervisor of this crate started it, so nobody knows how it ended.
//! assert_eq!(down.reason, ExitReason::NoProc);
//! join.await?;
//! assert_eq!(call(&mute, |reply| reply, Duration::from_secs(5)).await, Err(CallError::NoProc));
//! # Ok(())
//! # }
//! ```
//!
//! # Rules for an actor under these supervisors
//!
//! - Everything it starts belongs into its [`StartContext::scope`]: tasks, timers, child actors, cleanups.
//! - It overrides `handle_supervisor_evt` (ractor's default stops the actor when any child or monitored actor ends).
//! - A handler returns soon. One that blocks its thread cannot be ended; its child is then *stuck*: not started again, its
//!   name held, until it is gone.
//! - It never re-links a child of a supervisor: ractor changes the parent without telling the former one.

mod budget;
mod call;
mod child;
mod child_task;
mod children;
mod dynamic;
mod dynamic_actor;
mod dynamic_state;
mod entry;
mod error;
mod events;
mod exit;
mod idle;
mod life;
mod lock;
mod monitor;
mod names;
mod pids;
mod promise;
mod scope;
mod spec;
mod supervised;
mod supervisor;
mod supervisor_actor;
mod supervisor_commands;
mod supervisor_handle;
mod supervisor_reports;
mod supervisor_round;
mod supervisor_state;
mod task;
mod task_supervisor;
mod tree;
mod until;
mod watch;

pub use budget::{Backoff, Intensity, RestartBudget};
pub use call::{CallError, Callee, call, call_name, cast, cast_name};
pub use children::{ChildCounts, ChildInfo};
pub use dynamic::{DynamicOptions, DynamicSupervisor, DynamicSupervisorRef};
pub use entry::EntryStatus;
pub use error::{ChildError, StartError};
pub use events::TRACING_TARGET;
pub use exit::{ExitReason, record_panic_locations};
pub use idle::{IdleTimer, IdleToken};
pub use monitor::{Down, DownNote, Monitor, MonitorRef};
pub use names::Namespace;
pub use promise::Promise;
pub use scope::{DrainGuard, Hold, Leftovers, Scope, TaskHandle};
pub use spec::{
    ChildKind, ChildSpec, ChildTemplate, DEFAULT_GRACE, DEFAULT_SHUTDOWN, Restart, Shutdown, StartContext,
    Started,
};
pub use supervisor::{Strategy, Supervisor, SupervisorBuilder, SupervisorRef};
pub use supervisor_handle::SupervisorHandle;
pub use task::spawn_now;
pub use task_supervisor::{TaskSupervisor, TaskSupervisorRef};
pub use tree::{TreeNode, tree};
pub use until::until;
pub use watch::{Incarnation, WATCH_CAPACITY, Watch};

// What crosses threads is checked where it is made, not where a user first tries.
const _: () = {
    const fn crosses_threads<T: Send + Sync + 'static>() {}
    crosses_threads::<Namespace>();
    crosses_threads::<Scope>();
    crosses_threads::<ChildSpec>();
    crosses_threads::<StartContext>();
    crosses_threads::<SupervisorRef>();
    crosses_threads::<SupervisorHandle>();
    crosses_threads::<DynamicSupervisorRef>();
    crosses_threads::<TaskSupervisorRef>();
    crosses_threads::<StartError>();
    crosses_threads::<CallError>();
    crosses_threads::<Watch>();
    const fn moves_between_threads<T: Send + 'static>() {}
    moves_between_threads::<Monitor>();
    moves_between_threads::<DrainGuard>();
    moves_between_threads::<Hold>();
};

/// The examples of the topic pages, compiled and run.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/otp/supervisors.md")]
    mod supervisors {}
    #[doc = include_str!("../../../docs/otp/dynamic.md")]
    mod dynamic {}
    #[doc = include_str!("../../../docs/otp/names.md")]
    mod names {}
    #[doc = include_str!("../../../docs/otp/calls.md")]
    mod calls {}
    #[doc = include_str!("../../../docs/otp/monitors.md")]
    mod monitors {}
    #[doc = include_str!("../../../docs/otp/scopes.md")]
    mod scopes {}
}
