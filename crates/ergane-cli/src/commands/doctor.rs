//! `doctor`: looks whether everything is usable, and says how to mend what is not.

mod checks;
mod providers;

use ergane::core::Text;
use serde::Serialize;

use super::Home;
use super::inventory::{Printed, default_provider};
use crate::args::Global;
use crate::outcome::{Failure, OK};
use crate::plain;
use crate::term::{Paint, Style};

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at: `config`, `journal`, `provider NAME`, `sandbox`, `terminal`.
    check: String,
    status: Status,
    /// What is so.
    message: String,
    /// The command or the line that mends it, or makes it usable; of whatever is not `ok` there is one.
    fix: Option<String>,
    #[serde(skip)]
    exit: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Ok,
    /// It is not set up, and nothing needs it.
    Unused,
    /// It works, and not as well as it could.
    Warning,
    /// It does not work.
    Problem,
}

impl Finding {
    fn ok(check: impl Into<String>, message: impl Into<String>) -> Self {
        let (check, message) = (check.into(), message.into());
        Self { check, status: Status::Ok, message, fix: None, exit: OK }
    }

    fn unused(check: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Unused, fix: Some(fix.into()), ..Self::ok(check, message) }
    }

    fn warning(check: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Warning, ..Self::unused(check, message, fix) }
    }

    fn problem(check: impl Into<String>, failure: &Failure, fix: impl Into<String>) -> Self {
        let finding = Self::unused(check, failure.message.clone(), fix);
        Self { status: Status::Problem, exit: failure.exit, ..finding }
    }
}

#[derive(Debug, Serialize)]
struct Found {
    usable: bool,
    findings: Vec<Finding>,
}

pub(super) async fn examine(global: &Global) -> Result<Printed, Failure> {
    let home = Home::find(global);
    let mut findings = vec![checks::config(&home)];
    if let Ok(home) = home {
        findings.push(checks::journal(&home.place).await);
        let default: Text = default_provider(&home.config).await;
        findings.extend(providers::providers(&home.config, &default).await);
    }
    findings.push(checks::sandbox().await);
    findings.push(checks::terminal());
    // The first that does not work decides: what follows may be its consequence.
    let exit =
        findings.iter().find(|finding| finding.status == Status::Problem).map_or(OK, |first| first.exit);
    let text = findings.iter().map(shown).collect();
    let found = Found { usable: exit == OK, findings };
    Ok(Printed { exit, ..Printed::new(found, text)? })
}

fn shown(finding: &Finding) -> String {
    use std::io::IsTerminal;
    let paint = Paint(Paint::of_environment().0 && std::io::stdout().is_terminal());
    let (style, word) = match finding.status {
        Status::Ok => (Style::Good, "ok"),
        Status::Unused => (Style::Dim, "unused"),
        Status::Warning => (Style::Ask, "warning"),
        Status::Problem => (Style::Bad, "PROBLEM"),
    };
    let status = paint.of(style, &format!("{word:<8}"));
    let message = plain::on_one_line(&finding.message, usize::MAX);
    let fix = finding.fix.as_ref().map(|fix| format!("        → {}\n", plain::on_one_line(fix, usize::MAX)));
    format!("{status}{}: {message}\n{}", finding.check, fix.unwrap_or_default())
}
