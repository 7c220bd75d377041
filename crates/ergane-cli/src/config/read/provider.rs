//! The table of a provider: what it speaks, where it is, what it bears and what it costs.

use ergane::core::Text;
use ergane::provider::{BreakerPolicy, Compat, LongPrice, Price};
use toml::Spanned;
use toml::de::DeValue;

use super::table::{Table, kind};
use crate::config::{Key, Limits, ProviderConfig};
use crate::outcome::Failure;
use crate::provider::Kind;

pub(super) const PROVIDER: [&str; 12] = [
    "kind",
    "model",
    "base_url",
    "api_key_env",
    "api_key_file",
    "max_in_flight",
    "requests_per_minute",
    "tokens_per_minute",
    "breaker",
    "compat",
    "strict_tools",
    "prices",
];
pub(super) const BREAKER: [&str; 3] = ["failures", "open_for", "at_most"];
pub(super) const PRICE: [&str; 6] = ["input", "output", "cached", "cache_write", "cache_write_long", "long"];
pub(super) const LONG: [&str; 4] = ["over", "input", "output", "cached"];

/// The key of the server whose flags hold where nothing else is said.
const LIKE: &str = "like";

/// The word for a circuit that does not open.
const NEVER: &str = "never";

/// More calls or tokens nobody has in a minute.
const MANY: u64 = 1_000_000_000;

/// More dollars a million tokens do not cost.
const DEAR: f64 = 1_000.0;

pub(super) fn provider(
    table: &Table<'_>,
    name: &Spanned<toml::de::DeString<'_>>,
) -> Result<ProviderConfig, Failure> {
    table.allow(&PROVIDER)?;
    let at = name.span().start;
    let kinds = || Kind::words().join(", ");
    let kind = match (table.text("kind")?, Kind::builtin(name.get_ref())) {
        (None, Some(kind)) => kind,
        (None, None) => {
            let why = format!("it is no builtin provider, so its `kind` must be told: {}", kinds());
            return Err(table.source.wrong(at, &table.path, &why));
        }
        (Some((at, word)), builtin) => match Kind::builtin(&word) {
            Some(kind) if builtin.is_none_or(|builtin| builtin == kind) => kind,
            Some(_) => {
                let why = format!("{0} is of kind {0}; give another kind another name", name.get_ref());
                return Err(table.wrong(at, "kind", &why));
            }
            None => {
                return Err(table.wrong(
                    at,
                    "kind",
                    &format!("there is no kind {word:?}; allowed are {}", kinds()),
                ));
            }
        },
    };
    let base_url = table.text("base_url")?;
    if let Some((at, url)) = &base_url {
        kind.check_url(url).map_err(|why| table.wrong(*at, "base_url", &why))?;
    }
    let key = match (table.text("api_key_env")?, table.path("api_key_file")?) {
        (Some((at, _)), Some(_)) => {
            return Err(table.wrong(at, "api_key_env", "there is an `api_key_file` too; one of both"));
        }
        (Some((_, variable)), None) => Some(Key::Env(variable)),
        (None, Some(path)) => Some(Key::File(path)),
        (None, None) => None,
    };
    if kind == Kind::Scripted && (base_url.is_some() || key.is_some()) {
        return Err(table.source.wrong(at, &table.path, "a script has no place and needs no key"));
    }
    let model = match table.text("model")? {
        Some((at, _)) if kind == Kind::Scripted => {
            return Err(table.wrong(at, "model", "a script has no model"));
        }
        model => model.map(|(_, model)| model),
    };
    let limits = Limits {
        max_in_flight: count(table, "max_in_flight")?,
        requests_per_minute: count(table, "requests_per_minute")?,
        tokens_per_minute: count(table, "tokens_per_minute")?,
        breaker: breaker(table)?,
    };
    if kind == Kind::Scripted && limits != Limits::default() {
        return Err(table.source.wrong(at, &table.path, "a script has no limits"));
    }
    let compat = match table.table("compat")? {
        None => None,
        Some(flags) if kind == Kind::OpenAi => Some(compat(&flags)?),
        Some(flags) => {
            let why = "only a provider of kind openai has such flags";
            let at = table.value("compat").map_or(at, |(at, _)| at);
            return Err(table.source.wrong(at, &flags.path, why));
        }
    };
    let strict_tools = strict_tools(table, kind)?;
    let (base_url, prices) = (base_url.map(|(_, url)| url), prices(table)?);
    Ok(ProviderConfig { kind, model, base_url, key, limits, compat, strict_tools, prices })
}

fn count(table: &Table<'_>, key: &str) -> Result<Option<u64>, Failure> {
    table.number(key, 1, MANY)
}

fn strict_tools(table: &Table<'_>, kind: Kind) -> Result<Option<bool>, Failure> {
    let Some((at, strict)) = table.yes_or_no("strict_tools")? else { return Ok(None) };
    let why = match kind {
        Kind::OpenAiResponses | Kind::Anthropic => return Ok(Some(strict)),
        Kind::OpenAi => "of such a provider it is a flag of `compat`",
        _ => "only providers of kind openai, openai_responses and anthropic know such tools",
    };
    Err(table.wrong(at, "strict_tools", why))
}

