//! What a call costs: a small table of prices with its dates, and integers all the way.
//!
//! # Unknown is not free
//!
//! A price that nobody knows makes a cost that nobody knows, never zero: a budget that counts an unknown call as free is
//! none. One kind of calls is free by definition: those of an Ollama on this very machine, which sends nobody a bill. Its
//! hosted models (`…-cloud`) do, at a price that is not per token: unknown. So is what a script costs that does not say it:
//! it plays the part of a model that has its price.
//! A server that speaks another's format is not that other: its prices are unknown until somebody tells them by
//! [`ProvidersBuilder::price`](crate::ProvidersBuilder::price). What a server itself says that a call cost is believed.
//!
//! # Who answered is paid
//!
//! Some names are moved by their vendor from model to model, such as `gemini-flash-latest` (which led to `gemini-3-flash-preview` from
//! 2026-01-21 on), and routers choose a model themselves. What such a name leads to today no table can know, but the answer says it. So
//! a call costs what the model costs that the server says has answered, where that has a price, and else what the one costs that was
//! asked for. A price that somebody has set, for either of the names, goes before the table.
//!
//! Prices change. Each one in the table has the month it was true in; who needs it to the cent sets it himself.

use std::sync::OnceLock;

use ergane_core::{MicroUsd, Text, Usage};
use serde::Deserialize;

/// The table, as it is part of the program.
const TABLE: &str = include_str!("prices.json");

/// What the tokens of one model cost, in millionths of a dollar per million tokens: so 2,500,000 is $2.50.
///
/// ```
/// use ergane_core::{MicroUsd, Usage};
/// use ergane_provider::Price;
///
/// // $2.50 for a million tokens of prompt, $10 for one of answer, $0.25 for what comes from the cache.
/// let price = Price::per_million(2_500_000, 10_000_000).cached(250_000);
/// let usage = Usage { input_tokens: 1_000, cached_tokens: 800, output_tokens: 100, ..Usage::default() };
/// assert_eq!(price.cost(&usage), MicroUsd(500 + 200 + 1_000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Price {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer, reasoning included.
    pub output: u64,
    /// Of the prompt's tokens that came from the provider's cache; as the others when left out.
    #[serde(default)]
    pub cached: Option<u64>,
    /// Of those that were written to it; as the others when left out.
    #[serde(default)]
    pub cache_write: Option<u64>,
    /// Of those that were written to be kept for an hour; as the other written ones when left out.
    #[serde(default)]
    pub cache_write_long: Option<u64>,
    /// What a call costs whose prompt is longer than usual.
    #[serde(default)]
    pub long: Option<LongPrice>,
}

/// What a call costs whose prompt is longer than a bound.
///
/// ```
/// use ergane_provider::{LongPrice, Price};
///
/// // From the 200,001st token of prompt on, the whole call costs twice as much.
/// let price = Price::per_million(1_250_000, 10_000_000)
///     .long(LongPrice::per_million(200_000, 2_500_000, 15_000_000, 250_000));
/// assert_eq!(price.long.map(|long| long.over), Some(200_000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct LongPrice {
    /// The longest prompt at the usual price, in tokens.
    pub over: u64,
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
    /// Of what came from the cache.
    pub cached: u64,
}

impl LongPrice {
    /// With a prompt of more than `over` tokens, so many millionths of a dollar for a million tokens of prompt, of answer,
    /// and of what came from the cache.
    ///
    /// ```
    /// let long = ergane_provider::LongPrice::per_million(200_000, 2_500_000, 15_000_000, 250_000);
    /// assert_eq!((long.input, long.output, long.cached), (2_500_000, 15_000_000, 250_000));
    /// ```
    pub const fn per_million(over: u64, input: u64, output: u64, cached: u64) -> Self {
        Self { over, input, output, cached }
    }
}

impl Price {
    /// Nothing at all.
    pub const FREE: Self = Self::per_million(0, 0);

    /// So many millionths of a dollar for a million tokens of prompt, and of answer.
    ///
    /// ```
    /// let price = ergane_provider::Price::per_million(590_000, 790_000); // $0.59 in, $0.79 out
    /// assert_eq!((price.input, price.output, price.cached), (590_000, 790_000, None));
    /// ```
    pub const fn per_million(input: u64, output: u64) -> Self {
        Self { input, output, cached: None, cache_write: None, cache_write_long: None, long: None }
    }

