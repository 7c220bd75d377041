//! Takes keys out of what servers say: some echo the request, headers and all, in their errors.

use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

/// Shorter "keys" are placeholders such as `x`, and would make every text unreadable.
const SHORTEST: usize = 4;

/// Replaces the keys it knows by `[redacted]`. Shows none of them.
#[derive(Clone, Default)]
pub struct Redactor(Arc<[SecretString]>);

impl Redactor {
    /// Knows these keys.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self(secrets.into_iter().filter(|secret| secret.expose_secret().len() >= SHORTEST).collect())
    }

    /// `text` without the keys.
    pub fn redact(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "[redacted]"))
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} keys)", self.0.len())
    }
}
