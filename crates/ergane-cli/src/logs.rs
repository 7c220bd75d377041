//! Logs: to stderr, and only what is asked for.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Warnings by default; RUST_LOG beats the flags.
pub(crate) fn start(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let flags = || EnvFilter::new(level);
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.trim().is_empty() => EnvFilter::try_new(&wanted).unwrap_or_else(|_| flags()),
        _ => flags(),
    };
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| {
            crate::term::display::make_room();
            std::io::stderr()
        })
        .with_ansi(colour)
        .log_internal_errors(false)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        // Another one is there already, which is as good.
    }
}
