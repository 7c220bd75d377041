//! `query` and `run`: one question, nothing kept.

use ergane::core::SettingsPatch;
use ergane::session::TurnResult;

use super::{Home, Job, check_prompt};
use crate::args::AskArgs;
use crate::follow::{Following, follow, within};
use crate::outcome::Failure;
use crate::report::Report;
use crate::screen::Screen;
use crate::workshop::{Place, Workshop};

/// With tools, or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Run,
}

pub(crate) async fn run(kind: Kind, args: &AskArgs, home: Result<Home, Failure>, screen: Screen) -> u8 {
    let home = match home {
        Ok(home) => home,
        Err(failure) => return super::send::end_early(screen, None, &failure),
    };
    let mut job = match Job::new(&args.flags, home.config, screen) {
        Ok(job) => job,
        Err((screen, failure)) => return super::send::end_early(screen, None, &failure),
    };
    let asked = ask(kind, args, &mut job).await;
    let report = match &asked {
        Ok(result) => Report::of_one_shot(result),
        Err(failure) => Report::of_failure(None, failure, job.started.elapsed()),
    };
    job.screen.finish(&report);
    if job.screen.stdout.has_failed() { report.exit.max(crate::outcome::FAILED) } else { report.exit }
}

async fn ask(kind: Kind, args: &AskArgs, job: &mut Job<'_>) -> Result<TurnResult, Failure> {
    check_prompt(&args.prompt)?;
    if kind == Kind::Query && args.flags.tools.as_deref().is_some_and(|tools| tools != "none") {
        return Err(Failure::config("query uses no tools: take run, or leave --tools away"));
    }
    if kind == Kind::Query && args.flags.max_iterations.is_some() {
        return Err(Failure::config("query is one model call: take run, or leave --max-iterations away"));
    }
    let workshop = job.workshop(&Place::Memory).await?;
    let answer = match job.patch(&workshop, None).await {
        Ok(patch) => answer(kind, args, job, &workshop, patch).await,
        Err(failure) => Err(failure),
    };
    workshop.close(job.shutdown()).await;
    answer
}

async fn answer(
    kind: Kind,
    args: &AskArgs,
    job: &mut Job<'_>,
    workshop: &Workshop,
    patch: SettingsPatch,
) -> Result<TurnResult, Failure> {
    let prompt = args.prompt.as_str();
    let question = match kind {
        Kind::Query => workshop.system.query(prompt),
        Kind::Run => workshop.system.run(prompt),
    };
    let until = job.until();
    let start = async { Ok(question.settings(patch).stream().await?) };
    let stream = job.signals.guard(within(until, start)).await?;
    let Some(session) = stream.session().cloned() else {
        return Err(Failure::internal("the question has no session"));
    };
    let following = Following::OneShot(stream);
    let followed = follow(following, &session, &mut job.screen, &mut job.signals, until).await;
    followed.map_err(|failure| if failure.is_waiting() { nothing_waits(failure) } else { failure })
}

/// Nothing is kept, so there will be nothing to be decided.
fn nothing_waits(failure: Failure) -> Failure {
    let calls = failure.message.split(';').next().unwrap_or_default().to_owned();
    let message = format!(
        "{calls}, and nothing is kept of a run that could wait: grant it with --allow or --permissions, or use send"
    );
    Failure { message, ..failure }
}
