//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What everything costs, beside what it would cost on bare ractor.
#[derive(Debug, Parser)]
#[command(name = "ergane-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Measure so often, each time in a process of its own, and give the median and the spread
    #[arg(long, global = true, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
    /// Where SQLite files are put, and removed afterwards; it must be on a real disk [default: the system's folder for
    /// temporary files]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Spawn, stop, restart, call and memory of supervised children
    Otp(OtpArgs),
    /// One part of `otp`, in a process of its own: many idle children
    #[command(hide = true)]
    Children(ChildrenArgs),
    /// Whole turns with a scripted provider
    Turns(TurnsArgs),
    /// Whole turns over HTTP
    Http(HttpArgs),
    /// The server of `http`, in a process of its own: it ends when its standard input is closed
    #[command(hide = true)]
    Serve,
    /// Appends through the journal
    Journal(JournalArgs),
    /// Memory of idle sessions, then of passivated ones
    Idle(IdleArgs),
    /// A session's actor is killed: the time to its next answer
    Kill(KillArgs),
    /// Every session's actor is killed at once: the time until all of them answer
    CrashAll(CrashAllArgs),
    /// A journal with very many sessions: a page of their list, an opening, an append
    Names(NamesArgs),
    /// Very many listen to one session
    Fanout(FanoutArgs),
    /// A stored session with a long history is opened: the time to its first answer
    Open(OpenArgs),
    /// `ergane` is started on a journal of very many sessions: the time to its end
    ColdStart(ColdStartArgs),
    /// A sensible set of everything, as a table with the marks
    All {
        /// How much is measured, as a factor
        #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
        scale: f64,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OtpArgs {
    /// Measure bare ractor too, in turns with ours
    #[arg(long)]
    pub(crate) floor: bool,
    /// How often each operation is measured
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    pub(crate) operations: usize,
    /// How many children are started for the measurement of many
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = positive)]
    pub(crate) children: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ChildrenArgs {
    #[arg(long, value_parser = positive)]
    pub(crate) count: usize,
    #[arg(long)]
    pub(crate) bare: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TurnsArgs {
    /// What happens in a turn
    #[arg(long, value_enum, default_value_t = TurnKind::Text)]
    pub(crate) turn: TurnKind,
    /// How many sessions run turns at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub(crate) sessions: usize,
    /// How many turns each of them runs, one after the other
    #[arg(long, default_value_t = 2_000, value_name = "T", value_parser = positive)]
    pub(crate) turns: usize,
    /// Where facts are kept
    #[arg(long, value_enum, default_value_t = JournalKind::Memory)]
    pub(crate) journal: JournalKind,
    /// How long the model takes to answer, in milliseconds
    #[arg(long, default_value_t = 0, value_name = "L")]
    pub(crate) latency_ms: u64,
    /// How many messages each session has before
    #[arg(long, default_value_t = 0, value_name = "M")]
    pub(crate) history: usize,
    /// Measure the same shape on bare ractor too, which keeps nothing
    #[arg(long)]
    pub(crate) floor: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct HttpArgs {
    /// Where an OpenAI-compatible server is [default: one of our own on this machine that takes no time]
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// What happens in a turn: `text` or `tool`. Eight tools at once are measured by `turns` only: neither the server nor the
    /// requests by hand know of them
    #[arg(long, default_value = "text", value_parser = of_http)]
    pub(crate) turn: TurnKind,
    /// How many turns run at once, each in a session of its own
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub(crate) inflight: usize,
    /// How many turns each of them runs, one after the other
    #[arg(long, default_value_t = 1_000, value_name = "T", value_parser = positive)]
    pub(crate) turns: usize,
    /// Answers come in one piece
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// How many messages each session has before
    #[arg(long, default_value_t = 0, value_name = "M")]
    pub(crate) history: usize,
    /// Make the same requests by hand too, with reqwest alone and with a bare shape of ractor's actors
    #[arg(long)]
    pub(crate) floor: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct JournalArgs {
    /// How many sessions append at once
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = positive)]
    pub(crate) writers: usize,
    /// The size of an event's text
    #[arg(long, default_value_t = 1024, value_name = "B")]
    pub(crate) bytes: usize,
    /// How many events each of them appends, one after the other
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = positive)]
    pub(crate) appends: usize,
    /// Make the same appends with bare SQLite too, in turns with ours: one thread that groups what came meanwhile
    #[arg(long)]
    pub(crate) floor: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct IdleArgs {
    /// How many sessions
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = positive)]
    pub(crate) sessions: usize,
    /// Where facts are kept
    #[arg(long, value_enum, default_value_t = JournalKind::Memory)]
    pub(crate) journal: JournalKind,
    /// Measure sessions of bare ractor too, which keep nothing, in a process of their own
    #[arg(long)]
    pub(crate) floor: bool,
    /// Only those
    #[arg(long, hide = true)]
    pub(crate) bare: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct KillArgs {
    /// How many kills
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = positive)]
    pub(crate) kills: usize,
    /// Where facts are kept
    #[arg(long, value_enum, default_value_t = JournalKind::Memory)]
    pub(crate) journal: JournalKind,
    /// How many messages the session has
    #[arg(long, default_value_t = 0, value_name = "M")]
    pub(crate) history: usize,
    /// Kill a named actor of bare ractor too, which has nothing to load
    #[arg(long)]
    pub(crate) floor: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CrashAllArgs {
    /// How many sessions
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = positive)]
    pub(crate) sessions: usize,
    /// Where facts are kept
    #[arg(long, value_enum, default_value_t = JournalKind::Memory)]
    pub(crate) journal: JournalKind,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct NamesArgs {
    /// How many sessions are in the journal
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = positive)]
    pub(crate) sessions: usize,
    /// Where they are kept
    #[arg(long, value_enum, default_value_t = JournalKind::Sqlite)]
    pub(crate) journal: JournalKind,
    /// How often each operation is measured
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = positive)]
    pub(crate) operations: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutArgs {
    /// How many listen
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = positive)]
    pub(crate) subscribers: usize,
    /// How many pieces the answer has, fifty a second
    #[arg(long, default_value_t = 100, value_name = "D", value_parser = positive)]
    pub(crate) deltas: usize,
    /// Where facts are kept
    #[arg(long, value_enum, default_value_t = JournalKind::Memory)]
    pub(crate) journal: JournalKind,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OpenArgs {
    /// How many events the session has, about
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = positive)]
    pub(crate) events: usize,
    /// How often it is opened
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = positive)]
    pub(crate) opens: usize,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ColdStartArgs {
    /// How many sessions are in the journal
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = positive)]
    pub(crate) sessions: usize,
    /// How often each command is started
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = positive)]
    pub(crate) starts: usize,
    /// The program that is started [default: the `ergane` that lies beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TurnKind {
    /// The model answers with a text
    Text,
    /// The model asks for a tool, then answers
    Tool,
    /// The model asks for eight tools at once, then answers
    Tools8,
}

