//! `grep`: the lines that a regular expression matches.

use std::fs::File;
use std::io::{self, Read};

use ergane_tool::{ToolContext, ToolError, ToolOutput, tool};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use serde_json::json;

use crate::blocking::{Stop, blocking};
use crate::builtin::glob::bounded;
use crate::lines::shown;
use crate::paths::Roots;
use crate::walk::{self, Pattern, is_wild};

/// Characters of a line.
const MAX_LINE: usize = 500;

/// Bytes of text in one result.
const MAX_RESULT: usize = 250_000;

/// Bytes that a line of a searched file may have; a file with a longer one is skipped and counted.
const HEAP: usize = 16 * 1024 * 1024;

/// Searches the contents of files for a regular expression (Rust syntax). Lists `path:line:text`. Binary files, hidden
/// files, and what .gitignore excludes are left out; lines are cut at 500 characters.
#[tool(crate = "ergane_tool", effect = "read")]
pub async fn grep(
    ctx: &ToolContext,
    /// The regular expression, matched line by line.
    pattern: String,
    /// Where to search: a file, a folder, or a pattern of files such as `src/**/*.rs`; one without a slash (`*.rs`) is looked
    /// for in all folders. Everything when left out.
    path_glob: Option<String>,
    /// At most so many matching lines: 200 when left out, 2000 at most.
    max_results: Option<usize>,
    /// Lines to show before and after each match: 0 when left out, 20 at most.
    context: Option<usize>,
    /// Whether upper and lower case are the same. They are not when left out.
    ignore_case: Option<bool>,
) -> Result<ToolOutput, ToolError> {
    let max = bounded("max_results", max_results, 200, 2_000)?;
    let around = match context {
        None | Some(0) => 0,
        some => bounded("context", some, 0, 20)?,
    };
    let matcher = RegexMatcherBuilder::new()
        .case_insensitive(ignore_case.unwrap_or(false))
        .line_terminator(Some(b'\n'))
        .build(&pattern)
        .map_err(|error| ToolError::Arguments { path: "pattern".to_owned(), reason: error.to_string() })?;
    let ctx_too = ctx.clone();
    blocking(ctx, move |stop| {
        let roots = Roots::of(&ctx_too)?;
        let mut search = Search::new(&roots, &matcher, max, around, stop);
        search.run(path_glob.as_deref())?;
        Ok(search.result(&pattern))
    })
    .await
}

struct Search<'a> {
    roots: &'a Roots,
    matcher: &'a RegexMatcher,
    searcher: Searcher,
    stop: &'a Stop,
    found: Found,
}

/// What was found so far, over all files.
struct Found {
    max: usize,
    around: usize,
    out: String,
    matches: usize,
    full: bool,
    lossy: bool,
    unread: usize,
}

/// How much was found before a file.
#[derive(Debug, Clone, Copy)]
struct Mark {
    bytes: usize,
    matches: usize,
    full: bool,
    lossy: bool,
}

impl Found {
    fn mark(&self) -> Mark {
        Mark { bytes: self.out.len(), matches: self.matches, full: self.full, lossy: self.lossy }
    }

    /// Forgets what was found since.
    fn go_back(&mut self, Mark { bytes, matches, full, lossy }: Mark) {
        self.out.truncate(bytes);
        (self.matches, self.full, self.lossy) = (matches, full, lossy);
    }
}

impl<'a> Search<'a> {
    fn new(roots: &'a Roots, matcher: &'a RegexMatcher, max: usize, around: usize, stop: &'a Stop) -> Self {
        let searcher = SearcherBuilder::new()
            .binary_detection(BinaryDetection::quit(0))
            .line_number(true)
            .before_context(around)
            .after_context(around)
            .heap_limit(Some(HEAP))
            .build();
        let found =
            Found { max, around, out: String::new(), matches: 0, full: false, lossy: false, unread: 0 };
        Self { roots, matcher, searcher, stop, found }
    }

