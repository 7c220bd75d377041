//! The same shape on bare ractor: a supervisor, a session under it, an actor for each turn, one for each tool call.
//! Nothing is kept, nothing is decided, and nothing that dies is missed.

use std::time::{Duration, Instant};

use ergane::ractor::{
    Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, call_t,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Run, collect, model};
use crate::Outcome;
use crate::args::TurnsArgs;
use crate::laps::Laps;
use crate::process::Stopwatch;

/// What one turn does.
#[derive(Debug, Clone, Copy)]
struct Script {
    tools: u32,
    latency: Duration,
}

type Answer = RpcReplyPort<String>;

struct Parent;
struct Session;
struct Turn;
struct Tool;

struct Never;
struct Ask(Answer);
struct Go(Answer);
struct Add(u32, oneshot::Sender<String>);

/// Children come and go; nobody looks.
macro_rules! childless {
    ($msg:ty, $state:ty) => {
        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<$msg>,
            _: SupervisionEvent,
            _: &mut $state,
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    };
}

impl Actor for Parent {
    type Msg = Never;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    childless!(Never, ());
}

impl Actor for Session {
    type Msg = Ask;
    type State = Script;
    type Arguments = Script;

    async fn pre_start(&self, _: ActorRef<Ask>, script: Script) -> Result<Script, ActorProcessingErr> {
        Ok(script)
    }

    async fn handle(
        &self,
        me: ActorRef<Ask>,
        Ask(reply): Ask,
        script: &mut Script,
    ) -> Result<(), ActorProcessingErr> {
        let (turn, _) = Actor::spawn_linked(None, Turn, *script, me.get_cell()).await?;
        Ok(turn.cast(Go(reply))?)
    }

    childless!(Ask, Script);
}

impl Actor for Turn {
    type Msg = Go;
    type State = Script;
    type Arguments = Script;

    async fn pre_start(&self, _: ActorRef<Go>, script: Script) -> Result<Script, ActorProcessingErr> {
        Ok(script)
    }

    async fn handle(
        &self,
        me: ActorRef<Go>,
        Go(reply): Go,
        script: &mut Script,
    ) -> Result<(), ActorProcessingErr> {
        if script.tools > 0 {
            model(script.latency).await;
            run_tools(script.tools, me.get_cell()).await?;
        }
        let answer = model(script.latency).await;
        // A caller that gave up is no reason to fail.
        reply.send(answer).ok();
        me.stop(None);
        Ok(())
    }

    childless!(Go, Script);
}

impl Actor for Tool {
    type Msg = Add;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Add>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<Add>,
        Add(left, reply): Add,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // A turn that ended meanwhile does not want to know.
        reply.send((left + 1).to_string()).ok();
        me.stop(None);
        Ok(())
    }

    childless!(Add, ());
}

async fn model(latency: Duration) -> String {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    model::ANSWER.to_owned()
}

async fn run_tools(count: u32, turn: ActorCell) -> Result<(), ActorProcessingErr> {
    let mut results = Vec::new();
    for call in 0..count {
        let (reply, result) = oneshot::channel();
        let (tool, _) = Actor::spawn_linked(None, Tool, (), turn.clone()).await?;
        tool.cast(Add(call, reply))?;
        results.push(result);
    }
    for result in results {
        result.await?;
    }
    Ok(())
}

pub(super) async fn run(options: &TurnsArgs) -> Outcome<Run> {
    let script = Script { tools: options.turn.tools(), latency: Duration::from_millis(options.latency_ms) };
    let (parent, _) = Actor::spawn(None, Parent, ()).await?;
    let mut sessions = Vec::new();
    for number in 0..options.sessions {
        let name = format!("bare session {number}");
        let (session, _) = Actor::spawn_linked(Some(name), Session, script, parent.get_cell()).await?;
        call_t!(session, Ask, 60_000)?;
        sessions.push(session);
    }
    let turns = options.turns;
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let watch = Stopwatch::start();
    for session in sessions {
        running.spawn(async move {
            let mut laps = Laps::default();
            for _ in 0..turns {
                let start = Instant::now();
                call_t!(session, Ask, 60_000)?;
                laps.lap(start.elapsed());
            }
            Ok(laps)
        });
    }
    collect(running, watch, options.sessions * turns).await
}
