//! A stored session with a long history is opened: how long until it answers?
//!
//! The history is written straight into the store, as sessions write it: turns of a question and an answer. Then a
//! program comes that never had the session open, asks it for its settings, which only a loaded session knows, and
//! lets it rest again. Beside it, what it is made of, by hand: reading all facts from their rows, which is what every
//! opening would take without snapshots, reading them from snapshots, and folding them.

use std::sync::Arc;
use std::time::Instant;

use ergane::core::{
    Conversation, Digest, Envelope, Event, FORMAT_VERSION, FinishReason, Message, Origin, Part, Role, SendId,
    Seq, SessionName, Settings, StopReason, Timestamp, TurnId, TurnTotals, Usage,
};
use ergane::journal::{Append, Journal, Sqlite};

use crate::Outcome;
use crate::args::{Global, OpenArgs};
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::record::Record;
use crate::turns::house::{Folder, House};

/// So many turns are written at once.
const BATCH: u64 = 1_000;
/// The bytes of a question and of an answer.
const QUESTION: usize = 120;
const ANSWER: usize = 480;

pub(crate) async fn run(options: &OpenArgs, global: &Global) -> Outcome<Vec<Record>> {
    let folder = Folder::make(global.dir.as_deref())?;
    let store = Arc::new(Sqlite::open(folder.0.join("journal.db"))?);
    let name = SessionName::new("long")?;
    write(store.as_ref(), &name, options.events)?;

    let (rows, folds) = by_hand(&store, &name, options.opens)?;
    let mut upto = Seq(0);
    loop {
        let more = store.snapshot(&name)?;
        if more == upto {
            break;
        }
        upto = more;
    }
    let (packed, _) = by_hand(&store, &name, options.opens)?;

    let house = House::around(store, folder).await?;
    let session = house.system.session("long").start().await?;
    let mut opens = Laps::default();
    for _ in 0..options.opens {
        session.stop().await?;
        let stopwatch = Stopwatch::start();
        let start = Instant::now();
        session.settings().await?;
        opens.lap(start.elapsed());
        opens.add_cpu(stopwatch.cpu());
    }
    house.close().await?;
    let record = Record::new("open")
        .param("events", options.events)
        .metric("p50_us", opens.p50_us())
        .metric("p99_us", opens.p99_us())
        .metric("cpu_us", opens.cpu_us(1))
        .metric("rows_us", rows.p50_us())
        .metric("packed_us", packed.p50_us())
        .metric("fold_us", folds.p50_us());
    Ok(vec![record])
}

/// How long it takes to read all facts, and then to fold them.
fn by_hand(store: &Sqlite, session: &SessionName, times: usize) -> Outcome<(Laps, Laps)> {
    let (mut loads, mut folds) = (Laps::default(), Laps::default());
    for _ in 0..times {
        let start = Instant::now();
        let log = store.load(session, Seq(0), Seq(u64::MAX))?;
        loads.lap(start.elapsed());
        let start = Instant::now();
        let conversation = Conversation::fold(log.iter().map(Arc::as_ref))?;
        folds.lap(start.elapsed());
        if conversation.turn().is_some() {
            return Err("the history ends in a turn".into());
        }
    }
    Ok((loads, folds))
}

/// So many events, at least, all of turns that have ended.
fn write(store: &Sqlite, session: &SessionName, events: usize) -> Outcome<()> {
    let opened = store.open_session(session)?;
    let mut seq = opened.next_seq;
    let mut facts =
        vec![Event::SessionStarted { settings: Arc::new(Settings::new("scripted", "bench", "/")), id: None }];
    let mut turn = 0_u64;
    while seq.0 <= u64::try_from(events)? {
        let first = seq.0 + u64::try_from(facts.len())?;
        let turns = (0..BATCH).flat_map(|_| {
            turn += 1;
            facts_of(turn, first + (turn - 1) % BATCH * 4)
        });
        facts.extend(turns.collect::<Vec<_>>());
        let envelopes: Vec<_> = (seq.0..).zip(std::mem::take(&mut facts)).collect();
        let envelopes = envelopes.into_iter().map(|(seq, event)| {
            let at = Timestamp(i64::try_from(seq).unwrap_or_default());
            Arc::new(Envelope { v: FORMAT_VERSION, seq: Seq(seq), epoch: opened.epoch, at, event })
        });
        let append = Append {
            session: session.clone(),
            epoch: opened.epoch,
            expected: seq,
            events: envelopes.collect(),
        };
        seq = append.next_seq();
        store.append(&[append]).into_iter().collect::<Result<(), _>>()?;
    }
    store.release(session)?;
    Ok(())
}

/// A turn whose first fact has this position.
fn facts_of(turn: u64, first: u64) -> [Event; 4] {
    let send = SendId(format!("01890a5d-ac96-774b-bcce-{turn:012}").into());
    let input = vec![Part::text(format!("{turn} {}", "q".repeat(QUESTION)))];
    let hash = Digest::of(send.0.as_bytes());
    let origin = Origin {
        provider: "scripted".into(),
        api: "scripted".into(),
        model: "bench".into(),
        response_id: None,
        stop: StopReason::Stop,
    };
    let answer = Message {
        role: Role::Assistant,
        parts: vec![Part::text(format!("{turn} {}", "a".repeat(ANSWER)))],
        origin: Some(origin),
    };
    let usage = Usage { input_tokens: 100, output_tokens: 100, ..Usage::default() };
    [
        Event::Queued { send: send.clone(), input, hash, meta: None, settings: None },
        Event::TurnStarted { send },
        Event::ModelReplied {
            iteration: 0,
            saw: Seq(first + 1),
            message: Arc::new(answer),
            usage: Some(usage),
            cost: None,
            attempts: 1,
            unanswered: None,
        },
        Event::TurnEnded {
            turn: TurnId(first + 1),
            finish: FinishReason::Stop,
            error: None,
            partial: None,
            unanswered: None,
            totals: TurnTotals { usage, duration_ms: 7, ..TurnTotals::default() },
        },
    ]
}
