//! A session of another process, as a program holds it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use ergane_core::{Decision, PendingApproval, Point, Seq, SessionName, Text};
use ergane_journal::{Journal, JournalError, Sqlite};
use ergane_session::Input;
use tokio::time::timeout;
use uuid::Uuid;

use crate::client::{Owner, has_ended};
use crate::error::RemoteError;
use crate::remote_turn::RemoteSend;
use crate::remote_words::{RemoteApprove, RemoteSteer};
use crate::tree::Problem;
use crate::wire::{self, Ask, Heard, IDLE, LONGEST, of_point};

/// How long the owner may be silent until it has done what was asked; it gives a sign of life every few seconds, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = Result<T, RemoteError>> + Send>>;

/// A session that another living process owns, on a journal that both know. What is asked of it that process does, with its
/// own tools, keys and files; one that gives no sign of life for 10 s is [`RemoteError::Unreachable`], and does nothing of it when it
/// is back.
///
/// It is the counterpart of [`SessionError::OwnedElsewhere`](ergane_session::SessionError::OwnedElsewhere), and of a shell's
/// `ergane send`, `approve`, `steer` and `interrupt`. Who may connect is who may read and write the journal: its user.
///
/// ```
/// # use ergane::prelude::*;
/// # /// Sends the report.
/// # #[tool(effect = "write")]
/// # async fn send_report() -> &'static str { "sent" }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("ergane.db");
/// # let script = Scripted::replies([ScriptedReply::call("send_report", json!({})), ScriptedReply::text("Done.")]);
/// # let server = System::builder().provider("scripted", script).tool(send_report).journal(Sqlite::open(&path)?).start().await?;
/// # let turn = server.session("alice").ungranted(Ungranted::Ask).start().await?.send_message("Send it.").accepted().await?;
/// # while server.whereis("alice").await.unwrap().approvals().await?.is_empty() { tokio::task::yield_now().await; }
/// use ergane::socket::RemoteSession;
///
/// // In another process than the one that runs her:
/// let alice = RemoteSession::find(&path, "alice").await?.expect("a process runs her");
/// for question in alice.approvals().await? {
///     println!("may {} run with {}?", question.tool, question.arguments);
///     alice.approve(&question, Decision::Allow).by("ann").await?;
/// }
/// # assert_eq!(&*server.whereis("alice").await.unwrap().turn(turn).await?.text, "Done.");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RemoteSession {
    journal: PathBuf,
    name: SessionName,
    pid: u32,
}

impl RemoteSession {
    /// The session of that name, which the process `pid` owns: what
    /// [`SessionError::OwnedElsewhere`](ergane_session::SessionError::OwnedElsewhere) tells. Nothing is looked at yet.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let build = || System::builder().provider("scripted", Scripted::builtin());
    /// # let server = build().journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let system = build().journal(Sqlite::open(&path)?).start().await?;
    /// use ergane::socket::RemoteSession;
    ///
    /// match system.session("alice").start().await {
    ///     Ok(alice) => println!("{} is ours", alice.name()),
    ///     Err(SessionError::OwnedElsewhere { session, pid }) => {
    ///         let alice = RemoteSession::new(&path, session, pid);
    ///         assert!(!alice.interrupt("the office closes").await?, "no turn was open");
    ///         # return Ok(());
    ///     }
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # panic!("she is the server's");
    /// # }
    /// ```
    pub fn new(journal: impl Into<PathBuf>, session: SessionName, pid: u32) -> Self {
        Self { journal: journal.into(), name: session, pid }
    }

