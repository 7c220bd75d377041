//! The folders of a user, by the XDG rules: of which a relative value is not to be used.

use std::path::PathBuf;

/// Where what a user keeps is. `variable` reads the environment.
pub(crate) fn data(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    folder(variable, "XDG_DATA_HOME", ".local/share")
}

/// Where what a user configures is.
pub(crate) fn config(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    folder(variable, "XDG_CONFIG_HOME", ".config")
}

/// This program's part of it.
fn folder(variable: impl Fn(&str) -> Option<PathBuf>, named: &str, usual: &str) -> Option<PathBuf> {
    let named = variable(named).filter(|path| path.is_absolute());
    let home = || variable("HOME").or_else(|| variable("USERPROFILE"));
    let folder = named.or_else(|| home().map(|home| home.join(usual)));
    folder.map(|folder| folder.join("ergane"))
}
