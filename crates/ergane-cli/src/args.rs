//! What the command line says. Only what is built is in the parser: an option without effect would be a lie.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use ergane::core::{MicroUsd, PermissionMode};

use crate::duration;

/// Conversations with language models as supervised, durable sessions.
#[derive(Debug, Parser)]
#[command(name = "ergane", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What cannot be said together, wherever it stands. (clap looks at each command's own words only, and the global ones may stand before
/// them.)
const EITHER: [[&str; 2]; 2] = [["json", "stream_json"], ["quiet", "verbose"]];

impl Cli {
    /// The words of a command line, its first one the program's name.
    ///
    /// # Errors
    /// What clap says of them, to be printed.
    pub(crate) fn read(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(line)?;
        let mut last = &matches;
        while let Some((_, further)) = last.subcommand() {
            last = further;
        }
        let is_said = |id: &str| {
            let source = last.try_contains_id(id).ok().and_then(|_| last.value_source(id));
            source.is_some_and(|source| source == ValueSource::CommandLine)
        };
        if let Some([one, other]) = EITHER.iter().find(|both| both.iter().all(|id| is_said(id))) {
            let flag = |id: &str| format!("--{}", id.replace('_', "-"));
            let message = format!("the argument '{}' cannot be used with '{}'", flag(other), flag(one));
            return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
        }
        Self::from_arg_matches(&matches)
    }
}

/// Accepted by every command, before or after its words.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The journal: a file, or `:memory:` [default: $ERGANE_JOURNAL, else the configured one, else ergane/ergane.db in the user's data directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) journal: Option<PathBuf>,
    /// The configuration [default: $ERGANE_CONFIG, else ergane/ergane.toml in the user's config directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One JSON object on stdout at the end
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more, to stderr; twice for still more (RUST_LOG says it in detail)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Nothing on stderr but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One model call, no tools, nothing kept
    Query(AskArgs),
    /// One agent run with tools, nothing kept
    Run(AskArgs),
    /// One turn on a durable session, made when it does not exist; an open turn left by a crash is finished first
    Send(SendArgs),
    /// Finish open turns left by a crash, and print how each ended
    Resume(ResumeArgs),
    /// A conversation, turn by turn; without a name, on a new session
    Chat(ChatArgs),
    /// The calls of a session that wait for a decision, and the decision
    Approve(ApproveArgs),
    /// Put a word into the turn that a running process has open
    #[cfg(unix)]
    Steer(SteerArgs),
    /// End the turn that a running process has open; the session is kept
    #[cfg(unix)]
    Interrupt(InterruptArgs),
    /// The stored sessions
    Sessions(SessionsArgs),
    /// The providers there are, and where their keys are
    Providers,
    /// The models that the providers have
    Models(ModelsArgs),
    /// The tools there are, and what they do to the world
    Tools,
    /// Looks whether configuration, journal, providers, sandbox and terminal are usable, and says how to mend them
    Doctor,
    /// Completions for a shell, to be sourced or put where it looks for them
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The live supervision trees of all processes on the same journal that have a socket
    #[cfg(unix)]
    Top,
}

#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// What to ask
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) flags: TurnFlags,
}

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// The session: 1 to 128 ASCII letters, digits and ._-/:@
    pub(crate) session: String,
    /// What to say
    pub(crate) prompt: String,
    /// Idempotency key, per session: the same key again is the same turn, also after a crash
    #[arg(long)]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) flags: TurnFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The session [default: all]
    #[arg(conflicts_with = "all")]
    pub(crate) session: Option<String>,
    /// Every session with an open turn that no running process owns
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) flags: TurnFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// The session [default: a new one]
    pub(crate) session: Option<String>,
    #[command(flatten)]
    pub(crate) flags: TurnFlags,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The session
    pub(crate) session: String,
    /// The call, as the list of those that wait names it; may be left out when there is one only
    pub(crate) call: Option<String>,
    /// The question that is answered, as the list names it; needed of a call that was decided about before
    #[arg(long, value_name = "N")]
    pub(crate) question: Option<u64>,
    /// It runs
    #[arg(long, conflicts_with = "deny")]
    pub(crate) allow: bool,
    /// It does not run, and the model is told so
    #[arg(long)]
    pub(crate) deny: bool,
    /// It does not run, because it was done otherwise: this is its result, for the model
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["allow", "deny"])]
    pub(crate) done: Option<String>,
    /// Why not, for the model
    #[arg(long, value_name = "TEXT", requires = "deny", conflicts_with = "allow")]
    pub(crate) reason: Option<String>,
}