    /// The session of that name, if a living process owns it. `None` when nobody does, so that it can be opened here.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// use ergane::socket::RemoteSession;
    ///
    /// let alice = RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// assert_eq!(alice.pid(), std::process::id());
    /// assert!(RemoteSession::find(&path, "bob").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError::BadName`]; [`RemoteError::Journal`] when the journal cannot be read.
    pub async fn find(journal: impl AsRef<Path>, session: &str) -> Result<Option<Self>, RemoteError> {
        let name = SessionName::new(session).map_err(|error| RemoteError::BadName(error.to_string()))?;
        let journal = journal.as_ref().to_owned();
        let (at, asked) = (journal.clone(), name.clone());
        let looked = tokio::task::spawn_blocking(move || {
            if matches!(at.try_exists(), Ok(false)) {
                return Ok(None); // looking makes no journal
            }
            let summary = Sqlite::open(&at)?.summary(&asked)?;
            Ok::<_, JournalError>(summary.and_then(|summary| summary.owner_pid))
        });
        let owner = looked.await.unwrap_or(Err(JournalError::Away))?;
        Ok(owner.map(|pid| Self { journal, name, pid }))
    }

    /// The session's name.
    ///
    /// ```
    /// let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// assert_eq!(alice.name().as_str(), "alice");
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    /// The process that owns it, or did when it was found.
    ///
    /// ```
    /// let alice = ergane::socket::RemoteSession::new("ergane.db", "alice".parse()?, 17);
    /// assert_eq!(alice.pid(), 17);
    /// # Ok::<(), ergane::core::CoreError>(())
    /// ```
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The calls that wait for somebody's decision.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// assert!(alice.approvals().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError`] when the owner cannot be asked, or refuses.
    pub async fn approvals(&self) -> Result<Vec<PendingApproval>, RemoteError> {
        match self.ask(Ask::Approvals { session: self.name.clone() }).await? {
            Heard::Approvals { approvals } => Ok(approvals),
            other => Err(self.otherwise(&other)),
        }
    }

    /// Decides about a call that waits: awaited, the decision is durable. It is bound to the question and to the arguments that
    /// were looked at. The same decision again changes nothing; another one is refused, and told whose came first.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # /// Sends the report.
    /// # #[tool(effect = "write")]
    /// # async fn send_report() -> &'static str { "sent" }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let script = Scripted::replies([ScriptedReply::call("send_report", json!({})), ScriptedReply::text("Not today.")]);
    /// # let server = System::builder().provider("scripted", script).tool(send_report).journal(Sqlite::open(&path)?).start().await?;
    /// # let turn = server.session("alice").ungranted(Ungranted::Ask).start().await?.send_message("Send it.").accepted().await?;
    /// # while server.whereis("alice").await.unwrap().approvals().await?.is_empty() { tokio::task::yield_now().await; }
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// let question = alice.approvals().await?.remove(0);
    /// alice.approve(&question, Decision::deny("not on a Friday")).await?;
    /// let error = alice.approve(&question, Decision::Allow).await.unwrap_err();
    /// assert!(error.to_string().contains("was decided before: deny"));
    /// # assert_eq!(&*server.whereis("alice").await.unwrap().turn(turn).await?.text, "Not today.");
    /// # Ok(())
    /// # }
    /// ```
    pub fn approve(&self, question: &PendingApproval, decision: Decision) -> RemoteApprove {
        let ask = Ask::Approve {
            session: self.name.clone(),
            call: question.call,
            question: Some(question.question),
            arguments: question.digest,
            decision,
            by: None,
        };
        RemoteApprove::new(self.clone(), ask)
    }

