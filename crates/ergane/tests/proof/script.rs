//! A conversation with everything in it, whose every turn is the same whenever it is held again.

use std::sync::Arc;
use std::time::Duration;

use ergane::core::{Effect, Message, ModelRequest};
use ergane::journal::Journal;
use ergane::prelude::*;
use ergane::tool_support::{ToolError, ToolFuture};
use ergane_testkit::{EffectLog, StopAt, World};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

/// Long enough that only a hang meets it; the clock is paused, so it is over at once when nothing moves.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// What is said, turn by turn, and whether the turn is interrupted once it has got as far as it gets.
pub(crate) type Talk = [(&'static str, bool)];

/// Everything.
pub(crate) const TALK: &Talk = &[
    ("hello", false),
    ("look at both", false),
    ("change things", false),
    ("talk on and on", true),
    ("save one more", false),
    ("dig", true),
    ("bye", false),
];

/// What recovery has rules for, and no more: short enough to die twice everywhere.
pub(crate) const SHORT_TALK: &Talk = &[("change things", false), ("dig", true), ("bye", false)];

/// The model. What it answers follows from what it is asked, so it is the same in every life.
fn model(request: &ModelRequest, interrupt: &Notify) -> ScriptedReply {
    // Users' messages that follow each other are merged: the last part is what was said last.
    let asked = request.messages.iter().rev().find(|message| message.role == Role::User).unwrap();
    let said =
        Message { parts: asked.parts.last().cloned().into_iter().collect(), ..Message::clone(asked) }.text();
    let rounds = request.messages.iter().rev().take_while(|message| message.role != Role::User);
    let rounds = rounds.filter(|message| message.role == Role::Tool).count();
    match (said.as_str(), rounds) {
        ("look at both", 0) => {
            ScriptedReply::call("look", json!({"at": "a"})).and_call("look", json!({"at": "b"}))
        }
        ("change things", 0) => ScriptedReply::call("look", json!({"at": "c"}))
            .and_call("save", json!({"n": 1}))
            .and_call("put", json!({"n": 2}))
            .and_call("put", json!({"n": 3}))
            .and_call("save", json!({"n": 4})),
        ("change things", 1) => ScriptedReply::call("save", json!({"n": 5})),
        ("save one more", 0) => ScriptedReply::call("save", json!({"n": 6})),
        ("dig", 0) => ScriptedReply::call("look", json!({"at": "d"})).and_call("dig", json!({})),
        ("talk on and on", _) => {
            interrupt.notify_one();
            ScriptedReply { hang: true, ..ScriptedReply::text("well, you know, ") }
        }
        (said, rounds) => ScriptedReply::text(format!("that was {said}, after {rounds} rounds")),
    }
}

/// A tool of the script. It does what it does at once, all but `dig`, which never comes to its end.
pub(crate) struct Hand {
    pub(crate) name: &'static str,
    pub(crate) effect: Effect,
    pub(crate) effects: EffectLog,
    pub(crate) interrupt: Arc<Notify>,
}

impl Tool for Hand {
    fn name(&self) -> &str {
        self.name
    }

    fn description(&self) -> &str {
        "a tool of the script"
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {}})
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn call(&self, ctx: ToolContext, arguments: Map<String, Value>) -> ToolFuture {
        let (name, effects, interrupt) = (self.name, self.effects.clone(), Arc::clone(&self.interrupt));
        Box::pin(async move {
            let what = Value::from(arguments);
            effects.did(&format!("{name} {what}"), ctx.idempotency_key()).map_err(ToolError::failed)?;
            if name == "dig" {
                interrupt.notify_one();
                ctx.cancelled().await;
                return Err(ToolError::Cancelled);
            }
            Ok(format!("{name} {what} is done").into())
        })
    }
}

/// What is on the disk and in the world: it outlives every process.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) store: Arc<dyn Journal>,
    pub(crate) effects: EffectLog,
}