#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    /// The session
    pub(crate) session: String,
    /// What to say
    pub(crate) prompt: String,
    /// Idempotency key, per session: the same key again is put in once
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Give up an answer that is under way, and ask again at once
    #[arg(long)]
    pub(crate) cut: bool,
}

#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct InterruptArgs {
    /// The session
    pub(crate) session: String,
    /// Why, for the log and the model
    #[arg(long, value_name = "TEXT", default_value = "interrupted by the user")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Ask this provider only [default: all that are set up]
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Another place of the provider
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// The environment variable that holds the key
    #[arg(long, value_name = "VAR")]
    pub(crate) api_key_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SessionsCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Name, status, turns, last activity, tokens, cost
    List,
    /// Settings, status, and the whole conversation
    Show(NameArg),
    /// The facts of a session, one a line
    Events(NameArg),
    /// The whole log as JSON lines
    Export(NameArg),
    /// Remove a session and its log, unless a running process owns it
    Delete(NameArg),
    /// Give this point of the history a name, to fork there or to rewind to it
    Checkpoint {
        /// The session
        session: String,
        /// The name, which is not only digits
        label: String,
    },
    /// Make another session of one's history, up to now or up to a point of it
    Fork {
        /// The session
        session: String,
        /// The name of the new one
        new: String,
        /// Up to this event, or to the checkpoint of that name
        #[arg(long, value_name = "SEQ")]
        at: Option<String>,
    },
    /// Go on from an earlier point; nothing is erased
    Rewind {
        /// The session
        session: String,
        /// The event, or the name of a checkpoint
        #[arg(long, value_name = "SEQ|LABEL")]
        to: String,
    },
    /// Let a session run again that failed too often in a running process, or whose log was mended
    QuarantineLift(NameArg),
}

#[derive(Debug, Args)]
pub(crate) struct NameArg {
    /// The session
    pub(crate) session: String,
}

