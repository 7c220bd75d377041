//! This program again, in a process of its own: memory that one run has used is not there for the next.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::record::{Record, medians};

/// Runs this program with `args`, and reads what it measured.
pub(crate) fn run(args: &[OsString]) -> Outcome<Vec<Record>> {
    let output =
        Command::new(std::env::current_exe()?).args(args).arg("--json").stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        return Err(format!("`ergane-bench {}` failed", args.join(" ")).into());
    }
    String::from_utf8(output.stdout)?.lines().map(Record::from_json).collect()
}

/// The same command line so often; medians and spreads.
pub(crate) fn repeated(times: u32) -> Outcome<Vec<Record>> {
    let args = once(std::env::args_os().skip(1));
    let runs = (0..times).map(|_| run(&args)).collect::<Outcome<Vec<_>>>()?;
    Ok(medians(&runs))
}

/// The command line without what says how often, and how to print it.
fn once(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = args;
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == "--repeat" {
            // Its value goes with it.
            args.next();
        } else if text != "--json" && !text.starts_with("--repeat=") {
            kept.push(arg);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_the_same_command_once() {
        let line = ["--json", "turns", "--repeat", "3", "--turns", "5", "--repeat=3"];
        let kept = once(line.into_iter().map(OsString::from));
        assert_eq!(kept, ["turns", "--turns", "5"]);
    }
}