    /// Tokens that come from the provider's cache cost this.
    ///
    /// ```
    /// let price = ergane_provider::Price::per_million(3_000_000, 15_000_000).cached(300_000);
    /// assert_eq!(price.cached, Some(300_000));
    /// ```
    pub const fn cached(mut self, cached: u64) -> Self {
        self.cached = Some(cached);
        self
    }

    /// Tokens that are written to the provider's cache cost this; those to be kept for an hour, that.
    ///
    /// ```
    /// let price = ergane_provider::Price::per_million(3_000_000, 15_000_000).cache_write(3_750_000, 6_000_000);
    /// assert_eq!((price.cache_write, price.cache_write_long), (Some(3_750_000), Some(6_000_000)));
    /// ```
    pub const fn cache_write(mut self, short: u64, long: u64) -> Self {
        (self.cache_write, self.cache_write_long) = (Some(short), Some(long));
        self
    }

    /// A call whose prompt is longer than usual costs something else.
    ///
    /// ```
    /// use ergane_core::{MicroUsd, Usage};
    /// use ergane_provider::{LongPrice, Price};
    ///
    /// // Twice the price for a prompt of more than 200,000 tokens.
    /// let long = LongPrice::per_million(200_000, 2_000_000, 8_000_000, 200_000);
    /// let price = Price::per_million(1_000_000, 4_000_000).long(long);
    /// let usage = |input_tokens| Usage { input_tokens, ..Usage::default() };
    /// assert_eq!(price.cost(&usage(200_000)), MicroUsd(200_000));
    /// assert_eq!(price.cost(&usage(200_001)), MicroUsd(400_002));
    /// ```
    pub const fn long(mut self, long: LongPrice) -> Self {
        self.long = Some(long);
        self
    }

