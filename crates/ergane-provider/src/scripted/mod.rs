//! A provider without a model: plays a script, or the small built-in conversation.
//!
//! It is an ordinary provider, so what runs with it is the real thing but for the model: the same actors, the same
//! stream, the same failures. What it answers depends on the request it gets and not on what was asked of it before: the
//! line of a script is chosen by the number of answers in the history. So a process that was killed and started again goes
//! on where the journal is. Only how often a line has failed already is counted here, in memory.

mod builtin;
mod embed;
mod manifests;
mod play;
mod script;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ergane_core::{ModelReply, ModelRequest, ProviderError, Role, Text};

use crate::error::SetupError;
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::port::Limits;
use crate::price::Pricing;
use crate::provider::{BoxFuture, Endpoint, Provider, ProviderCall, invalid};

pub use script::{ScriptedCall, ScriptedError, ScriptedReply, ScriptedUsage};

/// How many failing requests of a function are remembered.
const REMEMBERED: usize = 1024;

/// Plays replies that were written or computed beforehand. Clones share their counts of attempts.
///
/// ```
/// use ergane_provider::{Provider, Scripted, ScriptedReply};
///
/// let echo = Scripted::from_fn(|request, _attempt| {
///     let said = request.messages.last().map(|message| message.text()).unwrap_or_default();
///     ScriptedReply::text(format!("you said: {said}"))
/// });
/// assert_eq!(echo.api(), "scripted");
/// ```
#[derive(Clone)]
pub struct Scripted {
    source: Source,
    /// By line, or by request: how many attempts have failed.
    attempts: Arc<Mutex<HashMap<u64, u32>>>,
}

type ReplyFn = Arc<dyn Fn(&ModelRequest, u32) -> ScriptedReply + Send + Sync>;

#[derive(Clone)]
enum Source {
    Builtin,
    Replies { replies: Arc<[ScriptedReply]>, name: Text },
    Function(ReplyFn),
}

impl Scripted {
    fn new(source: Source) -> Self {
        Self { source, attempts: Arc::default() }
    }

    /// The built-in conversation. It can do one thing: asked what a project depends on, and offered the tools `glob` and
    /// `read`, it looks for manifests, reads them, and answers from what it was shown and from nothing else; asked then which
    /// of these are only for tests, it answers from what the session has of that. To anything else it says what it is and how
    /// to get a real model.
    ///
    /// ```
    /// use ergane_provider::{Provider, Scripted};
    ///
    /// assert_eq!(Scripted::builtin().endpoint(), "the built-in conversation");
    /// ```
    pub fn builtin() -> Self {
        Self::new(Source::Builtin)
    }

