//! The session actor, its supervisor, its registry, and the [`Session`] handle.
//!
//! # Why a session is a name
//!
//! A session outlives its actor: killed, it is restarted under its name from its facts; idle, it may only be stored.
//! So what a program holds is a [`Session`], a name with a system behind it. Whatever is asked through it finds the
//! incarnation that lives, waits for the one that starts, and asks again when one dies in between: a send carries an
//! id, so asking twice is asking once.
//!
//! # Rooms
//!
//! `actor` receives, `requests` answers programs, `facts` keeps the two heads, `drive` hands out the model's work,
//! `tools` the tools', `approvals` what waits for a decision; `handle`, `approve`, `steer`, `send`, `awaiting` and `subscription` are what programs hold.

mod actor;
mod anchor;
mod approvals;
mod approve;
mod asking;
mod awaiting;
mod builder;
mod context;
mod control;
mod course;
mod drive;
mod ending;
mod error;
mod event;
mod facts;
mod fork;
mod handle;
mod input;
mod leaving;
mod leftover;
mod loading;
mod message;
mod parked;
mod passivation;
mod reach;
mod requests;
mod result;
mod rewinding;
mod seeing;
mod send;
mod snapshots;
mod status;
mod steer;
mod steering;
mod stream;
mod subscribers;
mod subscription;
mod tools;
mod waiters;
mod writing;

pub use actor::{SessionActor, SessionArgs, State};
pub use anchor::{Anchor, AnchorMsg, AnchorRef, AnchorState};
pub use approve::Approve;
pub use awaiting::{Stop, Turn};
pub use builder::SessionBuilder;
pub use context::{SessionContext, SessionOptions, process_name, session_of_process};
pub use error::SessionError;
pub use event::SessionEvent;
pub use handle::Session;
pub use input::Input;
pub use message::{
    Attached, Decide, Internal, Item, Live, Reply, Send, SessionMsg, Snapshot, Steered, WhenBusy,
};
pub use requests::{INPUT_LIMIT, QUEUE_LIMIT};
pub use result::TurnResult;
pub use send::SendMessage;
pub use status::{Activity, Status};
pub use steer::Steer;
pub use stream::TurnStream;
pub use subscription::Subscription;