    /// Runs a turn there: awaited, its result, or what it waits for. What the owner has taken goes on, whoever dies.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// use ergane::socket::{Outcome, RemoteSession};
    ///
    /// let alice = RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// match alice.send_message("hello").await? {
    ///     Outcome::Ended(result) => println!("{}", result.text),
    ///     Outcome::Waits { questions, key } => println!("decide, and send it again with key {key}: {questions:?}"),
    /// #   _ => panic!("kinds may be added"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_message(&self, input: impl Into<Input>) -> RemoteSend {
        RemoteSend::new(self.clone(), input.into())
    }

    /// Puts a word into the turn that is open there.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// assert_eq!(alice.steer("Be brief.").await?, Steered::TurnOver, "no turn was open");
    /// # Ok(())
    /// # }
    /// ```
    pub fn steer(&self, input: impl Into<Input>) -> RemoteSteer {
        RemoteSteer::new(self.clone(), input.into())
    }

    /// Ends the turn that is open there: returns when that wish is durable. `false` when none is open.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let server = System::builder().provider("scripted", script).journal(Sqlite::open(&path)?).start().await?;
    /// # let turn = server.session("alice").start().await?.send_message("hello").accepted().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// assert!(alice.interrupt("the office closes").await?);
    /// # let ended = server.whereis("alice").await.unwrap().turn(turn).await?;
    /// # assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError`] when the owner cannot be asked, or refuses: with kind `journal` when its journal takes nothing now, and
    /// the turn ends as soon as that does.
    pub async fn interrupt(&self, reason: impl Into<Text>) -> Result<bool, RemoteError> {
        let ask = Ask::Interrupt { session: self.name.clone(), reason: reason.into() };
        self.done(ask).await.map(|done| done != IDLE)
    }

    /// Ends the turn of the send with that key, and no other, as
    /// [`Session::interrupt_send`](ergane_session::Session::interrupt_send) does at home: one that waits for its turn ends as soon as
    /// it begins. `false` of one that had ended otherwise, or is not known there.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let script = Scripted::replies([ScriptedReply { hang: true, ..ScriptedReply::text("Let me think") }]);
    /// # let server = System::builder().provider("scripted", script).journal(Sqlite::open(&path)?).start().await?;
    /// # let turn = server.session("alice").start().await?.send_message("hello").key("greeting").accepted().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// assert!(alice.interrupt_send("greeting", "never mind").await?);
    /// # let ended = server.whereis("alice").await.unwrap().turn(turn).await?;
    /// # assert_eq!(ended.finish_reason, FinishReason::Interrupted);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`interrupt`](Self::interrupt).
    pub async fn interrupt_send(
        &self,
        key: impl Into<Text>,
        reason: impl Into<Text>,
    ) -> Result<bool, RemoteError> {
        let (key, reason) = (key.into(), reason.into());
        let ask = Ask::InterruptSend { session: self.name.clone(), key, reason };
        self.done(ask).await.map(|done| done != IDLE)
    }

    /// Gives the present point of the history a name; its position.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// let begun = alice.checkpoint("begun").await?;
    /// # let log = server.whereis("alice").await.unwrap().status().await?;
    /// # assert_eq!(begun, log.durable);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError`] when the owner cannot be asked, or refuses: the label is none.
    pub async fn checkpoint(&self, label: impl Into<Text>) -> Result<Seq, RemoteError> {
        let ask = Ask::Checkpoint { session: self.name.clone(), label: label.into() };
        self.position(ask).await
    }

    /// Lets the session go on from an earlier point: a position, or the name of a checkpoint. Returns that position.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// let begun = alice.checkpoint("begun").await?;
    /// alice.send_message("hello").await?;
    /// assert_eq!(alice.rewind("begun").await?, begun);
    /// # assert!(server.whereis("alice").await.unwrap().messages().await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError`] when the owner cannot be asked, or refuses: there is no such point, or a turn is open.
    pub async fn rewind(&self, to: impl Into<Point>) -> Result<Seq, RemoteError> {
        let ask = Ask::Rewind { session: self.name.clone(), to: of_point(to.into()) };
        self.position(ask).await
    }

    /// Lifts a quarantine there. Done when the session was brought up and its log could be read.
    ///
    /// ```
    /// # use ergane::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("ergane.db");
    /// # let server = System::builder().provider("scripted", Scripted::builtin()).journal(Sqlite::open(&path)?).start().await?;
    /// # server.session("alice").start().await?;
    /// # let alice = ergane::socket::RemoteSession::find(&path, "alice").await?.expect("a process runs her");
    /// alice.lift().await?; // one that is in none is left as it is
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RemoteError`] when the owner cannot be asked, or the session cannot be brought up.
    pub async fn lift(&self) -> Result<(), RemoteError> {
        self.done(Ask::Lift { session: self.name.clone() }).await.map(drop)
    }

    async fn position(&self, ask: Ask) -> Result<Seq, RemoteError> {
        let done = self.done(ask).await?;
        let seq = done.parse().map(Seq);
        seq.map_err(|_| self.other_build(format!("it answers {done:?} where a position was expected")))
    }

    /// Asks for something that is done at once; what came of it, in a word.
    pub(crate) async fn done(&self, ask: Ask) -> Result<String, RemoteError> {
        match self.ask(ask).await? {
            Heard::Done { done } => Ok(done),
            other => Err(self.otherwise(&other)),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Heard, RemoteError> {
        let mut owner = self.open(ask).await?;
        loop {
            match self.hear_soon(&mut owner).await? {
                Heard::Parked { .. } | Heard::GoesOn { .. } => {} // a sign of life
                heard => return Ok(heard),
            }
        }
    }

    pub(crate) async fn open(&self, ask: Ask) -> Result<Owner, RemoteError> {
        let request = wire::request(ask);
        if request.len() > LONGEST {
            return Err(self.refused(wire::too_long()));
        }
        match timeout(PATIENCE, Owner::ask(&self.journal, self.pid, &request)).await {
            Ok(Ok(Some(owner))) => Ok(owner),
            Ok(Ok(None)) => Err(RemoteError::NoSocket { session: self.name.clone(), pid: self.pid }),
            Ok(Err(error)) if has_ended(&error) => Err(self.ended()),
            Ok(Err(error)) => Err(self.unreachable(format!("which cannot be asked: {error}"))),
            Err(_) => Err(self.unreachable("which does not answer; it may be stopped")),
        }
    }

    pub(crate) async fn hear_soon(&self, owner: &mut Owner) -> Result<Heard, RemoteError> {
        timeout(PATIENCE, self.hear(owner)).await.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(self.unreachable(format!(
                "which did not answer within {seconds} s; it may be stopped: `ergane top` tells"
            )))
        })
    }

    /// Given up in the middle, it goes on with the next call.
    pub(crate) async fn hear(&self, owner: &mut Owner) -> Result<Heard, RemoteError> {
        match owner.hear().await {
            Ok(Some(heard)) => Ok(heard),
            Ok(None) => Err(self.ended()),
            Err(error) => Err(self.refused(error)),
        }
    }

    pub(crate) fn ended(&self) -> RemoteError {
        RemoteError::OwnerEnded { session: self.name.clone(), pid: self.pid, key: None }
    }

    fn refused(&self, problem: Problem) -> RemoteError {
        if wire::is_of_another_build(&problem) {
            return self.other_build(problem.message);
        }
        RemoteError::Refused { session: self.name.clone(), pid: self.pid, problem }
    }

    pub(crate) fn otherwise(&self, heard: &Heard) -> RemoteError {
        self.other_build(format!("it says something else than was asked, {heard:?}"))
    }

    fn other_build(&self, message: String) -> RemoteError {
        RemoteError::OtherBuild { session: self.name.clone(), pid: self.pid, message }
    }

    fn unreachable(&self, why: impl Into<String>) -> RemoteError {
        RemoteError::Unreachable { session: self.name.clone(), pid: self.pid, why: why.into(), key: None }
    }
}

/// A key that nobody has, for what is said to a session. Made by whoever says it and not by the owner: who hears nothing of his word
/// can say it again.
///
/// ```
/// assert_ne!(ergane::socket::new_key(), ergane::socket::new_key());
/// ```
pub fn new_key() -> Text {
    Uuid::now_v7().to_string().into()
}
