//! The socket beside the journal: how another command reaches a process that runs a system on it.
//!
//! # Why a socket and no file of facts
//!
//! What a process is doing is known to that process alone, and only while it lives. A file would have to be kept up to
//! date by one who may be killed; a socket cannot lie, because nobody answers for the dead: a connection to what a
//! killed process left is refused, and whoever is refused removes it.
//!
//! # Rooms
//!
//! `wire` is what is said, `place` is where the sockets are, `server` listens, `client` asks, `snapshot` is a tree as an
//! answer, `turn` runs one for another process. A further ask is a variant of [`wire::Ask`] and an arm in `server`.

pub(crate) mod client;
mod place;
mod server;
mod snapshot;
mod turn;
pub(crate) mod wire;

pub(crate) use server::Server;