    /// What a call of this `usage` costs, rounded up to a millionth of a dollar. Reasoning is part of the answer, cached and
    /// written tokens are parts of the prompt: each is counted once.
    ///
    /// ```
    /// use ergane_core::{MicroUsd, Usage};
    /// use ergane_provider::Price;
    ///
    /// let usage = Usage { input_tokens: 900, output_tokens: 50, ..Usage::default() };
    /// assert_eq!(Price::per_million(1_000_000, 2_000_000).cost(&usage), MicroUsd(1_000));
    /// ```
    pub fn cost(&self, usage: &Usage) -> MicroUsd {
        let long = self.long.filter(|long| usage.input_tokens > long.over);
        let (input, output, cached) = match long {
            Some(long) => (long.input, long.output, long.cached),
            None => (self.input, self.output, self.cached.unwrap_or(self.input)),
        };
        // What is said of a part cannot be more than the whole, whatever a server says.
        let from_cache = usage.cached_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - from_cache);
        let written_long = usage.cache_write_long_tokens.min(written);
        let plain = usage.input_tokens - from_cache - written;
        // Long prompts raise the price of writing as they do that of reading.
        let raised = |price: u64| u128::from(price) * u128::from(input) / u128::from(self.input.max(1));
        let write = self.cache_write.map_or(u128::from(input), raised);
        let write_long = self.cache_write_long.map_or(write, raised);
        let sum = [
            (plain, u128::from(input)),
            (from_cache, u128::from(cached)),
            (written - written_long, write),
            (written_long, write_long),
            (usage.output_tokens, u128::from(output)),
        ]
        .into_iter()
        .fold(0u128, |sum, (tokens, price)| sum.saturating_add(u128::from(tokens).saturating_mul(price)));
        MicroUsd(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// Whose prices hold at a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pricing {
    /// Nobody's that are known here.
    Unknown,
    /// Calls cost nothing, by what it is.
    Free,
    /// Those of this vendor in the table: `openai`, `anthropic`, `gemini`.
    Vendor(&'static str),
}

/// Where the vendors of the table are.
const VENDORS: [(&str, &str); 3] = [
    ("https://api.openai.com/", "openai"),
    ("https://api.anthropic.com/", "anthropic"),
    ("https://generativelanguage.googleapis.com/", "gemini"),
];

impl Pricing {
    /// Whose prices hold at the server with this base URL.
    pub fn at(base_url: &str) -> Self {
        let at = |place: &str| base_url.starts_with(place) || place.strip_suffix('/') == Some(base_url);
        VENDORS.iter().find(|(place, _)| at(place)).map_or(Self::Unknown, |(_, vendor)| Self::Vendor(vendor))
    }

    /// The price of `model`, if it is known.
    pub fn price(self, model: &str) -> Option<Price> {
        match self {
            Self::Unknown => None,
            Self::Free => Some(Price::FREE),
            Self::Vendor(vendor) => {
                let of_vendor = table().iter().filter(|entry| &*entry.vendor == vendor);
                // The most precise name: `gpt-5-mini` is no `gpt-5`.
                let fits = of_vendor.filter(|entry| is_of(model, &entry.model));
                fits.max_by_key(|entry| entry.model.len()).map(|entry| entry.price)
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Entry {
    vendor: Text,
    model: Text,
    /// The month it was true in.
    #[cfg_attr(not(test), allow(dead_code, reason = "for whoever reads the table"))]
    as_of: Text,
    #[serde(flatten)]
    price: Price,
}

fn table() -> &'static [Entry] {
    static PARSED: OnceLock<Vec<Entry>> = OnceLock::new();
    // A test reads it too, so it is never wrong; if it were, every price would be unknown.
    PARSED.get_or_init(|| serde_json::from_str(TABLE).unwrap_or_default())
}

/// Whether `model` is the one of the table's `name`: by that very name, or with a date or `latest` behind it.
pub(crate) fn is_of(model: &str, name: &str) -> bool {
    let model = model.strip_prefix("models/").unwrap_or(model);
    let Some(rest) = model.strip_prefix(name) else { return false };
    let Some(version) = rest.strip_prefix(['-', '@']) else { return rest.is_empty() };
    let digits = version.chars().filter(char::is_ascii_digit).count();
    let is_date = matches!(digits, 3..=8) && version.chars().all(|c| c.is_ascii_digit() || c == '-');
    version == "latest" || is_date
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPENAI: Pricing = Pricing::Vendor("openai");
    const ANTHROPIC: Pricing = Pricing::Vendor("anthropic");

    fn usage(input: u64, cached: u64, output: u64) -> Usage {
        Usage { input_tokens: input, cached_tokens: cached, output_tokens: output, ..Usage::default() }
    }

    #[test]
    fn the_table_is_whole_and_every_price_in_it_has_its_month() {
        assert!(table().len() > 30);
        for entry in table() {
            assert!(matches!(&*entry.vendor, "openai" | "anthropic" | "gemini"), "{entry:?}");
            let (year, month) = entry.as_of.split_once('-').unwrap();
            assert!((2024..2100).contains(&year.parse::<u32>().unwrap()), "{entry:?}");
            assert!((1..=12).contains(&month.parse::<u32>().unwrap()), "{entry:?}");
            let price = entry.price;
            assert!(price.input > 0 && price.output >= price.input, "{entry:?}");
            assert!(price.cached.is_none_or(|cached| cached < price.input), "{entry:?}");
            assert!(price.cache_write.is_none_or(|write| write > price.input), "{entry:?}");
            assert!(price.long.is_none_or(|long| long.input > price.input), "{entry:?}");
        }
    }

    #[test]
    fn a_model_is_found_by_its_name_with_or_without_a_date_and_not_by_the_beginning_of_another_name() {
        let input = |pricing: Pricing, model| pricing.price(model).map(|price| price.input);
        assert_eq!(input(OPENAI, "gpt-5"), Some(1_250_000));
        assert_eq!(input(OPENAI, "gpt-5-2025-08-07"), Some(1_250_000));
        assert_eq!(input(OPENAI, "gpt-5-mini"), Some(250_000));
        assert_eq!(input(OPENAI, "gpt-4o-2024-08-06"), Some(2_500_000));
        assert_eq!(input(OPENAI, "gpt-4o-2024-05-13"), Some(5_000_000), "a date with a price of its own");
        assert_eq!(input(ANTHROPIC, "claude-sonnet-4-5-20250929"), Some(3_000_000));
        assert_eq!(input(ANTHROPIC, "claude-3-5-haiku-latest"), Some(800_000));
        assert_eq!(input(Pricing::Vendor("gemini"), "models/gemini-2.5-pro"), Some(1_250_000));
        for unknown in ["gpt-5-chat", "gpt-6", "", "gpt-5-", "claude-opus-4-5", "gpt-5.9"] {
            assert_eq!(input(OPENAI, unknown), None, "{unknown}");
        }
        // A later minor version is no date of the earlier one.
        assert_eq!(input(ANTHROPIC, "claude-opus-4-9"), None);
        assert_eq!(Pricing::Unknown.price("gpt-5"), None, "unknown is not free");
        assert_eq!(Pricing::Free.price("anything"), Some(Price::FREE));
    }

    #[test]
    fn what_is_asked_when_nobody_names_a_model_has_a_price() {
        use crate::{Anthropic, Gemini, Provider};
        let anthropic = Anthropic::default().default_model().unwrap();
        assert_eq!(ANTHROPIC.price(&anthropic).map(|price| price.input), Some(3_000_000));
        // An alias that leads to another model every few months: whose price it has, only the answer tells.
        let gemini = Gemini::default().default_model().unwrap();
        assert!(
            gemini.ends_with("-latest") && Pricing::Vendor("gemini").price(&gemini).is_none(),
            "{gemini}"
        );
        assert_eq!(ANTHROPIC.price("claude-sonnet-4-60"), None);
    }

    #[test]
    fn prices_hold_where_their_vendor_is_and_nowhere_else() {
        assert_eq!(Pricing::at("https://api.openai.com/v1"), OPENAI);
        assert_eq!(Pricing::at("https://api.anthropic.com"), ANTHROPIC);
        for elsewhere in
            ["http://localhost:8080/v1", "https://api.openai.com.evil.example/v1", "a script", ""]
        {
            assert_eq!(Pricing::at(elsewhere), Pricing::Unknown, "{elsewhere}");
        }
    }

    #[test]
    fn every_kind_of_token_is_counted_once_at_its_price() {
        let price =
            Price::per_million(2_000_000, 8_000_000).cached(500_000).cache_write(2_500_000, 4_000_000);
        let cost = |usage: Usage| price.cost(&usage).0;
        assert_eq!(cost(usage(1_000_000, 0, 0)), 2_000_000);
        assert_eq!(cost(usage(1_000_000, 1_000_000, 0)), 500_000);
        assert_eq!(cost(usage(1_000_000, 400_000, 0)), 1_400_000);
        assert_eq!(cost(usage(0, 0, 1_000_000)), 8_000_000);
        let reasoned = Usage { reasoning_tokens: 900_000, ..usage(0, 0, 1_000_000) };
        assert_eq!(cost(reasoned), 8_000_000, "reasoning is a part of the answer");
        let written = Usage {
            cache_write_tokens: 1_000_000,
            cache_write_long_tokens: 400_000,
            ..usage(1_000_000, 0, 0)
        };
        assert_eq!(cost(written), 600_000 * 5 / 2 + 400_000 * 4);
        assert_eq!(cost(usage(1, 0, 0)), 2);
        assert_eq!(cost(usage(1, 1, 0)), 1, "a half is rounded up: no call is free");
        assert_eq!(cost(Usage::default()), 0);
    }

    #[test]
    fn a_long_prompt_has_its_own_price() {
        let price = Pricing::Vendor("gemini").price("gemini-2.5-pro").unwrap();
        assert_eq!(price.cost(&usage(200_000, 0, 0)).0, 250_000);
        assert_eq!(price.cost(&usage(200_001, 0, 0)).0, 500_003);
        assert_eq!(price.cost(&usage(200_001, 0, 1_000_000)).0, 500_003 + 15_000_000);
        let own = Price::per_million(1_000_000, 0).long(LongPrice::per_million(10, 3_000_000, 0, 2_000_000));
        assert_eq!(own.cost(&usage(10, 0, 0)).0, 10);
        assert_eq!(own.cost(&usage(11, 1, 0)).0, 10 * 3 + 2);
    }

    proptest! {
        /// Whatever a server says: no panic, no wrap, and a part that is larger than the whole makes it no cheaper than
        /// the cheapest price for all of it.
        #[test]
        fn nonsense_for_usage_is_no_panic(
            input: u64, cached: u64, output: u64, written: u64, long: u64, price in 0u64..10_000_000_000,
        ) {
            let usage = Usage {
                input_tokens: input,
                output_tokens: output,
                cached_tokens: cached,
                cache_write_tokens: written,
                cache_write_long_tokens: long,
                ..Usage::default()
            };
            let flat = Price::per_million(price, price).cost(&usage);
            let expected = (u128::from(input) + u128::from(output)) * u128::from(price);
            prop_assert_eq!(flat.0, u64::try_from(expected.div_ceil(1_000_000)).unwrap_or(u64::MAX));
        }
    }
}
