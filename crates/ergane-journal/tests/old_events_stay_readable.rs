//! The committed samples of every format version: what was written once can be read for ever, and what is written today
//! is what the samples of today's version say.
//!
//! A sample is a row as it stands in the file: its columns, and its body byte for byte. To take new samples for a new
//! version, run the ignored test of this file and look at the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ergane_core::{Envelope, Epoch, Event, FORMAT_VERSION, Identity, Seq, SessionName, Timestamp};
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

const NAMES: [&str; 17] = [
    "01_session_started_with_an_identity",
    "02_settings_changed",
    "03_queued",
    "04_turn_started",
    "05_model_replied",
    "06_tool_started",
    "07_tool_finished",
    "08_interrupt_requested",
    "09_recovered",
    "10_turn_ended",
    "11_tool_process",
    "12_approval_requested",
    "13_approval_decided",
    "14_steered",
    "15_checkpointed",
    "16_rewound_as_wished_once",
    "17_forked_with_an_identity",
];

/// What is written in another way now, and was written so by builds of the same version.
const EARLIER: [&str; 3] = ["01_session_started", "16_rewound", "17_forked"];

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

fn facts() -> Vec<Arc<Envelope>> {
    let mut events = conformance::one_of_each();
    for event in &mut events {
        match event {
            Event::SessionStarted { id, .. } | Event::Forked { id, .. } => *id = Some(Identity(0xa1)),
            Event::Rewound { id, .. } => *id = Some("rewind-1".into()),
            _ => {}
        }
    }
    let numbered = (1..).zip(events);
    let at = |seq: u64| Timestamp(1_735_689_600_000 + i64::try_from(seq).unwrap());
    let fact = |(seq, event): (u64, Event)| Envelope {
        v: FORMAT_VERSION,
        seq: Seq(seq),
        epoch: Epoch(1),
        at: at(seq),
        event,
    };
    numbered.map(fact).map(Arc::new).collect()
}

/// The same as builds wrote it that knew no identities, of a session or of a wish.
fn facts_without_identities() -> Vec<Arc<Envelope>> {
    let mut facts = facts();
    for fact in &mut facts {
        match &mut Arc::make_mut(fact).event {
            Event::SessionStarted { id, .. } | Event::Forked { id, .. } => *id = None,
            Event::Rewound { id, .. } => *id = None,
            _ => {}
        }
    }
    facts
}

/// The rows that this build writes, as samples.
fn written_today() -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::open(dir.path().join("j.db")).unwrap();
    let opened = store.open_session(&session()).unwrap();
    let append =
        Append { session: session(), epoch: opened.epoch, expected: opened.next_seq, events: facts() };
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
    assert_eq!(today.len(), facts().len(), "each kind has a name here");
    for (name, line) in &today {
        assert_eq!(samples.get(name), Some(line), "{name} is written in another way than the sample");
    }
    let known = today.len() + EARLIER.iter().filter(|name| samples.contains_key(**name)).count();
    assert_eq!(samples.len(), known, "each sample is of a kind that is written, or was");
    assert_eq!(known, NAMES.len() + EARLIER.len(), "and none is gone");
}

#[test]
fn the_samples_of_every_version_can_be_read() {
    for version in 1..=FORMAT_VERSION {
        let (now, before): (Vec<_>, Vec<_>) =
            samples(version).into_iter().partition(|(name, _)| !EARLIER.contains(&name.as_str()));
        // One that was written earlier stands where the present one of its kind does.
        let kind = |name: &str| name[..2].to_owned();
        let replaced: Vec<_> = before.iter().map(|(name, _)| kind(name)).collect();
        let others = now.iter().filter(|(name, _)| !replaced.contains(&kind(name))).cloned();
        let before: Vec<_> = before.iter().cloned().chain(others).collect();
        for (samples, expected) in [(now.clone(), facts()), (before, facts_without_identities())] {
            let dir = tempfile::tempdir().unwrap();
            let store = Sqlite::open(dir.path().join("j.db")).unwrap();
            store.open_session(&session()).unwrap();
            let connection = Connection::open(store.path()).unwrap();
            for (_, line) in &samples {
                let sample: Sample = serde_json::from_str(line).unwrap();
                connection
                    .execute(
                        "INSERT INTO event(sid, seq, epoch, kind, ver, at, body, crc)
                     VALUES ((SELECT sid FROM session), ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        params![
                            sample.seq,
                            sample.epoch,
                            sample.kind,
                            sample.ver,
                            sample.at,
                            sample.body.get().as_bytes(),
                            sample.crc
                        ],
                    )
                    .unwrap();
            }
            let next = i64::try_from(samples.len()).unwrap() + 1;
            connection.execute("UPDATE session SET next_seq = ?1", [next]).unwrap();
            assert_eq!(store.load(&session(), Seq(0), Seq(u64::MAX)).unwrap(), expected, "version {version}");
        }
    }
}

#[test]
#[ignore = "writes the samples of the present version anew; run by hand when there is a new version"]
fn take_samples() {
    std::fs::create_dir_all(folder(FORMAT_VERSION)).unwrap();
    for (name, line) in written_today() {
        std::fs::write(folder(FORMAT_VERSION).join(name).with_extension("json"), line + "\n").unwrap();
    }
}