/// One life of the process: it opens the journal, holds the conversation from its beginning (what was said before is only
/// asked for), and ends; or it dies where the world stops.
pub(crate) struct Life {
    pub(crate) world: World,
    /// The results, when it came to the end.
    pub(crate) results: Option<Vec<TurnResult>>,
}

pub(crate) async fn live(outside: &Outside, turns: &Talk, stop: Option<StopAt>) -> Life {
    let world = stop.map_or_else(World::new, World::stopping);
    let interrupt = Arc::new(Notify::new());
    let asked = Arc::clone(&interrupt);
    let model = Scripted::from_fn(move |request, _| model(request, &asked));
    let tools =
        [("look", Effect::Read), ("dig", Effect::Read), ("put", Effect::Idempotent), ("save", Effect::Write)];
    let tools = tools.map(|(name, effect)| {
        let hand = Hand { name, effect, effects: outside.effects.clone(), interrupt: Arc::clone(&interrupt) };
        world.tool(Arc::new(hand))
    });
    let system = System::builder()
        .provider("test", world.provider(model))
        .tools(tools)
        .journal(world.journal(Arc::clone(&outside.store)))
        .start()
        .await
        .unwrap();
    let results = tokio::select! {
        biased;
        () = world.stopped() => None,
        results = tokio::time::timeout(LONG, talk(&system, turns, &interrupt)) => {
            Some(results.unwrap_or_else(|_| panic!("the conversation stands still: {world:#?}")))
        }
    };
    system.shutdown(LONG).await.unwrap();
    Life { world, results }
}

async fn talk(system: &System, turns: &Talk, interrupt: &Notify) -> Vec<TurnResult> {
    let alice = system.session("alice").allow(["look", "dig", "put", "save"]).start().await.unwrap();
    let mut results = Vec::new();
    for (index, (text, interrupted)) in turns.iter().enumerate() {
        let send = alice.send_message(*text).key(format!("key-{index}")).into_future();
        tokio::pin!(send);
        results.push(loop {
            tokio::select! {
                biased;
                result = &mut send => break result.unwrap(),
                () = interrupt.notified(), if *interrupted => {
                    alice.interrupt("enough").await.unwrap();
                }
            }
        });
    }
    results
}

/// A message without what differs from life to life: the number of its turn, and who answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Said {
    role: Role,
    text: String,
    calls: Vec<(u32, String, String)>,
    pub(crate) results: Vec<Got>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Got {
    index: u32,
    pub(crate) tool: String,
    pub(crate) text: String,
    is_error: bool,
}

/// What a call is told that was cut off, and what the model reads.
pub(crate) const CUT_OFF: &str = "cut off by a crash";

pub(crate) fn said<'a>(messages: impl IntoIterator<Item = &'a Arc<Message>>) -> Vec<Said> {
    let of = |message: &Arc<Message>| Said {
        role: message.role,
        text: message.text(),
        calls: message
            .calls()
            .map(|call| (call.id.index, call.name.to_string(), call.arguments.to_string()))
            .collect(),
        results: message
            .results()
            .map(|result| Got {
                index: result.call.index,
                tool: result.name.to_string(),
                text: result.text(),
                is_error: result.is_error,
            })
            .collect(),
    };
    messages.into_iter().map(of).collect()
}

/// The same, without the only differences that a crash may make: a write that was cut off counts as one that was done, and
/// who says that `dig` was interrupted is all one, the tool in its grace or the next process in its stead.
pub(crate) fn forgiven(mut said: Vec<Said>) -> Vec<Said> {
    for got in said.iter_mut().flat_map(|said| &mut said.results) {
        match &*got.tool {
            "save" => (got.text, got.is_error) = ("it was done, or cut off".into(), false),
            "dig" if got.is_error && got.text.contains("interrupted") => got.text = "interrupted".into(),
            _ => {}
        }
    }
    said
}