/// What all commands that run a turn share. What is not given keeps what the session has stored.
#[derive(Debug, Default, Args)]
pub(crate) struct TurnFlags {
    /// ollama, openai, openai_responses, anthropic, gemini, scripted or one of the configuration [default: the session's; else the configured one, a reachable local Ollama, the first of ANTHROPIC_API_KEY, OPENAI_API_KEY and GEMINI_API_KEY that is set, scripted]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) provider: Option<String>,
    /// The model at the provider
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) model: Option<String>,
    /// Another place of the provider, such as an OpenAI-compatible server
    #[arg(long, value_name = "URL", help_heading = "Model")]
    pub(crate) base_url: Option<String>,
    /// The environment variable that holds the key
    #[arg(long, value_name = "VAR", help_heading = "Model")]
    pub(crate) api_key_env: Option<String>,
    /// Play this file of JSON lines instead of the built-in conversation (provider scripted)
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub(crate) script: Option<PathBuf>,
    /// Ask the provider for whole answers; `--no-stream=false` streams them again
    #[arg(long, help_heading = "Model", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) no_stream: Option<bool>,
    /// At most N further attempts after the first [default: 4]
    #[arg(long, value_name = "N", help_heading = "Model")]
    pub(crate) retries: Option<u32>,
    /// Silence on a stream that counts as cut, such as 500ms, 30s, 2m, 1h [default: 120s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "Model")]
    pub(crate) idle_timeout: Option<Duration>,

    /// The system prompt
    #[arg(long, value_name = "TEXT", help_heading = "Agent")]
    pub(crate) system: Option<String>,
    /// The tools offered: all, none, or names
    #[arg(long, value_name = "all|none|a,b,c", help_heading = "Agent")]
    pub(crate) tools: Option<String>,
    /// The folder that the tools work in, and are confined to
    #[arg(long, value_name = "DIR", help_heading = "Agent")]
    pub(crate) cwd: Option<PathBuf>,
    /// What may run unasked: default (what reads, and what is allowed), plan (only what reads, and nothing is asked),
    /// accept-edits (edits of files too), bypass (everything)
    #[arg(long, value_enum, value_name = "MODE", help_heading = "Agent")]
    pub(crate) permissions: Option<Mode>,
    /// The only tools that may run; these are granted
    #[arg(long, value_name = "a,b", value_delimiter = ',', help_heading = "Agent")]
    pub(crate) allow: Option<Vec<String>>,
    /// Tools that never run
    #[arg(long, value_name = "a,b", value_delimiter = ',', help_heading = "Agent")]
    pub(crate) deny: Option<Vec<String>>,

    /// Rounds of tools in one turn [default: 25]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub(crate) max_iterations: Option<u32>,
    /// Money for one turn, where the provider tells its cost
    #[arg(long, value_name = "X", value_parser = usd, help_heading = "Limits")]
    pub(crate) max_budget_usd: Option<MicroUsd>,
    /// Give up waiting; the turn stays open and the next send or resume finishes it
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, help_heading = "Limits")]
    pub(crate) timeout: Option<Duration>,

    /// One JSON event per line on stdout as they happen; the last is the result
    #[arg(long)]
    pub(crate) stream_json: bool,
}

/// The permission modes, as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Default,
    Plan,
    AcceptEdits,
    Bypass,
}

impl Mode {
    /// The words for them.
    pub(crate) fn words() -> Vec<String> {
        let word = |mode: &Self| mode.to_possible_value().map(|value| value.get_name().to_owned());
        Self::value_variants().iter().filter_map(word).collect()
    }

    /// The mode of that word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::from_str(word, false).ok()
    }
}

impl From<Mode> for PermissionMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Default => Self::Default,
            Mode::Plan => Self::Plan,
            Mode::AcceptEdits => Self::AcceptEdits,
            Mode::Bypass => Self::Bypass,
        }
    }
}

fn usd(text: &str) -> Result<MicroUsd, String> {
    let amount = text.parse().ok().and_then(MicroUsd::from_usd);
    amount.ok_or_else(|| "not an amount of US dollars, such as 0.25".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(std::iter::once("ergane").chain(line.split_whitespace()))
    }

    #[test]
    fn the_parser_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_and_after_the_words() {
        for line in ["--json --journal j.db sessions show a", "sessions --json show a --journal j.db"] {
            let cli = parse(line).unwrap();
            assert!(cli.global.json, "{line}");
            assert_eq!(cli.global.journal.as_deref(), Some(std::path::Path::new("j.db")), "{line}");
        }
    }

    #[test]
    fn what_is_not_built_is_not_in_the_parser() {
        for line in ["sessions fork a", "sessions rewind a", "run x --mode react", "run x --key k"] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn values_are_checked_while_parsing() {
        for line in [
            "run x --timeout 5",
            "run x --timeout 0s",
            "run x --retries -1",
            "run x --max-iterations many",
            "run x --max-budget-usd -1",
            "run x --json --stream-json",
            "--json run x --stream-json",
            "-q -v run x",
            "-q run x -v",
            "-v sessions show a -q",
            "resume a --all",
            "send a",
            "approve a --allow --deny",
            "approve a --allow --reason x",
            "completions csh",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
        assert!(
            parse("run x --allow a,b --deny c --max-budget-usd 0.5 --timeout 2m --idle-timeout 500ms")
                .is_ok()
        );
    }
}
