//! `read`: a file, by lines.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ergane_tool::{Part, ToolContext, ToolError, ToolOutput, tool};
use serde_json::json;

use crate::blocking::{Stop, blocking};
use crate::files::{Opened, Place};
use crate::kind::{HEAD, Kind, kind_of};
use crate::lines::{Line, next_line, shown};
use crate::paths::Roots;

/// Bytes of a file that is read without saying which part of it, and of an image.
const MAX_FILE: u64 = 2_000_000;

/// Characters of a line.
const MAX_LINE: usize = 2_000;

/// Bytes of text in one result; a part of a larger file may be asked for, but not all of it at once.
const MAX_RESULT: usize = 1_000_000;

/// Reads a file. Text comes as `N<tab>line` with the file's own line numbers; PNG, JPEG, GIF and WebP images are shown.
/// Lines are cut at 2,000 characters. A file over 2 MB needs `offset` or `limit`.
#[tool(crate = "ergane_tool", effect = "read")]
pub async fn read(
    ctx: &ToolContext,
    /// The file, relative to the working folder or absolute.
    path: String,
    /// The first line to read, counted from 1.
    offset: Option<u64>,
    /// How many lines to read.
    limit: Option<u64>,
) -> Result<ToolOutput, ToolError> {
    positive("offset", offset)?;
    positive("limit", limit)?;
    let context = ctx.clone();
    let work = move |stop: &Stop| read_file(&Roots::of(&context)?, &path, offset, limit, stop);
    blocking(ctx, work).await
}

fn positive(name: &str, value: Option<u64>) -> Result<(), ToolError> {
    if value == Some(0) {
        return Err(ToolError::Arguments {
            path: name.to_owned(),
            reason: "it must be 1 or more".to_owned(),
        });
    }
    Ok(())
}

fn read_file(
    roots: &Roots,
    path: &str,
    offset: Option<u64>,
    limit: Option<u64>,
    stop: &Stop,
) -> Result<ToolOutput, ToolError> {
    let place = Place::of(roots, path)?;
    let Opened { mut file, metadata } = place.open()?;
    let name = &place.shown;
    let failed = |error: std::io::Error| place.cannot("read", &error);
    let mut head = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    match kind_of(&head) {
        Kind::Binary(kind) => Err(ToolError::failed(format!("{name} is {kind}, not text"))),
        Kind::Image(mime) => {
            if metadata.len() > MAX_FILE {
                let size = metadata.len();
                return Err(ToolError::failed(format!(
                    "{name} is an image of {size} bytes; {MAX_FILE} can be shown"
                )));
            }
            file.take(MAX_FILE).read_to_end(&mut head).map_err(failed)?;
            Ok(image(name, mime, &head))
        }
        Kind::Text if metadata.len() > MAX_FILE && offset.is_none() && limit.is_none() => {
            Err(ToolError::failed(format!(
                "{name} has {} bytes, more than the {MAX_FILE} that are read at once; read a part of it with `offset` \
                 and `limit`, or look for what you need with grep",
                metadata.len()
            )))
        }
        Kind::Text => {
            file.rewind().map_err(failed)?;
            text(name, file, offset.unwrap_or(1), limit.unwrap_or(u64::MAX), stop)
        }
    }
}

fn image(name: &str, mime: &'static str, bytes: &[u8]) -> ToolOutput {
    let data = BASE64_STANDARD.encode(bytes);
    let caption = Part::text(format!("{name} ({mime}, {} bytes)", bytes.len()));
    let image = Part::Image { mime: mime.into(), source: ergane_tool::ImageSource::Base64(data.into()) };
    let output = ToolOutput::from(vec![caption, image]);
    output.with_ui("image", json!({ "path": name, "mime": mime, "bytes": bytes.len() }))
}

fn text(name: &str, file: File, offset: u64, limit: u64, stop: &Stop) -> Result<ToolOutput, ToolError> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = Line::default();
    let mut number = 0_u64;
    let mut out = String::new();
    let mut replaced = 0_u64;
    let mut goes_on = false;
    loop {
        if number.is_multiple_of(1_000) {
            stop.check()?;
        }
        let more = next_line(&mut reader, MAX_LINE * 4, &mut line)
            .map_err(|error| ToolError::failed(format!("{name} cannot be read: {error}")))?;
        if !more {
            break;
        }
        number += 1;
        if number < offset {
            continue;
        }
        if number - offset >= limit || out.len() >= MAX_RESULT {
            goes_on = true;
            break;
        }
        let (shown, lossy, cut) = shown(&line.bytes, MAX_LINE);
        replaced += u64::from(lossy);
        out.push_str(&format!("{number}\t{shown}"));
        if cut || line.chars > MAX_LINE {
            out.push_str(&format!("… [cut: the line has {} characters]", line.chars));
        }
        out.push('\n');
    }
    if out.is_empty() {
        return match number {
            0 => Ok(with_ui(ToolOutput::text(format!("({name} is empty)")), name, 0, 0, false)),
            _ => Err(ToolError::failed(format!("{name} has {number} lines; there is no line {offset}"))),
        };
    }
    out.pop();
    if goes_on {
        out.push_str(&format!("\n[more lines follow; go on with offset {number}]"));
    }
    if replaced > 0 {
        out.push_str(&format!(
            "\n[{replaced} of these lines are not valid UTF-8; what could not be read is shown as \u{fffd}]"
        ));
    }
    let last = if goes_on { number - 1 } else { number };
    Ok(with_ui(ToolOutput::text(out), name, offset, last, goes_on))
}

/// For people: which lines were read, and not what is in them.
fn with_ui(output: ToolOutput, path: &str, first: u64, last: u64, more: bool) -> ToolOutput {
    output.with_ui("lines", json!({ "path": path, "first": first, "last": last, "more": more }))
}
