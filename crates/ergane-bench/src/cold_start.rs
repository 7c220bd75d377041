//! The program itself, from its start to its end, on a journal of very many sessions that the system has in its cache.
//!
//! Twice: a session is shown, which only reads; and one is sent something that a script answers at once, for which the whole
//! tree starts, the session is opened, a turn is written to the disk and all is brought to its end.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ergane::journal::Sqlite;
use tokio::process::Command;

use crate::Outcome;
use crate::args::{ColdStartArgs, Global};
use crate::laps::Laps;
use crate::names::{fill, name};
use crate::record::Record;
use crate::turns::house::Folder;

pub(crate) async fn run(options: &ColdStartArgs, global: &Global) -> Outcome<Vec<Record>> {
    let program = options.program.clone().map_or_else(beside, Ok)?;
    if !program.is_file() {
        let why = "is not there: build it (`cargo build --release -p ergane-cli`), or give --program PATH";
        return Err(format!("{} {why}", program.display()).into());
    }
    let folder = Folder::make(global.dir.as_deref())?;
    let (journal, sessions) = (folder.0.join("journal.db"), options.sessions);
    let filled = journal.clone();
    tokio::task::spawn_blocking(move || fill(&Sqlite::open(filled)?, sessions)).await??;
    let script = folder.0.join("script.jsonl");
    // Each turn of the session has the next reply.
    std::fs::write(&script, "{\"text\": \"hello\"}\n".repeat(options.starts + 1))?;
    let start = Start { program, home: &folder.0, journal };

    let any = name(sessions / 2)?.to_string();
    let script = script.to_string_lossy();
    let mut records = Vec::new();
    for (what, args) in [
        ("a session is shown", &["sessions", "show", &any][..]),
        ("a session has a turn", &["send", &any, "hi", "--script", &script]),
    ] {
        // Once before it counts: the files are in the cache then.
        start.once(args).await?;
        let mut laps = Laps::default();
        for _ in 0..options.starts {
            let begun = Instant::now();
            start.once(args).await?;
            laps.lap(begun.elapsed());
        }
        let record = Record::new("cold-start")
            .param("what", what)
            .param("sessions", sessions)
            .param("starts", options.starts)
            .metric("p50_us", laps.p50_us())
            .metric("p99_us", laps.p99_us());
        records.push(record);
    }
    Ok(records)
}

/// Where the program is when nobody says otherwise.
pub(crate) fn beside() -> Outcome<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("ergane"))
}

struct Start<'a> {
    program: PathBuf,
    home: &'a Path,
    journal: PathBuf,
}

impl Start<'_> {
    async fn once(&self, args: &[&str]) -> Outcome<()> {
        let mut command = Command::new(&self.program);
        // Of the one who measures it finds neither a configuration nor a key.
        command.args(args).arg("--journal").arg(&self.journal).env_clear().env("HOME", self.home);
        let output = command.current_dir(self.home).output().await?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{} {}` failed: {told}", self.program.display(), args.join(" ")).into())
    }
}
