//! The system: the tree, and the way to everything in it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ergane_core::{Durability, Seq, SessionName, Text};
use ergane_otp::SupervisorRef;
use ergane_provider::EmbedRequest;
use ergane_session::{Input, Session, SessionBuilder, SessionContext};
#[cfg(unix)]
use ergane_socket::Socket;
use tokio::time::Instant;
use uuid::Uuid;

use crate::builder::SystemBuilder;
use crate::drain::drain;
use crate::errands::{Embed, ListModels};
use crate::error::SystemError;
use crate::one_shot::OneShot;
#[cfg(unix)]
use crate::reached;
use crate::sessions::{self, SessionInfo};
use crate::tree::{self, Node};

/// A running system. Cheap to clone; it runs until [`shutdown`](System::shutdown), or until its runtime ends. One that is dropped
/// without a shutdown goes on: it keeps its sessions, and its socket beside the journal, of which a process can have 64 on one
/// journal. So shut down what you do not need any more before you start the next.
///
/// ```
/// use ergane::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
/// system.session("alice").start().await?;
/// assert!(system.whereis("alice").await.is_some() && system.whereis("bob").await.is_none());
/// assert_eq!(system.sessions().await?.len(), 1);
/// println!("{:#?}", system.tree().await?);
///
/// let answer = system.query("hello").await?; // one question, nothing kept
/// assert_eq!(answer.finish_reason, FinishReason::Stop);
/// system.shutdown(std::time::Duration::from_secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct System(Arc<Running>);

#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) context: SessionContext,
    pub(crate) root: SupervisorRef,
    pub(crate) started: SystemTime,
    pub(crate) drain: Duration,
    #[cfg(unix)]
    pub(crate) socket: Option<Socket>,
}

impl System {
    pub(crate) fn of(running: Running) -> Self {
        Self(Arc::new(running))
    }

