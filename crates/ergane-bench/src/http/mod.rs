//! Turns over HTTP: against a server that takes no time, beside the same requests by hand.

mod floor;
pub(crate) mod server;

use std::sync::Arc;
use std::time::Duration;

use ergane::System;
use ergane::core::SettingsPatch;
use ergane::prelude::OpenAi;
use ergane::session::Session;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::args::{HttpArgs, TurnKind};
use crate::http::floor::Plain;
use crate::http::server::Server;
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::{Run, collect, model, turn};

const PATIENCE: Duration = Duration::from_secs(60);

/// A session has so many turns, and then another one takes its place: its history is sent with every request, and by hand
/// there is none. The bare shape's sessions have as many, so that there are as many of them.
const TURNS_OF_ONE: usize = 5;

/// So many turns later a message is settled for certain.
const FEW: usize = 40;

pub(crate) async fn run(options: &HttpArgs) -> Outcome<Vec<Record>> {
    let server = match options.base_url {
        Some(_) => None,
        None => Some(Server::start()?),
    };
    let url = options.base_url.clone().or_else(|| server.as_ref().map(|server| server.url.clone()));
    let url = url.ok_or("there is no server")?;
    let before = if options.history > 0 { Before::Messages(options.history) } else { Before::Nothing };
    let ours = ours(&url, options, before).await?;
    let mut record = Record::new("http")
        .param("turn", options.turn.as_str())
        .param("inflight", options.inflight)
        .param("turns", options.turns)
        .param("stream", !options.no_stream)
        .param("history", options.history)
        .metric("turns_per_s", ours.turns_per_s())
        .metric("p50_us", ours.p50_us())
        .metric("p99_us", ours.p99_us())
        .metric("cpu_us_per_turn", ours.cpu_us());
    if options.floor {
        let plain = Arc::new(Plain::new(&url, options)?);
        let bare = floor::bare(&plain, options).await?;
        if options.history > 0 {
            record = beside_others(record, &url, options, &ours).await?;
        }
        let actors = floor::actors(&plain, options, before.turns_of_one(options.turns)).await?;
        record = record
            .metric("floor_turns_per_s", actors.turns_per_s())
            .metric("floor_p50_us", actors.p50_us())
            .metric("floor_cpu_us_per_turn", actors.cpu_us())
            .metric("bare_turns_per_s", bare.turns_per_s())
            .metric("bare_p50_us", bare.p50_us())
            .metric("bare_cpu_us_per_turn", bare.cpu_us())
            .ratio("ratio", ours.p50_us(), actors.p50_us())
            .ratio("cpu_ratio", ours.cpu_us(), actors.cpu_us())
            .ratio("bare_cpu_ratio", ours.cpu_us(), bare.cpu_us());
    }
    Ok(vec![record])
}

/// The same turns without a history, and with one of few messages and as many bytes: beside them it is seen what the number of
/// messages costs, and what the number of bytes, which have to be handed to the socket and push all else out of the caches.
async fn beside_others(record: Record, url: &str, options: &HttpArgs, long: &Run) -> Outcome<Record> {
    let bytes = Plain::new(url, options)?.before.len();
    let few = ours(url, options, Before::Bytes(bytes)).await?;
    let none = ours(url, options, Before::Nothing).await?;
    Ok(record
        .metric("no_history_cpu_us_per_turn", none.cpu_us())
        .metric("same_bytes_cpu_us_per_turn", few.cpu_us())
        .metric("same_bytes_p50_us", few.p50_us())
        .ratio("history_cpu_ratio", long.cpu_us() - (few.cpu_us() - none.cpu_us()), none.cpu_us()))
}

/// What a session has behind it.
#[derive(Debug, Clone, Copy)]
enum Before {
    Nothing,
    Messages(usize),
    /// So many bytes in a single message, and the few messages until that one is settled.
    Bytes(usize),
}

impl Before {
    /// After so many turns of `turns` another session takes a session's place.
    fn turns_of_one(self, turns: usize) -> usize {
        let most = match self {
            Self::Nothing => TURNS_OF_ONE,
            Self::Messages(_) | Self::Bytes(_) => turns,
        };
        most.min(turns).max(1)
    }
}

async fn ours(url: &str, options: &HttpArgs, before: Before) -> Outcome<Run> {
    let provider = OpenAi::new(url).model(options.turn.as_str()).max_in_flight(options.inflight);
    let system = System::builder().provider("http", provider).tool(model::add).start().await?;
    let each = before.turns_of_one(options.turns);
    let mut places: Vec<Vec<Session>> = Vec::new();
    for place in 0..options.inflight {
        let mut sessions = Vec::new();
        for number in 0..options.turns.div_ceil(each) {
            let name = format!("http/{place}/{number}");
            sessions.push(session(&system, &name, options, before).await?);
        }
        places.push(sessions);
    }
    // One turn before, so that nothing is done for the first time while it is measured.
    turn(&session(&system, "http/first", options, Before::Nothing).await?, options.turn).await?;
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let (watch, kind, turns) = (Stopwatch::start(), options.turn, options.turns);
    for sessions in places {
        running.spawn(async move {
            let mut laps = Laps::default();
            for number in 0..turns {
                let session = sessions.get(number / each).ok_or("there is no session left")?;
                laps.lap(turn(session, kind).await?);
            }
            Ok(laps)
        });
    }
    let run = collect(running, watch, options.inflight * turns).await?;
    system.shutdown(PATIENCE).await?;
    Ok(run)
}

async fn session(system: &System, name: &str, options: &HttpArgs, before: Before) -> Outcome<Session> {
    let streamed = SettingsPatch { stream: Some(!options.no_stream), ..SettingsPatch::default() };
    let mut builder = system.session(name).settings(streamed);
    if options.turn == TurnKind::Text {
        builder = builder.tools(Vec::<String>::new());
    }
    let session = builder.start().await?;
    // A text turn has two messages, one with a tool four.
    let messages = if options.turn == TurnKind::Text { 2 } else { 4 };
    let turns = match before {
        Before::Nothing => 0,
        Before::Messages(count) => count.div_ceil(messages),
        Before::Bytes(count) => {
            session.send_message("x".repeat(count)).await?;
            FEW
        }
    };
    for _ in 0..turns {
        turn(&session, options.turn).await?;
    }
    Ok(session)
}
