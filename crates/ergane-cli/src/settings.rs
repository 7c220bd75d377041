//! What the flags of a turn set, as a patch of a session's settings. What is not given is not in it.

use std::path::Path;

use ergane::core::{SettingsPatch, Text};

use crate::args::TurnFlags;
use crate::outcome::Failure;

/// The patch, without the provider's name and default model, which may have to be found out. `known` are the names of
/// the registered tools.
pub(crate) fn patch(flags: &TurnFlags, known: &[Text]) -> Result<SettingsPatch, Failure> {
    let mut patch = SettingsPatch {
        model: text("--model", flags.model.as_deref())?,
        base_url: text("--base-url", flags.base_url.as_deref())?,
        api_key_env: text("--api-key-env", flags.api_key_env.as_deref())?,
        system_prompt: flags.system.as_deref().map(Into::into),
        permission_mode: flags.permissions.map(Into::into),
        allow: names("--allow", flags.allow.as_deref(), known)?,
        deny: names("--deny", flags.deny.as_deref(), known)?,
        cwd: flags.cwd.as_deref().map(folder).transpose()?,
        max_iterations: flags.max_iterations,
        turn_budget: flags.max_budget_usd,
        max_retries: flags.retries,
        idle_timeout_ms: flags.idle_timeout.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
        stream: flags.no_stream.map(|whole| !whole),
        ..SettingsPatch::default()
    };
    if patch.may_hold_a_secret() {
        return Err(Failure::config(
            "--base-url: a query or a user name in the URL may be a key, and what a session is told is kept; give the URL \
             to a provider in the configuration file (base_url of [providers.NAME]), and name the variable of a key by \
             --api-key-env",
        ));
    }
    match flags.tools.as_deref() {
        None => {}
        Some("all") => patch.all_tools = true,
        Some("none") => patch.tools = Some(Vec::new()),
        Some(list) => {
            let list: Vec<String> = list.split(',').map(str::to_owned).collect();
            patch.tools = names("--tools", Some(&list), known)?;
        }
    }
    Ok(patch)
}

fn text(flag: &str, value: Option<&str>) -> Result<Option<Text>, Failure> {
    match value {
        Some(value) if value.trim().is_empty() => Err(Failure::config(format!("{flag} is empty"))),
        value => Ok(value.map(Into::into)),
    }
}

/// A name that is misspelt in a list would silently allow or deny something else than was meant.
fn names(flag: &str, given: Option<&[String]>, known: &[Text]) -> Result<Option<Vec<Text>>, Failure> {
    let Some(given) = given else { return Ok(None) };
    let mut names = Vec::with_capacity(given.len());
    for name in given.iter().map(|name| name.trim()) {
        if !known.iter().any(|known| **known == *name) {
            let known = known.join(", ");
            return Err(Failure::config(format!("{flag}: there is no tool {name:?}; there are: {known}")));
        }
        names.push(name.into());
    }
    Ok(Some(names))
}

fn folder(path: &Path) -> Result<Text, Failure> {
    let wrong = |why: &str| Failure::config(format!("--cwd {}: {why}", path.display()));
    let folder = path.canonicalize().map_err(|error| wrong(&error.to_string()))?;
    if !folder.is_dir() {
        return Err(wrong("it is not a folder"));
    }
    folder.to_str().map(Into::into).ok_or_else(|| wrong("its name is not valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Text> {
        ["read", "bash"].map(Into::into).to_vec()
    }

    #[test]
    fn no_flags_are_an_empty_patch() {
        assert_eq!(patch(&TurnFlags::default(), &known()), Ok(SettingsPatch::default()));
    }

    #[test]
    fn tools_are_all_none_or_names_that_exist() {
        let of =
            |tools: &str| patch(&TurnFlags { tools: Some(tools.into()), ..Default::default() }, &known());
        assert!(of("all").unwrap().all_tools);
        assert_eq!(of("none").unwrap().tools, Some(vec![]));
        assert_eq!(of("read, bash").unwrap().tools, Some(known()));
        for wrong in ["", "read,", "reed", "all,read"] {
            assert_eq!(of(wrong).unwrap_err().exit, 2, "{wrong:?}");
        }
        let misspelt = TurnFlags { deny: Some(vec!["bsah".into()]), ..Default::default() };
        let told = patch(&misspelt, &known()).unwrap_err().message;
        assert!(told.contains("bsah") && told.contains("read, bash"), "{told}");
    }

    #[test]
    fn a_folder_must_exist_and_is_kept_absolute() {
        let of = |cwd: &str| patch(&TurnFlags { cwd: Some(cwd.into()), ..Default::default() }, &known());
        let kept = of(".").unwrap().cwd.unwrap();
        assert!(Path::new(&*kept).is_absolute(), "{kept}");
        assert_eq!(of("no/such/folder").unwrap_err().exit, 2);
        assert_eq!(of("Cargo.toml").unwrap_err().exit, 2);
    }
}
