//! The shell lines of the documents, as a shell would see them: for the tests that parse and run them, which include this
//! file. Only what these lines need of a shell: quotes, comments, a backslash at the end of a line, variables set in front.

use std::fs;
use std::path::{Path, PathBuf};

/// A line of a `sh` block, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where it stands.
    pub(crate) place: String,
    /// Its words, quotes taken off.
    pub(crate) words: Vec<String>,
}

impl Line {
    /// What comes after `program`, when the line calls that one: by its name, or by `cargo run`, of which `package` says
    /// whose program it is (`None` is the one that a checkout runs by default).
    pub(crate) fn arguments_of(&self, program: &str, package: Option<&str>) -> Option<&[String]> {
        let is_setting = |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_variable(name));
        let words = self.words.get(self.words.iter().take_while(is_setting).count()..)?;
        let (first, rest) = words.split_first()?;
        if first == program {
            return Some(rest);
        }
        let at = rest.iter().position(|word| word == "--")?;
        let (of_cargo, arguments) = (rest.get(..at)?, rest.get(at + 1..)?);
        let named = of_cargo.iter().position(|word| word == "-p").and_then(|at| of_cargo.get(at + 1));
        let is_run = first == "cargo" && of_cargo.first().is_some_and(|word| word == "run");
        (is_run && named.map(String::as_str) == package).then_some(arguments)
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// The folder of the workspace, from the folder of one of its crates.
pub(crate) fn root(manifest_dir: &str) -> PathBuf {
    let is_root = |folder: &&Path| folder.join("rustfmt.toml").exists();
    Path::new(manifest_dir).ancestors().find(is_root).expect("the workspace").to_owned()
}

/// The README and every page of `docs`, their paths first.
pub(crate) fn pages(root: &Path) -> Vec<(String, String)> {
    let mut paths = vec![root.join("README.md")];
    let entries = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    paths.extend(entries.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a page");
        (path.strip_prefix(root).unwrap_or(&path).display().to_string(), text)
    };
    paths.into_iter().map(read).collect()
}

/// The lines of each `sh` block of a page, without those that are comments alone.
pub(crate) fn blocks(page: &str, text: &str) -> Vec<Vec<Line>> {
    let (mut blocks, mut within, mut begun) = (Vec::<Vec<Line>>::new(), false, String::new());
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            within = line == "```sh";
            blocks.extend(within.then(Vec::new));
            continue;
        }
        if !within {
            continue;
        }
        if let Some(head) = line.strip_suffix('\\') {
            begun.push_str(head);
            continue;
        }
        begun.push_str(line);
        let words = words(&std::mem::take(&mut begun));
        if let Some(block) = blocks.last_mut().filter(|_| !words.is_empty()) {
            block.push(Line { place: format!("{page}:{}", number + 1), words });
        }
    }
    blocks
}

/// The words of a line.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote is not closed: {line}");
    words.extend(word);
    words
}
