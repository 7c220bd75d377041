//! The smallest shape of actors that deserves the name, by hand on ractor alone: a supervisor, sessions under it, an actor for
//! each turn, and one for each tool call. Nothing is kept, nothing is decided, and nothing that dies is missed.
//!
//! What a turn does is given, so that the floors of `turns` and of `http` are of one shape.

use std::marker::PhantomData;
use std::time::Instant;

use ergane::ractor::{
    Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, call_t,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::turns::{Run, collect};

/// What is done in a turn.
pub(crate) trait Work: Clone + Send + Sync + 'static {
    /// What a tool is given.
    type Input: Send + 'static;

    fn turn(&self, tools: Tools) -> impl Future<Output = Outcome<String>> + Send;

    fn tool(input: Self::Input) -> impl Future<Output = Outcome<String>> + Send;
}

/// Runs tools, each in an actor of its own.
pub(crate) struct Tools(ActorCell);

/// What a tool will have said.
pub(crate) type Said = oneshot::Receiver<Outcome<String>>;

impl Tools {
    pub(crate) async fn start<W: Work>(&self, input: W::Input) -> Outcome<Said> {
        let (reply, said) = oneshot::channel();
        let (tool, _) = Actor::spawn_linked(None, Tool::<W>(PhantomData), (), self.0.clone()).await?;
        tool.cast(Use::<W>(input, reply)).map_err(|error| error.to_string())?;
        Ok(said)
    }
}

type Answer = RpcReplyPort<String>;

/// What children are linked to; it takes no notice of their ends.
pub(crate) struct Parent;
struct Session<W>(PhantomData<W>);
struct Turn<W>(PhantomData<W>);
struct Tool<W>(PhantomData<W>);

/// It gets none.
pub(crate) struct Never;
struct Ask(Answer);
struct Go(Answer);
struct Use<W: Work>(W::Input, oneshot::Sender<Outcome<String>>);

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

impl<W: Work> Actor for Session<W> {
    type Msg = Ask;
    type State = W;
    type Arguments = W;

    async fn pre_start(&self, _: ActorRef<Ask>, work: W) -> Result<W, ActorProcessingErr> {
        Ok(work)
    }

    async fn handle(
        &self,
        me: ActorRef<Ask>,
        Ask(reply): Ask,
        work: &mut W,
    ) -> Result<(), ActorProcessingErr> {
        let (turn, _) = Actor::spawn_linked(None, Turn(PhantomData), work.clone(), me.get_cell()).await?;
        Ok(turn.cast(Go(reply))?)
    }

    childless!(Ask, W);
}

impl<W: Work> Actor for Turn<W> {
    type Msg = Go;
    type State = W;
    type Arguments = W;

    async fn pre_start(&self, _: ActorRef<Go>, work: W) -> Result<W, ActorProcessingErr> {
        Ok(work)
    }

    async fn handle(&self, me: ActorRef<Go>, Go(reply): Go, work: &mut W) -> Result<(), ActorProcessingErr> {
        let answer = work.turn(Tools(me.get_cell())).await?;
        // A caller that gave up is no reason to fail.
        reply.send(answer).ok();
        me.stop(None);
        Ok(())
    }

    childless!(Go, W);
}

impl<W: Work> Actor for Tool<W> {
    type Msg = Use<W>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Use<W>>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<Use<W>>,
        Use(input, reply): Use<W>,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // A turn that ended meanwhile does not want to know.
        reply.send(W::tool(input).await).ok();
        me.stop(None);
        Ok(())
    }

    childless!(Use<W>, ());
}

/// So many sessions have one turn each, and then nothing to do; the seconds that it took to start them.
pub(crate) async fn idle<W: Work>(work: W, prefix: &str, sessions: usize) -> Outcome<f64> {
    let (parent, _) = Actor::spawn(None, Parent, ()).await?;
    let watch = Stopwatch::start();
    let mut idle = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let name = Some(format!("{prefix} session {number}"));
        let started =
            Actor::spawn_linked(name, Session(PhantomData), work.clone(), parent.get_cell()).await?;
        idle.push(started.0);
    }
    let seconds = watch.wall().as_secs_f64();
    for session in &idle {
        call_t!(session, Ask, 60_000)?;
    }
    Ok(seconds)
}

/// So many places have so many turns each, one after the other; the places beside each other. After `each` turns another
/// session takes a place: all of them live from the beginning.
pub(crate) async fn run<W: Work>(work: W, places: usize, turns: usize, each: usize) -> Outcome<Run> {
    let (parent, _) = Actor::spawn(None, Parent, ()).await?;
    let mut asked = Vec::new();
    for place in 0..places {
        let mut sessions = Vec::new();
        for number in 0..turns.div_ceil(each) {
            let name = Some(format!("bare session {place}/{number}"));
            let started =
                Actor::spawn_linked(name, Session(PhantomData), work.clone(), parent.get_cell()).await?;
            sessions.push(started.0);
        }
        // One turn before, so that nothing is done for the first time while it is measured.
        if let Some(first) = sessions.first() {
            call_t!(first, Ask, 60_000)?;
        }
        asked.push(sessions);
    }
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let watch = Stopwatch::start();
    for sessions in asked {
        running.spawn(async move {
            let mut laps = Laps::default();
            for number in 0..turns {
                let session = sessions.get(number / each).ok_or("there is no session left")?;
                let start = Instant::now();
                call_t!(session, Ask, 60_000)?;
                laps.lap(start.elapsed());
            }
            Ok(laps)
        });
    }
    let run = collect(running, watch, places * turns).await?;
    parent.stop(None);
    Ok(run)
}
