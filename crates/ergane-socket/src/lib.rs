//! How a process reaches the sessions of another on the same journal: a socket beside it.
//!
//! A session is owned by one living process, and nobody else may write to it. So whoever wants something of it asks that
//! process: `ergane approve` beside a server, a second terminal, a program of your own with a [`RemoteSession`]. Every
//! system whose journal is a file answers, the `ergane` command's and yours, unless it was told not to.
//!
//! # Why a socket and no file of facts
//!
//! What a process is doing is known to that process alone, and only while it lives. A file would have to be kept up to
//! date by one who may be killed; a socket cannot lie, because nobody answers for the dead: a connection to what a
//! killed process left is refused, and whoever is refused removes it.
//!
//! # Who may ask
//!
//! The folder of the sockets belongs to its user, and nobody else may enter it (0700; the sockets are 0600). Who may connect may
//! do all that the owner may do with its sessions: run turns with its tools, allow calls, read what they answer. There is no
//! further password, as there is none to the journal itself, which the same user can read and write.
//!
//! # Rooms
//!
//! `wire` is what is said and `tree` how a tree is told, both pure; `place` is where the sockets are, `bound` one that has
//! its place; `socket` is a
//! system's own and stands in its tree, `server` listens, `answer` does what is asked, `turn` runs a turn for another process, `asker` is that one; `client` asks, `remote` is what programs hold. A further ask
//! is a variant of `wire::Ask` and an arm in `answer`.
#![cfg(unix)]

mod answer;
mod asker;
mod bound;
mod client;
mod error;
mod place;
mod remote;
mod remote_turn;
mod remote_words;
mod server;
mod siblings;
mod socket;
mod tree;
mod trees;
mod turn;
mod wire;

pub use client::{is_anybody_there, processes};
pub use error::RemoteError;
pub use remote::{RemoteSession, new_key};
pub use remote_turn::{Outcome, RemoteSend, RemoteTurn, Told};
pub use remote_words::{RemoteApprove, RemoteSteer};
pub use socket::{Socket, SocketStatus};
pub use tree::{Left, Node, Problem, Process, Standing};
pub use trees::Trees;
