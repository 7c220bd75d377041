//! What a shell may write to, enforced by the kernel where it can be.
//!
//! Landlock confines a thread and what it starts, for ever. So it is set up on a thread that ends right after it started
//! the shell, without any code between fork and exec, which would have to be unsafe. Reading and executing stay free: a
//! shell that may not read the system's libraries runs nothing.

use std::io;
use std::os::fd::AsFd;

/// Confines this thread's writes to `folders` and `/dev/null`. Returns whether the kernel enforces it.
#[cfg(target_os = "linux")]
pub(crate) fn confine_writes<F: AsFd>(folders: &[F]) -> io::Result<bool> {
    use landlock::{
        AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
        RulesetCreatedAttr, RulesetStatus, make_bitflags,
    };

    let write_file: BitFlags<AccessFs> = make_bitflags!(AccessFs::{WriteFile | Truncate});
    let writes: BitFlags<AccessFs> = write_file
        | make_bitflags!(AccessFs::{
            RemoveDir | RemoveFile | MakeChar | MakeDir | MakeReg | MakeSock | MakeFifo | MakeBlock | MakeSym | Refer
        });
    // Each older kernel knows fewer of these rights; the best it can do is better than nothing.
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(writes)
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for folder in folders {
        rules = rules.add_rule(PathBeneath::new(folder, writes)).map_err(io::Error::other)?;
    }
    if let Ok(null) = PathFd::new("/dev/null") {
        rules = rules.add_rule(PathBeneath::new(null, write_file)).map_err(io::Error::other)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Whether the kernel confines what a shell of the `bash` tool writes. Finds out by doing it, on a thread that ends then;
/// blocks for as long as that takes, which is not long.
pub fn confines_writes() -> bool {
    let tried = std::thread::Builder::new()
        .name("ergane-sandbox".to_owned())
        .spawn(|| confine_writes::<std::fs::File>(&[]).unwrap_or(false))
        .map(std::thread::JoinHandle::join);
    matches!(tried, Ok(Ok(true)))
}

/// Other systems have no such thing.
#[cfg(not(target_os = "linux"))]
pub(crate) fn confine_writes<F: AsFd>(_folders: &[F]) -> io::Result<bool> {
    Ok(false)
}