    /// A system to be configured and started.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().start().await?; // no provider yet: sessions cannot be started
    /// assert!(matches!(system.session("alice").start().await, Err(SessionError::NoProvider)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> SystemBuilder {
        SystemBuilder::new()
    }

    /// The system's name.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let first = System::builder().start().await?;
    /// let second = System::builder().start().await?;
    /// assert_eq!((first.name(), second.name()), ("ergane", "ergane-2"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn name(&self) -> &str {
        self.0.context.namespace().prefix()
    }

    /// The session of that name, to be got, started or recovered by `.start()`.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").system_prompt("Be brief.").start().await?;
    /// assert_eq!(alice.name().as_str(), "alice");
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self, name: &str) -> SessionBuilder {
        SessionBuilder::new(self.0.context.clone(), name)
    }

    /// A session with a new name.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let (one, other) = (system.new_session().start().await?, system.new_session().start().await?);
    /// assert_ne!(one.name(), other.name());
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_session(&self) -> SessionBuilder {
        self.session(&format!("s-{}", Uuid::now_v7()))
    }

    /// One model call: no tools, no history, nothing kept. Await it for the result. A model that asks for a tool all the same ends
    /// it with `max_turns`.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let answer = system.query("hello").await?;
    /// assert_eq!((answer.finish_reason, answer.tool_calls_made), (FinishReason::Stop, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn query(&self, prompt: impl Into<Input>) -> OneShot {
        OneShot::new(self.clone(), prompt.into(), true)
    }

    /// One agent run with tools: nothing kept. Await it for the result.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).tools(Tools::all()).start().await?;
    /// let answer = system.run("What does this project depend on?").await?;
    /// assert!(answer.tool_calls_made > 0 && answer.text.contains("ractor"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn run(&self, prompt: impl Into<Input>) -> OneShot {
        OneShot::new(self.clone(), prompt.into(), false)
    }

    /// The models of a provider, by its registered name. Await it for the list.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let models = system.models("scripted").await?;
    /// assert_eq!(&*models[0].id, "scripted");
    /// # Ok(())
    /// # }
    /// ```
    pub fn models(&self, provider: impl Into<Text>) -> ListModels {
        ListModels::new(self.0.context.providers().clone(), provider.into())
    }

    /// Vectors of texts, by a model that is made for it. Await it for the vectors, one for each text.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let made = system.embed("scripted", ["a red fox", "a blue whale"]).dimensions(8).await?;
    /// assert_eq!((made.vectors.len(), made.vectors[0].len()), (2, 8));
    /// # Ok(())
    /// # }
    /// ```
    pub fn embed<T: Into<Text>>(&self, model: impl Into<Text>, texts: impl IntoIterator<Item = T>) -> Embed {
        Embed::new(self.0.context.providers().clone(), EmbedRequest::new(model, texts))
    }

    /// The session of that name, if there is one: live, or stored and brought back by the first thing asked of it. Quarantined,
    /// too. Where the journal cannot be read that is not known, and it is `None` with a warning in the log.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// assert!(system.whereis("alice").await.is_some());
    /// assert!(system.whereis("nobody").await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn whereis(&self, name: &str) -> Option<Session> {
        let name = SessionName::new(name).ok()?;
        for durability in [Durability::Strict, Durability::Off] {
            match self.0.context.journal(durability).position(&name).await {
                // Without a fact it is not there yet: it is being begun, or forked.
                Ok(Some(position)) if position.next_seq > Seq(1) => {
                    return Some(Session::new(self.0.context.clone(), name, durability));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(session = %name, %error, "the journal could not be asked for a session")
                }
            }
        }
        None
    }

    /// Every stored session, by name; those of [`Durability::Off`] are not stored. The live ones are asked whether
    /// their log is damaged; one that does not answer within 2 s is listed as the journal has it.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// let listed = system.sessions().await?;
    /// assert_eq!((listed[0].name.as_str(), listed[0].status), ("alice", "idle"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Journal`] when the journal cannot be read.
    pub async fn sessions(&self) -> Result<Vec<SessionInfo>, SystemError> {
        const PAGE: usize = 1000;
        let port = self.0.context.journal(Durability::Strict);
        let mut sessions: Vec<SessionInfo> = Vec::new();
        loop {
            let page = port.list(sessions.last().map(|last| &last.name), PAGE).await?;
            let is_last = page.len() < PAGE;
            sessions.extend(page.into_iter().map(SessionInfo::from));
            if is_last {
                break;
            }
        }
        sessions::mark_held_up(&self.0.context, &mut sessions).await;
        Ok(sessions)
    }

    /// The supervision tree as data, with what every session does, how every provider stands, and why what waits does.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// # let alice = system.session("alice").start().await?;
    /// println!("{:#?}", system.tree().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Call`] when it does not answer within 5 s.
    pub async fn tree(&self) -> Result<Node, SystemError> {
        let tree = tree::take(&self.0.context, &self.0.root.cell(), self.0.started).await?;
        #[cfg(unix)]
        let tree = self.with_socket(tree);
        Ok(tree)
    }

    #[cfg(unix)]
    fn with_socket(&self, mut tree: Node) -> Node {
        let node = tree.children.iter_mut().find(|child| child.id == reached::ID);
        if let (Some(node), Some(socket)) = (node, &self.0.socket) {
            node.socket = Some(socket.status());
        }
        tree
    }

    /// Lets model calls under way come to their end for a moment ([`SystemBuilder::drain`]), then ends the tree from the
    /// last child to the first. No call of a tool begins from now on but those that only read: the next start runs it. No fact of the end is written: open turns stay open and are gone on with
    /// at the next start. Then nothing of it uses the journal any more, but for a read that hangs beyond the deadline (it
    /// is logged, and lets go when it ends): once the system and its sessions are dropped too, the next one that opens the
    /// journal owns it at once. A thread of a tool that never ends is not waited for (5 s, and it is logged): what it works for stays
    /// owned, so that nobody begins anything beside it, until it ends or the process does.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// let alice = system.session("alice").start().await?;
    /// system.shutdown(std::time::Duration::from_secs(5)).await?;
    /// assert!(alice.send_message("still there?").await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SystemError::Call`] when it has not ended within `deadline`.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), SystemError> {
        let begin = Instant::now();
        self.0.context.end_calls();
        #[cfg(unix)]
        if let Some(socket) = &self.0.socket {
            // Who asks from now on asks the next owner. It may take as long as all of this.
            drop(tokio::time::timeout(deadline, socket.close()).await);
        }
        drain(&self.0.context, self.0.drain.min(deadline / 2)).await;
        let left = || deadline.saturating_sub(begin.elapsed());
        self.0.root.shutdown(left()).await?;
        if !self.0.context.journal(Durability::Strict).at_rest(left()).await {
            tracing::info!("the journal is still read from; it is let go when that ends");
        }
        Ok(())
    }

    /// What every session of this system shares, for programs that work with the lower crates.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let system = System::builder().provider("scripted", Scripted::builtin()).start().await?;
    /// assert_eq!(system.context().namespace().prefix(), system.name());
    /// assert!(system.context().providers().get("scripted").is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn context(&self) -> &SessionContext {
        &self.0.context
    }
}
