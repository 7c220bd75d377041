//! Keys: from the environment or from a file, at the time of the call, and nowhere else.

use std::path::PathBuf;

use ergane_core::{ErrorKind, ProviderError, Text};
use secrecy::SecretString;

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
            Self::File(path) => match tokio::fs::read_to_string(path).await.map(|text| secret(&text)) {
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

fn read_env(name: &str) -> Option<SecretString> {
    secret(&std::env::var(name).ok()?)
}

fn secret(text: &str) -> Option<SecretString> {
    let key = text.trim();
    (!key.is_empty()).then(|| SecretString::from(key))
}
