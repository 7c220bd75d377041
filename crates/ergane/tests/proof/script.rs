//! A conversation with everything in it, whose every turn is the same whenever it is held again.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ergane::core::{Effect, Envelope, EventKind, Message, ModelRequest, Point, Seq};
use ergane::journal::Journal;
use ergane::prelude::*;
use ergane::tool_support::{ToolError, ToolFuture};
use ergane_testkit::{EffectLog, StopAt, World};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

/// Long enough that only a hang meets it; the clock is paused, so it is over at once when nothing moves.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// What is done in a conversation, one thing after the other. What the log shows to be done is not done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Something is said, and its turn comes to its end.
    Say(&'static str),
    /// The same; the turn is interrupted once it has got as far as it gets.
    Interrupt(&'static str),
    /// The same; this word is put in once it has got as far as it gets, and cuts the answer under way.
    Steer(&'static str, &'static str),
    /// The same; calls wait for somebody, who allows those with an odd number and denies the others.
    Decide(&'static str),
    /// The point gets a name.
    Checkpoint(&'static str),
    /// The conversation goes on from that point.
    Rewind(&'static str),
    /// Another session goes on from here.
    Fork(&'static str),
    /// A tool is granted for good.
    Grant(&'static str),
}

impl Act {
    /// What is said, when a turn answers it.
    pub(crate) fn said(self) -> Option<&'static str> {
        match self {
            Self::Say(text) | Self::Interrupt(text) | Self::Steer(text, _) | Self::Decide(text) => Some(text),
            _ => None,
        }
    }
}

use Act::{Checkpoint, Decide, Fork, Grant, Interrupt, Rewind, Say, Steer};

pub(crate) type Talk = [Act];

/// Everything that goes on between a model and its tools.
pub(crate) const TALK: &Talk = &[
    Say("hello"),
    Say("look at both"),
    Say("change things"),
    Interrupt("talk on and on"),
    Say("save one more"),
    Interrupt("dig"),
    Say("bye"),
];

/// What recovery has rules for, and no more: short enough to die twice everywhere.
pub(crate) const SHORT_TALK: &Talk = &[Say("change things"), Interrupt("dig"), Say("bye")];

/// Everything that people do in the middle of it, and to its history.
pub(crate) const TALK_WITH_PEOPLE: &Talk = &[
    Say("hello"),
    Checkpoint("greeted"),
    Decide("ask leave"),
    Steer("think aloud", "in short"),
    Say("run a shell"),
    Fork("bob"),
    Rewind("greeted"),
    Grant("sign"),
    Say("sign one more"),
    Interrupt("dig"),
    Say("bye"),
];

/// The same, as short as it goes.
pub(crate) const SHORT_TALK_WITH_PEOPLE: &Talk =
    &[Decide("ask leave"), Steer("think aloud", "in short"), Say("run a shell")];

/// The tools that change the world, each call at most once.
pub(crate) const WRITES: [&str; 3] = ["save", "sign", "shell"];

/// How far a turn has got: as far as it gets by itself.
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    /// Until it is interrupted.
    pub(crate) to_interrupt: Arc<Notify>,
    /// Until something is put in.
    to_steer: Notify,
}

/// In this turn a first answer never comes to its end.
pub(crate) fn hangs(said: &str) -> bool {
    matches!(said, "talk on and on" | "think aloud")
}

/// The model. What it answers follows from what it is asked, so it is the same in every life.
fn model(request: &ModelRequest, stuck: &Stuck) -> ScriptedReply {
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
        ("ask leave", 0) => ScriptedReply::call("sign", json!({"n": 1})).and_call("sign", json!({"n": 2})),
        ("sign one more", 0) => ScriptedReply::call("sign", json!({"n": 4})),
        ("run a shell", 0) => ScriptedReply::call("shell", json!({"n": 8})),
        (said, _) if hangs(said) => {
            let wish = if said == "think aloud" { &stuck.to_steer } else { &*stuck.to_interrupt };
            wish.notify_one();
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
            if name == "shell" {
                // Of a process that was never there: nothing is to be ended.
                ctx.record_process(1, 1).await?;
            }
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

impl Outside {
    /// What is in the log of a session.
    pub(crate) fn log(&self, session: &str) -> Vec<Arc<Envelope>> {
        let session = session.parse().unwrap();
        match self.store.position(&session).unwrap() {
            Some(position) if position.next_seq > Seq(1) => {
                self.store.load(&session, Seq(0), position.next_seq).unwrap()
            }
            _ => Vec::new(),
        }
    }
}

/// One life of the process: it opens the journal, holds the conversation from its beginning (what was said before is only
/// asked for), and ends; or it dies where the world stops.
pub(crate) struct Life {
    pub(crate) world: World,
    /// The results, when it came to the end.
    pub(crate) results: Option<Vec<TurnResult>>,
}

pub(crate) async fn live(outside: &Outside, acts: &Talk, stop: Option<StopAt>) -> Life {
    let world = stop.map_or_else(World::new, World::stopping);
    let stuck = Arc::<Stuck>::default();
    let asked = Arc::clone(&stuck);
    let model = Scripted::from_fn(move |request, _| model(request, &asked));
    let tools = [
        ("look", Effect::Read),
        ("dig", Effect::Read),
        ("put", Effect::Idempotent),
        ("save", Effect::Write),
        ("sign", Effect::Write),
        ("shell", Effect::Write),
    ];
    let tools = tools.map(|(name, effect)| {
        let (effects, interrupt) = (outside.effects.clone(), Arc::clone(&stuck.to_interrupt));
        world.tool(Arc::new(Hand { name, effect, effects, interrupt }))
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
        results = tokio::time::timeout(LONG, talk(&system, outside, acts, &stuck)) => {
            Some(results.unwrap_or_else(|_| panic!("the conversation stands still: {world:#?}")))
        }
    };
    system.shutdown(LONG).await.unwrap();
    Life { world, results }
}

async fn talk(system: &System, outside: &Outside, acts: &Talk, stuck: &Stuck) -> Vec<TurnResult> {
    let mut alice = system.session("alice").ungranted(Ungranted::Ask);
    if outside.log("alice").is_empty() {
        // Once: what is granted later is to stay so.
        alice = alice.grant(["put", "save", "shell"]);
    }
    let alice = alice.start().await.unwrap();
    let done = |kind| outside.log("alice").iter().any(|fact| fact.event.kind() == kind);
    let mut results = Vec::new();
    for (index, act) in acts.iter().enumerate() {
        match act {
            Checkpoint(label) if !done(EventKind::Checkpointed) => {
                alice.checkpoint(*label).await.unwrap();
            }
            Rewind(label) if !done(EventKind::Rewound) => {
                alice.rewind(*label).await.unwrap();
            }
            Fork(name) if outside.log(name).is_empty() => {
                match alice.fork(name, Point::Now).await {
                    Ok(_) => {}
                    // The world has stopped: there is nobody any more who could go on.
                    Err(SessionError::Journal(_) | SessionError::NotForked { .. }) => pending().await,
                    Err(error) => panic!("the fork: {error}"),
                }
            }
            Grant(tool) => alice.grant(*tool).await.unwrap(),
            Checkpoint(_) | Rewind(_) | Fork(_) => {}
            Say(text) | Interrupt(text) | Steer(text, _) | Decide(text) => {
                results.push(turn(&alice, *act, text, &format!("key-{index}"), stuck).await);
            }
        }
    }
    results
}

async fn turn(alice: &Session, act: Act, text: &str, key: &str, stuck: &Stuck) -> TurnResult {
    let mut listening = alice.subscribe(None).await.unwrap();
    // What is asked from here on is listened to; what was asked before is looked for.
    decide(alice, act).await;
    let send = alice.send_message(text).key(key).into_future();
    tokio::pin!(send);
    loop {
        tokio::select! {
            biased;
            result = &mut send => return result.unwrap(),
            () = stuck.to_interrupt.notified(), if matches!(act, Interrupt(_)) => {
                alice.interrupt("enough").await.unwrap();
            }
            () = stuck.to_steer.notified(), if matches!(act, Steer(..)) => {
                let Steer(_, word) = act else { unreachable!() };
                alice.steer(word).key(format!("{key}-word")).cut().await.unwrap();
            }
            event = listening.next(), if matches!(act, Decide(_)) => {
                if let SessionEvent::ApprovalRequested { .. } = event.unwrap().unwrap() {
                    decide(alice, act).await;
                }
            }
        }
    }
}

/// Decides about all that waits.
async fn decide(alice: &Session, act: Act) {
    if !matches!(act, Decide(_)) {
        return;
    }
    for pending in alice.approvals().await.unwrap() {
        let arguments: Value = serde_json::from_str(&pending.arguments).unwrap();
        let decision = match arguments["n"].as_i64() {
            Some(number) if number % 2 == 1 => Decision::Allow,
            _ => Decision::Deny { reason: "it is even".into() },
        };
        alice.approve(pending.call, decision).await.unwrap();
    }
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
            tool if WRITES.contains(&tool) && !got.text.contains("permission denied") => {
                (got.text, got.is_error) = ("it was done, or cut off".into(), false);
            }
            "dig" if got.is_error && got.text.contains("interrupted") => got.text = "interrupted".into(),
            _ => {}
        }
    }
    said
}
