//! What `doctor` looks at, one by one.

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use ergane::core::SessionName;
use ergane::journal::{Journal, JournalError, Sqlite};

use super::super::Home;
use super::Finding;
use crate::outcome::{FAILED, Failure};
use crate::workshop::Place;

/// Less free space than this is told.
const LITTLE: u64 = 200 << 20;
/// With less than this a journal stops soon.
const TOO_LITTLE: u64 = 16 << 20;
/// A write that takes longer makes every turn slow.
const SLOW: Duration = Duration::from_millis(250);

pub(super) fn config(home: &Result<Home, Failure>) -> Finding {
    match home {
        Ok(home) => match &home.config.file {
            Some(file) => Finding::ok("config", file.display().to_string()),
            None => Finding::unused(
                "config",
                "no file, so the defaults hold",
                "nothing needs one; docs/configuration.md tells where it would be and what goes in",
            ),
        },
        Err(failure) => Finding::problem(
            "config",
            failure,
            "mend what it says of that file, or name another one by --config or ERGANE_CONFIG",
        ),
    }
}

pub(super) async fn journal(place: &Result<Place, Failure>) -> Finding {
    let path = match place {
        Ok(Place::File(path)) => path.clone(),
        Ok(Place::Memory) => {
            let fix = "give --journal PATH, or unset ERGANE_JOURNAL";
            return Finding::warning("journal", "it is in memory: nothing is kept", fix);
        }
        Err(failure) => {
            return Finding::problem("journal", failure, "give --journal PATH, or set ERGANE_JOURNAL");
        }
    };
    match tokio::task::spawn_blocking(move || journal_at(&path)).await {
        Ok(finding) => finding,
        Err(error) => {
            Finding::problem("journal", &Failure::internal(error.to_string()), "look at RUST_LOG=debug")
        }
    }
}

fn journal_at(path: &Path) -> Finding {
    if !matches!(path.try_exists(), Ok(true)) {
        return not_yet(path);
    }
    let mend = |error: &JournalError| match error {
        JournalError::Newer { .. } => "install a newer ergane, or give another --journal".to_owned(),
        JournalError::Locked { .. } => {
            format!("`ergane top --journal {}` tells who runs on it", path.display())
        }
        JournalError::InvalidPath { .. } => "give another --journal".to_owned(),
        _ => format!("look at the rights and the disk of {}", path.display()),
    };
    let problem = |error: JournalError| Finding::problem("journal", &Failure::from(&error), mend(&error));
    let started = Instant::now();
    let store = match Sqlite::open(path).and_then(|store| write(&store).map(|()| store)) {
        Ok(store) => store,
        Err(error) => return problem(error),
    };
    let took = started.elapsed();
    let sessions = match store.list(None, 1).and_then(|first| Ok((first, store.open_turns()?))) {
        Ok((_, open)) => format!("{} open turns", open.len()),
        Err(error) => return problem(error),
    };
    let (free, space) = space(path);
    let message = format!(
        "{}: opens and can be written ({} ms), {sessions}, {space}",
        path.display(),
        took.as_millis()
    );
    match free {
        Some(free) if free < TOO_LITTLE => {
            let failure = Failure::journal(message);
            Finding::problem("journal", &failure, "free some space, or move it and give --journal")
        }
        Some(free) if free < LITTLE => {
            Finding::warning("journal", message, "free some space before it runs out")
        }
        _ if took > SLOW => {
            let fix = "every turn waits for this disk; keep the journal on a local one";
            Finding::warning("journal", message, fix)
        }
        _ => Finding::ok("journal", message),
    }
}

/// A session that is made and forgotten: whether a commit gets to the disk is seen by doing one.
fn write(store: &Sqlite) -> Result<(), JournalError> {
    let Ok(name) = SessionName::new(format!("doctor/{}", std::process::id())) else { return Ok(()) };
    store.open_session(&name)?;
    store.delete(&name).map(drop)
}

