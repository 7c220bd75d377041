//! What was really done, counted outside of everything that is tested.
//!
//! A journal that says "done once" proves nothing about the world. So a tool under test writes a line here when it does what
//! it does, in the middle of its body, and the test counts lines. In a file each line is on the disk before
//! [`did`](EffectLog::did) returns: the log survives what kills the process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Done {
    /// What: the tool's name, as a rule.
    pub what: String,
    /// The idempotency key of its call, as a rule.
    pub key: String,
}

/// A log of effects, in memory or in a file. Clones are the same log.
///
/// ```
/// use ergane_testkit::EffectLog;
///
/// let log = EffectLog::in_memory();
/// log.did("transfer", "alice#1.1")?;
/// log.did("transfer", "alice#1.1")?;
/// assert_eq!(log.times("transfer", "alice#1.1")?, 2); // once too often
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct EffectLog(Arc<Kept>);

#[derive(Debug)]
enum Kept {
    Memory(Mutex<Vec<Done>>),
    File { path: PathBuf, file: File },
}

impl EffectLog {
    /// A log that ends with its last clone.
    pub fn in_memory() -> Self {
        Self(Arc::new(Kept::Memory(Mutex::default())))
    }

    /// A log in a file, gone on with when it is there. Several processes may write to it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn at(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self(Arc::new(Kept::File { path, file })))
    }

    /// Writes down that this was done. In a file it is on the disk when this returns, so it blocks: for tests.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn did(&self, what: &str, key: &str) -> io::Result<()> {
        let effect = Done { what: what.to_owned(), key: key.to_owned() };
        match &*self.0 {
            Kept::Memory(effects) => effects.lock().unwrap_or_else(PoisonError::into_inner).push(effect),
            Kept::File { file, .. } => {
                // One write, so that two processes do not mix their lines.
                let line = format!("{}\n", serde_json::to_string(&effect)?);
                let mut writer: &File = file;
                writer.write_all(line.as_bytes())?;
                file.sync_data()?;
            }
        }
        Ok(())
    }

    /// Everything that was done, in its order. A last line that a crash cut off is not there.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else.
    pub fn all(&self) -> io::Result<Vec<Done>> {
        match &*self.0 {
            Kept::Memory(effects) => Ok(effects.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Kept::File { path, .. } => {
                let text = std::fs::read_to_string(path)?;
                let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
                whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
            }
        }
    }

    /// How often this was done.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn times(&self, what: &str, key: &str) -> io::Result<usize> {
        Ok(self.all()?.iter().filter(|effect| effect.what == what && effect.key == key).count())
    }

    /// How often each was done.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn counts(&self) -> io::Result<BTreeMap<Done, usize>> {
        let mut counts = BTreeMap::new();
        for effect in self.all()? {
            *counts.entry(effect).or_default() += 1;
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_crash_cut_off_is_not_there_and_the_next_process_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("effects");
        let log = EffectLog::at(&path).unwrap();
        log.did("a", "1").unwrap();
        log.did("a", "1").unwrap();
        log.did("b", "2").unwrap();
        let again = EffectLog::at(&path).unwrap();
        assert_eq!(again.times("a", "1").unwrap(), 2);
        assert_eq!(again.counts().unwrap().len(), 2);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"what\":\"c\"").unwrap();
        assert_eq!(again.all().unwrap().len(), 3);
    }
}
