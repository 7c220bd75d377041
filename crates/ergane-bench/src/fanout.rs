//! Very many listen to one session: how soon each of them has what the model says, and what that costs the turn.
//!
//! The model says fifty pieces a second, each with the time at which it was said. A subscriber that is too slow loses
//! pieces, and is told how many; a fact that one of them misses or has twice is an error.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ergane::core::{FinishReason, Message, ModelReply, Origin, Part, ProviderError, Role, StopReason, Text};
use ergane::provider::{BoxFuture, Delta, Endpoint, Provider, ProviderCall};
use ergane::session::{Session, SessionEvent, Subscription};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Outcome;
use crate::args::{FanoutArgs, Global};
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::House;

/// Fifty pieces a second.
const PACE: Duration = Duration::from_millis(20);

pub(crate) async fn run(options: &FanoutArgs, global: &Global) -> Outcome<Vec<Record>> {
    let since = Instant::now();
    let speaker = Speaker { since, deltas: options.deltas };
    let house = House::with(options.journal, global.dir.as_deref(), "speaker", speaker).await?;
    let session = house.system.session("fanout").start().await?;
    // One turn before, so that nothing is done for the first time; the next one has no listener.
    turn(&session).await?;
    let alone = turn(&session).await?;

    let mut listening: JoinSet<Outcome<Heard>> = JoinSet::new();
    for _ in 0..options.subscribers {
        let subscription = session.subscribe(None).await?;
        listening.spawn(listen(subscription, since));
    }
    let watch = Stopwatch::start();
    let took = turn(&session).await?;
    let mut all = Heard::default();
    while let Some(heard) = listening.join_next().await {
        let heard = heard??;
        all.first = all.first.max(heard.first);
        all.laps.absorb(heard.laps);
        all.missed += heard.missed;
        all.told += heard.told;
    }
    all.laps.add_cpu(watch.cpu());
    house.close().await?;
    let said = options.deltas as u64 * options.subscribers as u64;
    if all.told + all.missed != said {
        return Err(
            format!("of {said} pieces {} were told and {} counted as lost", all.told, all.missed).into()
        );
    }
    let record = Record::new("fanout")
        .param("subscribers", options.subscribers)
        .param("deltas", options.deltas)
        .param("journal", options.journal.as_str())
        .metric("p50_us", all.laps.p50_us())
        .metric("p99_us", all.laps.p99_us())
        .metric("first_at_last_us", all.first.as_secs_f64() * 1e6)
        .metric("cpu_us", all.laps.cpu_us(1))
        .metric("missed", all.missed as f64)
        .metric("seconds", took.as_secs_f64())
        .metric("floor_seconds", alone.as_secs_f64())
        .ratio("ratio", took.as_secs_f64(), alone.as_secs_f64());
    Ok(vec![record])
}

async fn turn(session: &Session) -> Outcome<Duration> {
    let start = Instant::now();
    let result = session.send_message("Say it.").await?;
    let took = start.elapsed();
    match result.finish_reason {
        FinishReason::Stop => Ok(took),
        other => Err(format!("a turn ended {other}: {:?}", result.error).into()),
    }
}

/// What subscribers had of a turn.
#[derive(Debug, Default)]
struct Heard {
    /// How long each piece was on its way.
    laps: Laps,
    /// The same of the first one.
    first: Duration,
    told: u64,
    missed: u64,
}

async fn listen(mut subscription: Subscription, since: Instant) -> Outcome<Heard> {
    let mut heard = Heard::default();
    let mut facts = Vec::new();
    while let Some(event) = subscription.next().await {
        match event? {
            SessionEvent::Content { text } => {
                let said = Duration::from_nanos(text.trim().parse()?);
                let after = since.elapsed().saturating_sub(said);
                if heard.told == 0 {
                    heard.first = after;
                }
                heard.told += 1;
                heard.laps.lap(after);
            }
            SessionEvent::Lagged { missed } => heard.missed += missed,
            SessionEvent::TurnStarted { .. } => facts.push("its start"),
            SessionEvent::Reply { .. } => facts.push("its answer"),
            SessionEvent::Done { .. } => {
                facts.push("its end");
                break;
            }
            _ => {}
        }
    }
    if facts != ["its start", "its answer", "its end"] {
        return Err(format!("a subscriber was told of a turn {facts:?}").into());
    }
    Ok(heard)
}

/// A model that says at what time it speaks, in nanoseconds.
#[derive(Debug, Clone)]
struct Speaker {
    since: Instant,
    deltas: usize,
}

impl Provider for Speaker {
    fn api(&self) -> &'static str {
        "speaker"
    }

    fn default_model(&self) -> Option<Text> {
        Some("speaker".into())
    }

    fn endpoint(&self) -> String {
        "this process".to_owned()
    }

    fn with_endpoint(&self, _: &Endpoint) -> Result<Arc<dyn Provider>, ProviderError> {
        Ok(Arc::new(self.clone()))
    }

    fn call(&self, call: ProviderCall) -> BoxFuture<'static, Result<ModelReply, ProviderError>> {
        let Self { since, deltas } = *self;
        Box::pin(async move {
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for _ in 0..deltas {
                pace.tick().await;
                call.deltas.send(Delta::Text(format!("{} ", since.elapsed().as_nanos()).into()));
            }
            let origin = Origin {
                provider: call.provider,
                api: "speaker".into(),
                model: call.request.model.clone(),
                response_id: None,
                stop: StopReason::Stop,
            };
            let parts = vec![Part::text("That was it.")];
            let message = Message { role: Role::Assistant, parts, origin: Some(origin) };
            Ok(ModelReply { message, usage: None, cost: None })
        })
    }
}
