//! Keys: from the environment or from a file, at the time of the call, and nowhere else.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use ergane_core::{ErrorKind, ProviderError, Text};
use secrecy::SecretString;
use tokio::time::timeout;

/// Where a key comes from. Holds a name, never a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeySource {
    /// Nobody said.
    None,
    /// The variable that everybody uses for this kind of provider.
    UsualEnv(&'static str),
    /// A variable that somebody named.
    Env(Text),
    /// A file that somebody named.
    File(PathBuf),
}

impl KeySource {
    /// The key now; `None` when there is none and none is `needed`.
    pub(crate) async fn resolve(&self, needed: bool) -> Result<Option<SecretString>, ProviderError> {
        let missing = |what: String| Err(ProviderError::new(ErrorKind::Auth, what));
        match self {
            Self::None if needed => {
                missing("a key is needed, and no environment variable was named for it".to_owned())
            }
            Self::None => Ok(None),
            Self::UsualEnv(name) => match read_env(name) {
                Some(key) => Ok(Some(key)),
                None if needed => missing(format!("a key is needed: set the environment variable {name}")),
                None => Ok(None),
            },
            // Somebody who names a variable means it.
            Self::Env(name) => match read_env(name) {
                Some(key) => Ok(Some(key)),
                None => missing(format!(
                    "the environment variable {name}, which was named for the key, is not set"
                )),
            },
            Self::File(path) => match read_file(path.clone()).await.map(|text| secret(&text)) {
                Ok(Some(key)) => Ok(Some(key)),
                Ok(None) => missing(format!("the key file {} is empty", path.display())),
                Err(error) => missing(format!("the key file {} cannot be read: {error}", path.display())),
            },
        }
    }

    /// The variable.
    pub(crate) fn env(&self) -> Option<Text> {
        match self {
            Self::UsualEnv(name) => Some((*name).into()),
            Self::Env(name) => Some(name.clone()),
            Self::None | Self::File(_) => None,
        }
    }

    /// What a user can do when the key is not accepted.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::None => {
                "name the environment variable that holds a key for this server (`--api-key-env`, `api_key_env`)".to_owned()
            }
            Self::UsualEnv(name) => format!("check the key in {name}"),
            Self::Env(name) => format!("check the key in {name}"),
            Self::File(path) => format!("check the key in {}", path.display()),
        }
    }
}

/// A disk that takes longer is away. (Its thread waits on; the call does not.)
const DISK: Duration = Duration::from_secs(10);

/// No key is as long.
const LONGEST: u64 = 64 * 1024;

async fn read_file(path: PathBuf) -> io::Result<String> {
    let reading = tokio::task::spawn_blocking(move || {
        let refused = |why: &str| Err(io::Error::other(why));
        // Looked at before it is opened: to open a pipe may take for ever, and one that was read is empty the next time.
        if !std::fs::metadata(&path)?.is_file() {
            return refused("it is no regular file");
        }
        let mut text = String::new();
        File::open(&path)?.take(LONGEST + 1).read_to_string(&mut text)?;
        if text.len() as u64 > LONGEST { refused("it is longer than any key") } else { Ok(text) }
    });
    match timeout(DISK, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(lost)) => Err(io::Error::other(lost)),
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("its disk does not answer within {DISK:?}")))
        }
    }
}

fn read_env(name: &str) -> Option<SecretString> {
    secret(&std::env::var(name).ok()?)
}

fn secret(text: &str) -> Option<SecretString> {
    let key = text.trim();
    (!key.is_empty()).then(|| SecretString::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_file_or_longer_than_any_key_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        std::fs::write(at("long"), "k".repeat(64 * 1024 + 1)).unwrap();
        for (path, says) in [
            (at("pipe"), "it is no regular file"),
            (PathBuf::from("/dev/zero"), "it is no regular file"),
            (at(""), "it is no regular file"),
            (at("long"), "it is longer than any key"),
            (at("none"), "No such file"),
        ] {
            let error = KeySource::File(path.clone()).resolve(true).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Auth);
            assert!(error.message.contains(says), "{path:?}: {error}");
        }
        std::fs::write(at("key"), " a-key\n").unwrap();
        std::os::unix::fs::symlink(at("key"), at("link")).unwrap();
        assert!(KeySource::File(at("link")).resolve(true).await.unwrap().is_some());
    }
}
