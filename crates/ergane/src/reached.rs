//! How other processes reach a system: its socket, where its journal is a file, and what that tells of its tree.

use std::time::SystemTime;

use ergane_journal::Journal;
use ergane_session::SessionContext;
use ergane_socket::{Node as Told, Problem, Socket, Trees};

use crate::tree::{self, Node};

/// The socket's id in the tree.
pub(crate) const ID: &str = "socket";

/// The socket of a system whose journal is a file.
pub(crate) fn socket(journal: &dyn Journal, context: &SessionContext, started: SystemTime) -> Option<Socket> {
    let looked = context.clone();
    let trees = Trees::new(move || take(looked.clone(), started));
    Some(Socket::new(journal.file()?, context.clone(), trees))
}

async fn take(context: SessionContext, started: SystemTime) -> Result<Told, Problem> {
    let gone = |why: String| Problem::new("internal", why);
    let root = context.namespace().whereis("root").ok_or_else(|| gone("the system has ended".to_owned()))?;
    let tree = tree::take(&context, &root, started).await.map_err(|error| gone(error.to_string()))?;
    Ok(told(tree, SystemTime::now()))
}

fn told(node: Node, now: SystemTime) -> Told {
    let Node { id, pid, kind, restarts, status, started_at, session, provider, children, .. } = node;
    let mut told = Told::new(id, kind, &status);
    if let Some(started) = started_at {
        told = told.since(started, now);
    }
    if let Some(session) = &session {
        told = told.session(session);
    }
    told.pid = pid.map(|pid| pid.to_string());
    told.restarts = restarts;
    told.provider = provider.map(|status| Box::new(status.into()));
    told.children = children.into_iter().map(|child| self::told(child, now)).collect();
    told
}
