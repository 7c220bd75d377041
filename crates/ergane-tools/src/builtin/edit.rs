//! `edit`: a part of a file, by its exact text.

use ergane_tool::{ToolContext, ToolError, ToolOutput, tool};

use crate::blocking::{Stop, blocking};
use crate::diff::{Before, with_diff};
use crate::exact::{self, listed};
use crate::files::Place;
use crate::kind::{HEAD, Kind, kind_of};
use crate::paths::Roots;

/// Bytes of a file that is edited, before and after.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Replaces a text in a file by another. The text must be there exactly as given (without the line numbers that read
/// shows), and once, unless `replace_all` is set. Line ends, mode, and all else of the file stay as they are.
#[tool(crate = "ergane_tool", effect = "write", reach = "files")]
pub async fn edit(
    ctx: &ToolContext,
    /// The file, relative to the working folder or absolute.
    path: String,
    /// The text to be replaced, with as much around it as makes it the only one.
    old_string: String,
    /// The text in its place; empty to delete it.
    new_string: String,
    /// Whether to replace it wherever it is. Only the one that there is, when left out.
    replace_all: Option<bool>,
) -> Result<ToolOutput, ToolError> {
    let context = ctx.clone();
    let everywhere = replace_all.unwrap_or(false);
    blocking(ctx, move |stop| {
        edit_file(&Roots::of(&context)?, &path, &old_string, &new_string, everywhere, stop)
    })
    .await
}

fn edit_file(
    roots: &Roots,
    path: &str,
    old: &str,
    new: &str,
    everywhere: bool,
    stop: &Stop,
) -> Result<ToolOutput, ToolError> {
    let place = Place::of(roots, path)?;
    let opened = place.open()?;
    let name = &place.shown;
    let size = opened.metadata.len();
    if size > MAX_FILE {
        let reason =
            format!("{name} has {size} bytes, more than the {MAX_FILE} of a file that is edited; use bash");
        return Err(ToolError::Failed(reason));
    }
    let bytes = opened.bytes(MAX_FILE).map_err(|error| place.cannot("read", &error))?;
    let content = text(bytes).map_err(|what| ToolError::failed(format!("{name} {what}")))?;
    let max = usize::try_from(MAX_FILE).unwrap_or(usize::MAX);
    let done = exact::replace(&content, old, new, everywhere, max)
        .map_err(|why| ToolError::failed(format!("{name} {why}")))?;
    place.put(Some(&opened.metadata), done.text.as_bytes(), stop)?;
    let said = match (done.count, done.lines.as_slice()) {
        (1, [line]) => format!("replaced 1 occurrence in {name}, at line {line}"),
        (count, lines) => {
            format!("replaced {count} occurrences in {name}, at lines {}", listed(lines, count))
        }
    };
    Ok(with_diff(ToolOutput::text(said), name, &Before::Text(content), &done.text))
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    if let Kind::Binary(kind) = kind_of(bytes.get(..HEAD).unwrap_or(&bytes)) {
        return Err(format!("is {kind}, not text"));
    }
    String::from_utf8(bytes)
        .map_err(|_| "is not valid UTF-8, so its text cannot be replaced exactly; use bash".to_owned())
}