    fn run(&mut self, path_glob: Option<&str>) -> Result<(), ToolError> {
        let roots = self.roots;
        let pattern = match path_glob {
            None => Pattern::everything(roots.cwd().to_owned()),
            Some(path) if !is_wild(path) => {
                let resolved = roots.resolve(path)?;
                if !resolved.exists() {
                    return Err(ToolError::failed(format!("there is no file or folder {path}")));
                }
                Pattern::everything(resolved)
            }
            Some(glob) if !glob.contains('/') => Pattern::parse(roots, &format!("**/{glob}"), "path_glob")?,
            Some(glob) => Pattern::parse(roots, glob, "path_glob")?,
        };
        let stop = self.stop;
        pattern.walk(roots, true, stop, |found| {
            self.file(found)?;
            Ok(!self.found.full)
        })
    }

    fn file(&mut self, found: &walk::Found<'_>) -> Result<(), ToolError> {
        let Ok(file) = found.open() else {
            self.found.unread += 1;
            return Ok(());
        };
        let found_before = self.found.mark();
        let reader = Stoppable { file, stop: self.stop };
        let sink = FileSink { name: self.roots.show(found.path), found: &mut self.found };
        if self.searcher.search_reader(self.matcher, reader, sink).is_err() {
            self.stop.check()?;
            // Half of a file that cannot be read to its end is no result.
            self.found.go_back(found_before);
            self.found.unread += 1;
        }
        Ok(())
    }

    fn result(self, pattern: &str) -> ToolOutput {
        let Found { max, mut out, matches, full, lossy, unread, .. } = self.found;
        if matches == 0 {
            out = "(no matches)".to_owned();
        }
        let mut note = |text: String| {
            out.push_str(if out.ends_with('\n') { "" } else { "\n" });
            out.push_str(&text);
        };
        if full && matches >= max {
            note(format!(
                "[stopped after {matches} matches; narrow the search, or raise max_results (at most 2000)]"
            ));
        } else if full {
            note(format!("[stopped after {matches} matches: too much text; narrow the search]"));
        }
        if lossy {
            note("[a line here is not valid UTF-8; what could not be read is shown as \u{fffd}]".to_owned());
        }
        if unread > 0 {
            note(format!("[files that could not be read: {unread}]"));
        }
        let ui = json!({ "pattern": pattern, "matches": matches, "complete": !full, "unread": unread });
        ToolOutput::text(out.trim_end_matches('\n').to_owned()).with_ui("matches", ui)
    }
}

/// A file that reads as broken off when the call is stopped, however large it is.
struct Stoppable<'a> {
    file: File,
    stop: &'a Stop,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        self.file.read(buffer)
    }
}

struct FileSink<'a> {
    name: String,
    found: &'a mut Found,
}

impl FileSink<'_> {
    fn line(&mut self, number: Option<u64>, bytes: &[u8], mark: char) {
        let found = &mut *self.found;
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        // Four bytes are the most a character has, so this is enough of the longest line.
        let (text, lossy, cut) = shown(bytes.get(..MAX_LINE * 4 + 4).unwrap_or(bytes), MAX_LINE);
        found.lossy |= lossy;
        let number = number.unwrap_or_default();
        let end = if cut { "…" } else { "" };
        found.out.push_str(&format!("{}{mark}{number}{mark}{text}{end}\n", self.name));
        found.full |= found.out.len() >= MAX_RESULT;
    }
}

impl Sink for FileSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, _searcher: &Searcher, matched: &SinkMatch<'_>) -> io::Result<bool> {
        self.line(matched.line_number(), matched.bytes(), ':');
        self.found.matches += 1;
        self.found.full |= self.found.matches >= self.found.max;
        Ok(!self.found.full)
    }

    fn context(&mut self, _searcher: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        self.line(context.line_number(), context.bytes(), '-');
        Ok(!self.found.full)
    }

    fn context_break(&mut self, _searcher: &Searcher) -> io::Result<bool> {
        if self.found.around > 0 {
            self.found.out.push_str("--\n");
        }
        Ok(true)
    }
}