/// When calls are held back because the server does not work, or that they never are.
fn breaker(table: &Table<'_>) -> Result<Option<Option<BreakerPolicy>>, Failure> {
    let (at, said) = match table.value("breaker") {
        None => return Ok(None),
        Some((_, DeValue::String(word))) if word == NEVER => return Ok(Some(None)),
        Some((at, DeValue::Table(said))) => {
            (at, Table { source: table.source, path: table.named("breaker"), table: said })
        }
        Some((at, _)) => {
            let why = format!("allowed are \"{NEVER}\", or a table with {}", BREAKER.join(", "));
            return Err(table.wrong(at, "breaker", &why));
        }
    };
    said.allow(&BREAKER)?;
    let mut policy = BreakerPolicy::default();
    if let Some(failures) = said.number("failures", 1, u32::MAX.into())? {
        policy.failures = u32::try_from(failures).unwrap_or(u32::MAX);
    }
    policy.open_for = said.duration("open_for")?.unwrap_or(policy.open_for);
    policy.at_most = said.duration("at_most")?.unwrap_or(policy.at_most);
    if policy.open_for > policy.at_most {
        let why = format!(
            "`at_most` is {} ms, and so it could not be open for {} ms",
            policy.at_most.as_millis(),
            policy.open_for.as_millis()
        );
        return Err(table.wrong(at, "breaker", &why));
    }
    Ok(Some(Some(policy)))
}

/// What differs from a server that is known.
fn compat(table: &Table<'_>) -> Result<Compat, Failure> {
    let known =
        serde_json::to_value(Compat::default()).map_err(|error| Failure::internal(error.to_string()))?;
    let known = known.as_object().into_iter().flat_map(serde_json::Map::keys);
    table.allow(&known.map(String::as_str).chain([LIKE]).collect::<Vec<_>>())?;
    let mut flags = serde_json::Map::new();
    let like = table.table.get_key_value(LIKE);
    // The server that it is like first: the others are laid over its flags.
    for (key, value) in like.into_iter().chain(table.table.iter().filter(|(key, _)| key.get_ref() != LIKE)) {
        let name = key.get_ref().to_string();
        let at = value.span().start;
        let value = match value.get_ref() {
            DeValue::String(text) => text.to_string().into(),
            DeValue::Boolean(yes) => (*yes).into(),
            other => {
                let why = format!("allowed is a word, or true or false, not {}", kind(other));
                return Err(table.wrong(at, &name, &why));
            }
        };
        flags.insert(name.clone(), value);
        // One by one, so that it is known which one is wrong.
        Compat::try_from(flags.clone()).map_err(|why| table.wrong(at, &name, &why))?;
    }
    Compat::try_from(flags).map_err(|why| table.source.wrong(0, &table.path, &why))
}

/// By model. In the file they are dollars for a million tokens, as vendors write them.
fn prices(table: &Table<'_>) -> Result<Vec<(Text, Price)>, Failure> {
    let Some(models) = table.table("prices")? else { return Ok(Vec::new()) };
    let mut prices = Vec::new();
    for model in models.table.keys() {
        let Some(said) = models.table(model.get_ref())? else { continue };
        said.allow(&PRICE)?;
        let at = model.span().start;
        let (Some(input), Some(output)) = (dollars(&said, "input")?, dollars(&said, "output")?) else {
            let why = "a price has at least `input` and `output`, in dollars for a million tokens";
            return Err(said.source.wrong(at, &said.path, why));
        };
        let mut price = Price::per_million(input, output);
        price.cached = dollars(&said, "cached")?;
        price.cache_write = dollars(&said, "cache_write")?;
        price.cache_write_long = dollars(&said, "cache_write_long")?;
        price.long = long(&said)?;
        prices.push((model.get_ref().to_string().into(), price));
    }
    Ok(prices)
}

/// What a call with a long prompt costs.
fn long(price: &Table<'_>) -> Result<Option<LongPrice>, Failure> {
    let Some(said) = price.table("long")? else { return Ok(None) };
    said.allow(&LONG)?;
    let over = said.number("over", 1, MANY)?;
    let (input, output, cached) =
        (dollars(&said, "input")?, dollars(&said, "output")?, dollars(&said, "cached")?);
    let (Some(over), Some(input), Some(output)) = (over, input, output) else {
        let at = price.value("long").map_or(0, |(at, _)| at);
        let why = "a price of long prompts has `over` (the longest prompt at the usual price, in tokens), `input` and \
            `output`";
        return Err(said.source.wrong(at, &said.path, why));
    };
    Ok(Some(LongPrice::per_million(over, input, output, cached.unwrap_or(input))))
}

/// In millionths.
fn dollars(table: &Table<'_>, key: &str) -> Result<Option<u64>, Failure> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to a thousand millions"
    )]
    let millionths = |dollars: f64| (dollars * 1e6).round() as u64;
    Ok(table.fraction(key, DEAR)?.map(millionths))
}
