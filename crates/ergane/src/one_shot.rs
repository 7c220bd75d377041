//! One question, nothing kept: a session of its own that ends with its turn.
//!
//! There is one way to run a turn, and this is it too; only the session lives in memory and nobody learns its name.

use std::future::{Future, IntoFuture};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use ergane_core::{Durability, SettingsPatch, Text};
use ergane_session::{Input, Session, SessionBuilder, SessionError, TurnResult, TurnStream};
use uuid::Uuid;

use crate::system::System;

/// One question. Awaited, it is the result of its turn; dropped before that, the turn is given up.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited or streamed"]
pub struct OneShot {
    session: SessionBuilder,
    system: System,
    input: Input,
    deadline: Option<Duration>,
}

impl OneShot {
    pub(crate) fn new(system: System, input: Input) -> Self {
        let session = system.session(&format!("once/{}", Uuid::now_v7())).durability(Durability::Off);
        Self { session, system, input, deadline: None }
    }

    /// The registered name of the provider. Default: the first one registered.
    pub fn provider(mut self, name: impl Into<Text>) -> Self {
        self.session = self.session.provider(name);
        self
    }

    /// The model at the provider. Default: the provider's.
    pub fn model(mut self, model: impl Into<Text>) -> Self {
        self.session = self.session.model(model);
        self
    }

    /// The system prompt. Default: none.
    pub fn system_prompt(mut self, prompt: impl Into<Text>) -> Self {
        self.session = self.session.system_prompt(prompt);
        self
    }

    /// The names of the tools offered. Default: none for a query, all registered for a run.
    pub fn tools<T: Into<Text>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.session = self.session.tools(names);
        self
    }

    /// The folder that relative paths start from. Default: the one the process runs in.
    pub fn cwd(mut self, folder: impl AsRef<Path>) -> Self {
        self.session = self.session.cwd(folder);
        self
    }

    /// Several settings at once.
    pub fn settings(mut self, patch: SettingsPatch) -> Self {
        self.session = self.session.settings(patch);
        self
    }

    /// Gives up after `deadline`, and the turn with it. Default: none.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// What happens as it happens, and then the result.
    ///
    /// # Errors
    /// As awaiting it.
    pub async fn stream(self) -> Result<OneShotStream, SessionError> {
        let Self { session, system, input, deadline } = self;
        let guard = Guard { session: Some(session.start().await?), system };
        let mut send = guard.session()?.send_message(input);
        if let Some(deadline) = deadline {
            send = send.deadline(deadline);
        }
        Ok(OneShotStream { stream: send.stream().await?, guard })
    }
}

impl IntoFuture for OneShot {
    type Output = Result<TurnResult, SessionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.stream().await?.result().await })
    }
}

/// What happens in a one-shot turn, and then its result. Dropping it gives the turn up.
#[derive(Debug)]
pub struct OneShotStream {
    stream: TurnStream,
    guard: Guard,
}

impl OneShotStream {
    /// The next event; `None` when the turn is over: [`result`](Self::result) tells.
    pub async fn next(&mut self) -> Option<ergane_session::SessionEvent> {
        self.stream.next().await
    }

    /// Ends the turn: see [`Session::interrupt`].
    ///
    /// # Errors
    /// As [`Session::interrupt`].
    pub async fn interrupt(&self, reason: &str) -> Result<bool, SessionError> {
        self.guard.session()?.interrupt(reason).await
    }

    /// The session that the question lives in, for as long as it lasts.
    pub fn session(&self) -> Option<&Session> {
        self.guard.session.as_ref()
    }

    /// The result.
    ///
    /// # Errors
    /// [`SessionError`] when the turn could not be run, or the deadline passed.
    pub async fn result(self) -> Result<TurnResult, SessionError> {
        let Self { stream, guard } = self;
        let result = stream.result().await;
        drop(guard);
        result
    }
}

/// Ends the session, and forgets it, however its question ends.
#[derive(Debug)]
struct Guard {
    session: Option<Session>,
    system: System,
}

impl Guard {
    fn session(&self) -> Result<&Session, SessionError> {
        self.session.as_ref().ok_or_else(|| SessionError::System("the question is over".to_owned()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) = (self.session.take(), tokio::runtime::Handle::try_current())
        else {
            return; // without a runtime nothing of it lives either
        };
        let context = self.system.context().clone();
        runtime.spawn(async move {
            let ended =
                context.sessions().terminate_child(&session.process_name(), Duration::from_secs(30)).await;
            match ended {
                Ok(()) => {}
                // The system is over, and all that it had in memory with it.
                Err(ergane_otp::ChildError::NoSupervisor) => return,
                Err(error) => tracing::warn!(%error, "a one-shot session did not end"),
            }
            if let Err(error) = context.journal(Durability::Off).delete(session.name()).await {
                tracing::warn!(%error, "a one-shot session was not forgotten");
            }
        });
    }
}