impl TurnKind {
    pub(crate) fn tools(self) -> u32 {
        match self {
            Self::Text => 0,
            Self::Tool => 1,
            Self::Tools8 => 8,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Tool => "tool",
            Self::Tools8 => "tools8",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JournalKind {
    /// In memory
    Memory,
    /// In an SQLite file
    Sqlite,
}

impl JournalKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be 1 or more".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

fn of_http(text: &str) -> Result<TurnKind, String> {
    match TurnKind::from_str(text, false)? {
        TurnKind::Tools8 => {
            Err("over HTTP it is `text` or `tool`; `ergane-bench turns --turn tools8` has eight tools"
                .to_owned())
        }
        kind => Ok(kind),
    }
}

#[cfg(test)]
#[path = "../../../tests/snippets.rs"]
mod snippets;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_shell_line_of_the_pages_that_measures_is_understood() {
        let mut calls = 0;
        for (page, text) in snippets::pages(&snippets::root(env!("CARGO_MANIFEST_DIR"))) {
            for line in snippets::blocks(&page, &text).into_iter().flatten() {
                let Some(arguments) = line.arguments_of("ergane-bench", Some("ergane-bench")) else {
                    continue;
                };
                calls += 1;
                let words = std::iter::once("ergane-bench").chain(arguments.iter().map(String::as_str));
                let parsed = Cli::try_parse_from(words);
                assert!(parsed.is_ok(), "{}: {:?}\n{}", line.place, line.words, parsed.unwrap_err());
            }
        }
        assert!(calls > 5, "lines are found: {calls}");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn eight_tools_over_http_are_refused_at_once_and_by_help() {
        let parse = |turn| Cli::try_parse_from(["ergane-bench", "http", "--turn", turn]);
        let refused = parse("tools8").unwrap_err().to_string();
        assert!(refused.contains("`ergane-bench turns --turn tools8`"), "{refused}");
        assert!(parse("eight").is_err());
        for turn in [TurnKind::Text, TurnKind::Tool] {
            assert!(
                matches!(parse(turn.as_str()).unwrap().command, Command::Http(http) if http.turn == turn)
            );
        }
        let mut command = Cli::command();
        let help = command.find_subcommand_mut("http").unwrap().render_help().to_string();
        assert!(help.contains("measured by `turns` only"), "{help}");
    }

    #[test]
    fn nothing_can_be_measured_of_no_sessions() {
        let parsed = Cli::try_parse_from(["ergane-bench", "turns", "--sessions", "0"]);
        assert!(parsed.unwrap_err().to_string().contains("1 or more"));
    }
}