    /// Plays a file of JSON lines, each a [`ScriptedReply`]; blank lines and lines that begin with `#` are skipped. The
    /// line that answers is the one at the number of assistant messages in the request.
    ///
    /// ```
    /// use ergane_provider::{Scripted, SetupError};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("talk.jsonl");
    /// std::fs::write(&path, "{\"text\": \"Hello.\"}\n{\"txt\": \"misspelt\"}\n")?;
    /// match Scripted::from_file(&path) {
    ///     Err(SetupError::BadScriptLine { line, .. }) => assert_eq!(line, 2),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SetupError::ScriptUnreadable`]; [`SetupError::BadScriptLine`], which names the line.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SetupError> {
        let path = path.as_ref();
        let replies = script::read(path)?;
        let name = path.display().to_string().into();
        Ok(Self::new(Source::Replies { replies: replies.into(), name }))
    }

    /// Plays these replies, as a file of them.
    ///
    /// ```
    /// use ergane_provider::{Scripted, ScriptedReply};
    /// use serde_json::json;
    ///
    /// // First it looks, then it answers. The third request has no reply, and is an error that says so.
    /// let model = Scripted::replies([
    ///     ScriptedReply::call("read", json!({ "path": "Cargo.toml" })),
    ///     ScriptedReply::text("It depends on ractor."),
    /// ]);
    /// # let _ = model;
    /// ```
    pub fn replies(replies: impl Into<Vec<ScriptedReply>>) -> Self {
        Self::new(Source::Replies { replies: replies.into().into(), name: "a script".into() })
    }

    /// Computes each reply from the request. The second argument counts the attempts at the same request, from 1; requests
    /// are the same when they have as many messages and the same last one.
    ///
    /// ```
    /// use ergane_core::ErrorKind;
    /// use ergane_provider::{Scripted, ScriptedError, ScriptedReply};
    ///
    /// let flaky = Scripted::from_fn(|request, attempt| match attempt {
    ///     1 => ScriptedReply::failing(ScriptedError::new(ErrorKind::Overloaded)),
    ///     _ => ScriptedReply::text(format!("message {}", request.messages.len())),
    /// });
    /// # let _ = flaky;
    /// ```
    pub fn from_fn(reply: impl Fn(&ModelRequest, u32) -> ScriptedReply + Send + Sync + 'static) -> Self {
        Self::new(Source::Function(Arc::new(reply)))
    }

    fn reply(&self, request: &ModelRequest) -> Result<(ScriptedReply, u32), ProviderError> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.source {
            Source::Builtin => Ok((builtin::reply(request), 1)),
            Source::Replies { replies, name } => {
                let answered =
                    request.messages.tally("answers", |message| usize::from(message.role == Role::Assistant));
                let Some(reply) = replies.get(answered) else {
                    return Err(invalid(format!(
                        "the script has ended: {name} has {} replies, and the conversation has {answered} already",
                        replies.len()
                    )));
                };
                let attempt = attempts.entry(answered as u64).or_default();
                *attempt = attempt.saturating_add(1);
                Ok((reply.clone(), *attempt))
            }
            Source::Function(function) => {
                let key = fingerprint(request);
                let attempt = attempts.get(&key).copied().unwrap_or_default().saturating_add(1);
                // The function is the user's: it may take long, or panic.
                drop(attempts);
                let reply = function(request, attempt);
                let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
                if reply.fails_at(attempt) {
                    if attempts.len() >= REMEMBERED {
                        attempts.clear();
                    }
                    attempts.insert(key, attempt);
                } else {
                    attempts.remove(&key);
                }
                Ok((reply, attempt))
            }
        }
    }
}

fn fingerprint(request: &ModelRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.messages.len().hash(&mut hasher);
    if let Some(last) = request.messages.last() {
        last.text().hash(&mut hasher);
        for result in last.results() {
            (result.call, result.text()).hash(&mut hasher);
        }
    }
    hasher.finish()
}

impl Provider for Scripted {
    fn api(&self) -> &'static str {
        "scripted"
    }

    fn default_model(&self) -> Option<Text> {
        Some("scripted".into())
    }

    fn endpoint(&self) -> String {
        match &self.source {
            Source::Builtin => "the built-in conversation".to_owned(),
            Source::Replies { name, .. } => name.to_string(),
            Source::Function(_) => "a script".to_owned(),
        }
    }

    fn with_endpoint(&self, _: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Err(invalid("the scripted provider is no server: it has no base URL and needs no key"))
    }

    /// It plays a model's part, so it costs what the script says, and else nobody knows.
    fn pricing(&self, _: &str) -> Pricing {
        Pricing::Unknown
    }

    /// None: there is no server to spare.
    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let (reply, attempt) = this.reply(&call.request)?;
            play::play(reply, attempt, call).await
        })
    }

    fn list_models(&self) -> BoxFuture<'static, Result<Vec<ModelInfo>, ProviderError>> {
        let mut only = ModelInfo::new("scripted");
        only.tools = Some(true);
        only.embedding = Some(true);
        Box::pin(std::future::ready(Ok(vec![only])))
    }

    fn embed(&self, request: EmbedRequest) -> BoxFuture<'static, Result<Embeddings, ProviderError>> {
        Box::pin(std::future::ready(Ok(embed::embed(&request))))
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scripted").field(&self.endpoint()).finish()
    }
}

#[cfg(test)]
mod tests;