fn not_yet(path: &Path) -> Finding {
    let there = path.ancestors().skip(1).find(|folder| folder.is_dir());
    let message = format!("{} is made by the first send", path.display());
    let Some(folder) = there else {
        let failure = Failure::journal(format!("{} has no folder to be made in", path.display()));
        return Finding::problem("journal", &failure, "give another --journal");
    };
    // Rights are not read but tried: a disk may be read-only, and root may do everything.
    let probe = folder.join(format!(".ergane-doctor-{}", std::process::id()));
    match std::fs::write(&probe, "") {
        Ok(()) => {
            if let Err(error) = std::fs::remove_file(&probe) {
                tracing::warn!(file = %probe.display(), %error, "the probe is still there");
            }
            let (_, space) = space(folder);
            Finding::ok("journal", format!("{message}, {space}"))
        }
        Err(error) => {
            let failure = Failure::journal(format!("{} cannot be made: {error}", path.display()));
            Finding::problem(
                "journal",
                &failure,
                format!("make {} writable, or give --journal", folder.display()),
            )
        }
    }
}

/// The free space of the disk, also in words.
fn space(path: &Path) -> (Option<u64>, String) {
    #[cfg(unix)]
    if let Ok(disk) = rustix::fs::statvfs(path) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        return (Some(free), format!("{} MB free", free >> 20));
    }
    #[cfg(not(unix))]
    drop(path);
    (None, "free space unknown".to_owned())
}

/// Whether what a shell writes is confined by the kernel.
pub(super) async fn sandbox() -> Finding {
    let looked = tokio::task::spawn_blocking(ergane::tools::confines_writes).await;
    sandbox_is(looked.map_err(|error| error.to_string()))
}

fn sandbox_is(confined: Result<bool, String>) -> Finding {
    match confined {
        Ok(true) => Finding::ok("sandbox", "what a shell writes is confined by the kernel (landlock)"),
        Ok(false) => Finding::warning(
            "sandbox",
            "the kernel has no landlock: a shell that was allowed may write wherever its user may",
            "a Linux kernel of 5.13 or later with landlock in its `lsm=` list; else --deny bash",
        ),
        Err(error) => {
            let failure = Failure { exit: FAILED, ..Failure::internal(error) };
            Finding::problem("sandbox", &failure, "--deny bash")
        }
    }
}

pub(super) fn terminal() -> Finding {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let screen = std::io::stdout().is_terminal();
    if !screen {
        return Finding::ok("terminal", "stdout is none: plain text, no escape codes");
    }
    let colour = if is_set("NO_COLOR") { "no colour (NO_COLOR)" } else { "colour" };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
    let encoding = locale.and_then(|name| std::env::var(name).ok()).unwrap_or_default().to_lowercase();
    if std::env::var_os("TERM").is_some_and(|kind| kind == "dumb") {
        return Finding::warning("terminal", "TERM is dumb: plain text", "export TERM=xterm-256color");
    }
    let message = format!("{} columns, {colour}", crate::term::columns());
    if !encoding.is_empty() && !encoding.contains("utf-8") && !encoding.contains("utf8") {
        let message = format!("{message}, and no UTF-8 ({encoding})");
        return Finding::warning("terminal", message, "export LC_ALL=C.UTF-8");
    }
    Finding::ok("terminal", message)
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use crate::outcome::OK;

    #[test]
    fn a_kernel_that_confines_nothing_is_a_warning_that_says_what_to_do_until_there_is_another() {
        let without = sandbox_is(Ok(false));
        assert_eq!((without.status, without.exit), (Status::Warning, OK));
        assert!(without.message.contains("no landlock"), "{without:?}");
        assert!(without.fix.as_deref().is_some_and(|fix| fix.contains("--deny bash")), "{without:?}");
        let with = sandbox_is(Ok(true));
        assert_eq!((with.status, with.fix), (Status::Ok, None));
        let unknown = sandbox_is(Err("it panicked".to_owned()));
        assert_eq!((unknown.status, unknown.exit), (Status::Problem, FAILED));
        assert!(unknown.fix.is_some());
    }
}
