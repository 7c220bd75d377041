//! `glob`: the files that a pattern means.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ergane_tool::{ToolContext, ToolError, ToolOutput, tool};
use rustix::fs::Stat;
use serde_json::json;

use crate::blocking::{Stop, blocking};
use crate::paths::Roots;
use crate::walk::{Pattern, is_wild};

/// Finds files by a pattern such as `src/**/*.rs`: `*` within a folder, `**` over folders, `?`, `[a-z]`, `{a,b}`. Lists
/// their paths, the newest first. What .gitignore excludes is left out, and hidden files unless the pattern names them.
#[tool(crate = "ergane_tool", effect = "read")]
pub async fn glob(
    ctx: &ToolContext,
    /// The pattern, relative to the working folder.
    pattern: String,
    /// At most so many paths: 200 when left out, 5000 at most.
    max_results: Option<usize>,
) -> Result<ToolOutput, ToolError> {
    let max = bounded("max_results", max_results, 200, 5_000)?;
    let context = ctx.clone();
    blocking(ctx, move |stop| find(&Roots::of(&context)?, &pattern, max, stop)).await
}

/// The value of an argument, or its default; an error outside of 1 to `most`.
pub(crate) fn bounded(
    name: &str,
    value: Option<usize>,
    default: usize,
    most: usize,
) -> Result<usize, ToolError> {
    let value = value.unwrap_or(default);
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    Err(ToolError::Arguments {
        path: name.to_owned(),
        reason: format!("it must be 1 to {most}, not {value}"),
    })
}

/// Ordered so that the greatest is shown first: newest, then by path.
type Match = (Modified, Reverse<String>);

fn find(roots: &Roots, pattern: &str, max: usize, stop: &Stop) -> Result<ToolOutput, ToolError> {
    let parsed = Pattern::parse(roots, pattern, "pattern")?;
    // The least of those kept is on top, so that a tree of any size needs memory for `max` paths only.
    let mut newest: BinaryHeap<Reverse<Match>> = BinaryHeap::new();
    let mut total = 0_usize;
    let mut lossy = false;
    parsed.walk(roots, false, stop, |found| {
        total += 1;
        lossy |= found.path.to_str().is_none();
        newest.push(Reverse((modified(&found.stat), Reverse(roots.show(found.path)))));
        if newest.len() > max {
            newest.pop();
        }
        Ok(true)
    })?;
    let ui = json!({ "pattern": pattern, "shown": newest.len(), "total": total });
    if total == 0 {
        return Ok(ToolOutput::text(nothing(roots, pattern)).with_ui("files", ui));
    }
    let mut out = String::new();
    for Reverse((_, Reverse(path))) in newest.into_sorted_vec() {
        out.push_str(&path);
        out.push('\n');
    }
    out.pop();
    if total > max {
        out.push_str(&format!(
            "\n[the newest {max} of {total} matches; narrow the pattern, or raise max_results (at most 5000)]"
        ));
    }
    if lossy {
        out.push_str("\n[a name here is not valid UTF-8; what could not be read is shown as \u{fffd}]");
    }
    Ok(ToolOutput::text(out).with_ui("files", ui))
}

/// In seconds and nanoseconds since 1970, also before it.
type Modified = (i64, i64);

fn modified(stat: &Stat) -> Modified {
    // Their types differ from system to system.
    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
    (stat.st_mtime.try_into().unwrap_or(0), stat.st_mtime_nsec.try_into().unwrap_or(0))
}

fn nothing(roots: &Roots, pattern: &str) -> String {
    let is_folder = !is_wild(pattern) && roots.resolve(pattern).is_ok_and(|path| path.is_dir());
    if is_folder {
        let folder = pattern.trim_end_matches('/');
        return format!("(no matches) {folder} is a folder: list it with {folder}/*");
    }
    "(no matches)".to_owned()
}
