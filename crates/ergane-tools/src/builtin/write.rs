//! `write`: a file's whole content.

use ergane_tool::{ToolContext, ToolError, ToolOutput, tool};

use crate::blocking::{Stop, blocking};
use crate::diff::{Before, MAX_TEXT, with_diff};
use crate::files::{Opened, Place};
use crate::paths::Roots;

/// Writes a file: what was in it is replaced by `content`, to the byte. Folders are made when they are missing; the mode of
/// a file that is there is kept. To change a part of a file, use edit.
#[tool(crate = "ergane_tool", effect = "write", reach = "files")]
pub async fn write(
    ctx: &ToolContext,
    /// The file, relative to the working folder or absolute.
    path: String,
    /// Its new content, all of it.
    content: String,
) -> Result<ToolOutput, ToolError> {
    let context = ctx.clone();
    blocking(ctx, move |stop| write_file(&Roots::of(&context)?, &path, &content, stop)).await
}

fn write_file(roots: &Roots, path: &str, content: &str, stop: &Stop) -> Result<ToolOutput, ToolError> {
    let place = Place::to_write(roots, path)?;
    let old = place.open_if_there()?;
    let before = old.as_ref().map_or(Before::Nothing, text_of);
    place.put(old.as_ref().map(|old| &old.metadata), content.as_bytes(), stop)?;
    let output = ToolOutput::text(format!("wrote {} bytes to {}", content.len(), place.shown));
    Ok(with_diff(output, &place.shown, &before, content))
}

/// Only for the diff: what cannot be read, or is no text, can be replaced all the same.
fn text_of(old: &Opened) -> Before {
    if old.metadata.len() > MAX_TEXT as u64 {
        return Before::NoText;
    }
    let text = old.bytes(MAX_TEXT as u64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.filter(|text| !text.contains('\0')).map_or(Before::NoText, Before::Text)
}
