//! The committed samples of every format version: what was written once can be read for ever, and what is written today
//! is what the samples of today's version say.
//!
//! A sample is a row as it stands in the file: its columns, and its body byte for byte. To take new samples for a new
//! version, run the ignored test of this file and look at the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ergane_core::{
    Envelope, Epoch, Event, FORMAT_VERSION, Part, Seq, SessionName, Settings, SettingsPatch, Timestamp, Usage,
};
use ergane_journal::{Append, Journal, Sqlite, conformance};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Debug, Serialize, Deserialize)]
struct Sample {
    seq: i64,
    epoch: i64,
    kind: i64,
    ver: i64,
    at: i64,
    crc: i64,
    body: Box<RawValue>,
}

/// The names of the samples of what is written today, in the order of the kinds.
const NAMES: [&str; 17] = [
    "01_session_started_with_every_setting",
    "02_settings_changed_every_one",
    "03_queued_with_all_that_goes_with_it",
    "04_turn_started",
    "05_model_replied_with_every_field",
    "06_tool_started",
    "07_tool_finished",
    "08_interrupt_requested",
    "09_recovered",
    "10_turn_ended_with_every_field",
    "11_tool_process",
    "12_approval_requested",
    "13_approval_decided",
    "14_steered",
    "15_checkpointed",
    "16_rewound_as_wished_once",
    "17_forked_with_an_identity",
];

/// What was written with less in it: by builds of the same version that knew less, or where there is no more to say.
const LESS: [&str; 8] = [
    "01_session_started",
    "01_session_started_with_an_identity",
    "02_settings_changed",
    "03_queued",
    "05_model_replied",
    "10_turn_ended",
    "16_rewound",
    "17_forked",
];

/// The fact of a sample with less in it.
fn with_less(name: &str) -> Event {
    let mut event = conformance::one_of_each().remove(number(name) - 1);
    match &mut event {
        Event::SessionStarted { settings, id } => {
            *settings = Arc::new(Settings::new("scripted", "model-1", "/home/a person/project"));
            id.take_if(|_| name == "01_session_started");
        }
        Event::SettingsChanged { patch, tool } => {
            **patch = SettingsPatch {
                model: Some("model-2".into()),
                max_iterations: Some(9),
                ..SettingsPatch::default()
            };
            *tool = None;
        }
        Event::Queued { meta, settings, .. } => (*meta, *settings) = (None, None),
        Event::ModelReplied { iteration, message, usage, unanswered, .. } => {
            (*iteration, *unanswered) = (0, None);
            let parts = &mut Arc::make_mut(message).parts;
            parts.retain(|part| !matches!(part, Part::Opaque(_) | Part::Image { .. }));
            *usage = usage.map(without_cache_writes);
        }
        Event::TurnEnded { unanswered, totals, .. } => {
            *unanswered = None;
            totals.usage = Usage { input_tokens: 120, output_tokens: 48, ..Usage::default() };
        }
        Event::Rewound { id, .. } => *id = None,
        Event::Forked { id, .. } => *id = None,
        other => panic!("{name}: {other:?}"),
    }
    event
}

fn without_cache_writes(usage: Usage) -> Usage {
    Usage { cache_write_tokens: 0, cache_write_long_tokens: 0, ..usage }
}

/// The number of the kind that a sample is of.
fn number(name: &str) -> usize {
    name[..2].parse().unwrap()
}

fn folder(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/samples/v{version}"))
}

fn session() -> SessionName {
    SessionName::new("sample").unwrap()
}

/// The samples of a version, by file name.
fn samples(version: u32) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder(version)).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&path).unwrap().trim_end().to_owned())
        })
        .collect()
}

