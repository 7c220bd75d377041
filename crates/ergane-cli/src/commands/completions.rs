//! `completions`: what a shell needs to complete this command, made from its parser.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::outcome::{FAILED, OK};
use crate::screen::Stdout;

pub(super) fn run(shell: Shell) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ergane", &mut script);
    let mut stdout = Stdout::default();
    stdout.write(&String::from_utf8_lossy(&script));
    if stdout.has_failed() { FAILED } else { OK }
}
