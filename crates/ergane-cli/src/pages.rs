//! What the documents say of the command is what its parser takes: a misspelt flag on a page is a red test.

use std::collections::BTreeSet;

use clap::CommandFactory;
use clap::error::ErrorKind as Refusal;
use ergane::core::{ErrorKind, FinishReason};

use crate::args::Cli;
use crate::outcome::{FAILED, INTERRUPTED, JOURNAL, OK, PROVIDER, USAGE, WAITING};

#[path = "../../../tests/snippets.rs"]
mod snippets;

const PAGE: &str = include_str!("../../../docs/command.md");

fn pages() -> Vec<(String, String)> {
    snippets::pages(&snippets::root(env!("CARGO_MANIFEST_DIR")))
}

fn parsed(arguments: &[String]) -> Result<Cli, clap::Error> {
    Cli::read(std::iter::once("ergane").chain(arguments.iter().map(String::as_str)))
}

#[test]
fn every_shell_line_of_the_pages_that_calls_the_command_is_understood() {
    let mut calls = 0;
    for (page, text) in pages() {
        for line in snippets::blocks(&page, &text).into_iter().flatten() {
            if let Some(arguments) = line.arguments_of("ergane", None) {
                calls += 1;
                let parsed = parsed(arguments);
                assert!(parsed.is_ok(), "{}: {:?}\n{}", line.place, line.words, parsed.unwrap_err());
            }
        }
    }
    assert!(calls > 20, "lines are found: {calls}");
}

/// The code within the text of a page, which may go over the end of a line.
fn spans(text: &str) -> Vec<String> {
    let outside: Vec<&str> = text.split("```").step_by(2).collect();
    let paragraphs = outside.iter().flat_map(|text| text.split("\n\n"));
    paragraphs
        .flat_map(|text| text.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")))
        .collect()
}

#[test]
fn what_the_text_of_the_pages_says_of_the_command_is_understood() {
    let mut calls = 0;
    for (page, text) in pages() {
        for span in
            spans(&text).iter().filter(|span| span.starts_with("ergane ") && !span.contains(['…', '[']))
        {
            let words = snippets::words(span);
            // A word in capitals stands for something.
            if words.iter().any(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase())) {
                continue;
            }
            calls += 1;
            if let Err(error) = parsed(&words[1..]) {
                // A command may be spoken of without its arguments.
                let is_part = matches!(
                    error.kind(),
                    Refusal::MissingRequiredArgument | Refusal::DisplayHelpOnMissingArgumentOrSubcommand
                );
                assert!(is_part, "{page}: `{span}`\n{error}");
            }
        }
    }
    assert!(calls > 5, "calls are found: {calls}");
}

/// The first cell of each row of the tables whose head begins so.
fn first_cells(head: &str) -> Vec<String> {
    let tables = PAGE.split("\n\n").filter(|table| table.starts_with(head));
    let cell = |row: &str| row.trim_start_matches("| ").split(" | ").next().unwrap_or_default().to_owned();
    tables.flat_map(|table| table.lines().skip(2).map(cell)).collect()
}

/// The words of every command that does something, such as `sessions show`.
fn commands(of: &clap::Command, path: &str) -> BTreeSet<String> {
    let own: Vec<_> = of.get_subcommands().filter(|command| command.get_name() != "help").collect();
    if own.is_empty() {
        return BTreeSet::from([path.trim().to_owned()]);
    }
    own.into_iter().flat_map(|command| commands(command, &format!("{path} {}", command.get_name()))).collect()
}

#[test]
fn the_table_of_commands_is_the_list_of_the_parser() {
    let named = first_cells("| command | what it does, and prints |").into_iter().map(|cell| {
        let words = cell.trim_matches('`').split(' ').skip(1);
        let lower = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        words.take_while(lower).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(named.collect::<BTreeSet<_>>(), commands(&Cli::command(), ""));
}

#[test]
fn the_tables_of_flags_are_those_of_the_parser() {
    fn flags(of: &clap::Command, into: &mut BTreeSet<String>) {
        into.extend(of.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned));
        of.get_subcommands().for_each(|command| flags(command, into));
    }
    let mut real = BTreeSet::new();
    flags(&Cli::command(), &mut real);
    let cells = first_cells("| flag | what it says |");
    let spans = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let named: BTreeSet<String> =
        spans.filter_map(|span| Some(span.strip_prefix("--")?.split(' ').next()?.to_owned())).collect();
    real.retain(|flag| flag != "help" && flag != "version");
    assert_eq!(named, real);
}

/// The words of all variants, which serde tells to whoever says another one.
fn words_of<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
    let told = serde_json::from_value::<T>("".into()).err().expect("no such word").to_string();
    told.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_object_on_the_page_has_the_fields_of_a_report() {
    let block = PAGE.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block");
    let shown: serde_json::Value = serde_json::from_str(block).unwrap();
    let real = serde_json::to_value(crate::report::Report::nothing(None)).unwrap();
    let fields =
        |object: &serde_json::Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(fields(&shown), fields(&real));
}

#[test]
fn the_page_tells_every_status_every_end_of_a_turn_and_every_kind_of_error() {
    let statuses = first_cells("| status | what it means |");
    let real = [OK, FAILED, USAGE, PROVIDER, JOURNAL, WAITING, INTERRUPTED].map(|status| status.to_string());
    assert_eq!(statuses, real);
    let listed = |head: &str| -> Vec<String> {
        let list =
            PAGE.split("\n- ").find(|item| item.starts_with(head)).expect("a list").split("\n\n").next();
        list.unwrap_or_default().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    };
    let ends = listed("`finish_reason`");
    assert_eq!(ends.into_iter().collect::<BTreeSet<_>>(), words_of::<FinishReason>());
    let kinds = listed("`error.kind`");
    let code = |word: String| serde_json::from_value::<ErrorKind>(word.into()).unwrap().code().to_owned();
    let of_turns = words_of::<ErrorKind>().into_iter().map(code);
    let real = of_turns.chain(["journal_locked", "config", "busy"].map(str::to_owned));
    assert_eq!(kinds.into_iter().collect::<BTreeSet<_>>(), real.collect());
}