/// The facts as this build writes them; in the place of its kind, one with less in it.
fn facts(less: Option<&str>) -> Vec<Arc<Envelope>> {
    let mut events = conformance::one_of_each();
    if let Some(name) = less {
        events[number(name) - 1] = with_less(name);
    }
    let at = |seq: u64| Timestamp(1_735_689_600_000 + i64::try_from(seq).unwrap());
    let fact = |(seq, event): (u64, Event)| Envelope {
        v: FORMAT_VERSION,
        seq: Seq(seq),
        epoch: Epoch(1),
        at: at(seq),
        event,
    };
    (1..).zip(events).map(fact).map(Arc::new).collect()
}

/// The rows that this build writes, as samples.
fn written_today() -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path().join("j.db")).unwrap();
    let opened = store.open_session(&session()).unwrap();
    let append =
        Append { session: session(), epoch: opened.epoch, expected: opened.next_seq, events: facts(None) };
    assert_eq!(store.append(&[append]), [Ok(())]);
    let connection = Connection::open(store.path()).unwrap();
    let mut rows =
        connection.prepare("SELECT seq, epoch, kind, ver, at, crc, body FROM event ORDER BY seq").unwrap();
    let samples = rows.query_map([], |row| {
        let body = String::from_utf8(row.get(6)?).unwrap();
        Ok(Sample {
            seq: row.get(0)?,
            epoch: row.get(1)?,
            kind: row.get(2)?,
            ver: row.get(3)?,
            at: row.get(4)?,
            crc: row.get(5)?,
            body: RawValue::from_string(body).unwrap(),
        })
    });
    let lines = samples.unwrap().map(|sample| serde_json::to_string(&sample.unwrap()).unwrap());
    NAMES.iter().map(ToString::to_string).zip(lines).collect()
}

#[test]
fn what_is_written_today_equals_the_samples_of_its_version() {
    let (today, samples) = (written_today(), samples(FORMAT_VERSION));
    assert_eq!(today.len(), facts(None).len(), "each kind has a name here");
    for (name, line) in &today {
        assert_eq!(samples.get(name), Some(line), "{name} is written in another way than the sample");
    }
    let mut known: Vec<&str> = NAMES.into_iter().chain(LESS).collect();
    known.sort_unstable();
    assert!(samples.keys().eq(&known), "none is gone, and each is of a kind that is written, or was");
}

#[test]
fn the_samples_of_every_version_can_be_read() {
    for version in 1..=FORMAT_VERSION {
        let samples = samples(version);
        for less in std::iter::once(None).chain(LESS.into_iter().map(Some)) {
            // One with less in it stands where the whole one of its kind does.
            let mut names = NAMES;
            if let Some(name) = less {
                names[number(name) - 1] = name;
            }
            let lines: Vec<&str> = names.iter().map(|name| &*samples[*name]).collect();
            assert_eq!(read(&lines), facts(less), "version {version}, {less:?}");
        }
    }
}

/// What a store reads whose rows are these samples.
fn read(lines: &[&str]) -> Vec<Arc<Envelope>> {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path().join("j.db")).unwrap();
    store.open_session(&session()).unwrap();
    let connection = Connection::open(store.path()).unwrap();
    for line in lines {
        let sample: Sample = serde_json::from_str(line).unwrap();
        let Sample { seq, epoch, kind, ver, at, crc, body } = sample;
        connection
            .execute(
                "INSERT INTO event(sid, seq, epoch, kind, ver, at, body, crc)
                 VALUES ((SELECT sid FROM session), ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![seq, epoch, kind, ver, at, body.get().as_bytes(), crc],
            )
            .unwrap();
    }
    let next = i64::try_from(lines.len()).unwrap() + 1;
    connection.execute("UPDATE session SET next_seq = ?1", [next]).unwrap();
    store.load(&session(), Seq(0), Seq(u64::MAX)).unwrap()
}

#[test]
#[ignore = "writes the samples of the present version anew; run by hand when there is a new version"]
fn take_samples() {
    std::fs::create_dir_all(folder(FORMAT_VERSION)).unwrap();
    for (name, line) in written_today() {
        std::fs::write(folder(FORMAT_VERSION).join(name).with_extension("json"), line + "\n").unwrap();
    }
}
