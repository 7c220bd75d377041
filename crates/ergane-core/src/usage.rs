//! Tokens and money, in integers.

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// Money in millionths of a US dollar. Integers, so that sums are exact.
///
/// ```
/// use ergane_core::MicroUsd;
///
/// let budget = MicroUsd(250_000); // 25 cents
/// assert!(MicroUsd(1_000) < budget);
/// assert_eq!(budget.as_usd(), 0.25);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MicroUsd(pub u64);

impl MicroUsd {
    /// The amount in dollars, for people and for JSON.
    ///
    /// ```
    /// assert_eq!(ergane_core::MicroUsd(1_500_000).as_usd(), 1.5);
    /// ```
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1_000_000.0
    }

    /// From dollars, rounded to the nearest millionth; negative and absurd amounts are `None`.
    ///
    /// ```
    /// use ergane_core::MicroUsd;
    ///
    /// assert_eq!(MicroUsd::from_usd(0.25), Some(MicroUsd(250_000)));
    /// assert_eq!(MicroUsd::from_usd(-1.0), None);
    /// ```
    pub fn from_usd(usd: f64) -> Option<Self> {
        let micro = (usd * 1_000_000.0).round();
        (micro.is_finite() && (0.0..1e15).contains(&micro)).then_some(Self(micro as u64))
    }
}

/// What calls have cost: the sum of the known part, and whether that is all of it.
/// An unknown price means an unknown cost, never zero.
///
/// ```
/// use ergane_core::{Cost, MicroUsd};
///
/// let mut cost = Cost::default();
/// cost.add_call(Some(MicroUsd(1_200)));
/// cost.add_call(None); // a model without a price
/// assert_eq!((cost.known, cost.total()), (MicroUsd(1_200), None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The sum of what is known.
    pub known: MicroUsd,
    /// Whether every call's cost was known.
    pub complete: bool,
}

impl Default for Cost {
    fn default() -> Self {
        Self { known: MicroUsd(0), complete: true }
    }
}

impl Cost {
    /// The whole cost, when all of it is known.
    ///
    /// ```
    /// use ergane_core::{Cost, MicroUsd};
    ///
    /// let known = Cost { known: MicroUsd(1_200), complete: true };
    /// assert_eq!(known.total(), Some(MicroUsd(1_200)));
    /// assert_eq!(Cost { complete: false, ..known }.total(), None);
    /// ```
    pub fn total(self) -> Option<MicroUsd> {
        self.complete.then_some(self.known)
    }

    /// Adds the cost of one call.
    ///
    /// ```
    /// use ergane_core::{Cost, MicroUsd};
    ///
    /// let mut cost = Cost::default();
    /// cost.add_call(Some(MicroUsd(800)));
    /// cost.add_call(Some(MicroUsd(400)));
    /// assert_eq!(cost.total(), Some(MicroUsd(1_200)));
    /// ```
    pub fn add_call(&mut self, cost: Option<MicroUsd>) {
        *self += Spent::of(None, cost).cost;
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.known.0 = self.known.0.saturating_add(other.known.0);
        self.complete = self.complete && other.complete;
    }
}

/// What model calls took: of each as much as its provider told. Of no call at all it is the default.
///
/// ```
/// use ergane_core::{MicroUsd, Spent};
///
/// let both = Spent::of(None, Some(MicroUsd(36))) + Spent::of(None, None); // the other has no price
/// assert_eq!((both.cost.known, both.cost.total()), (MicroUsd(36), None));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Tokens, when they were told of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Cost: what is known of it, and whether that is all.
    pub cost: Cost,
}

impl Spent {
    /// What one call took, as far as it is known.
    ///
    /// ```
    /// use ergane_core::{MicroUsd, Spent};
    ///
    /// assert_eq!(Spent::of(None, Some(MicroUsd(36))).cost.total(), Some(MicroUsd(36)));
    /// assert_eq!(Spent::of(None, None).cost.total(), None, "unknown, and never zero");
    /// ```
    pub fn of(usage: Option<Usage>, cost: Option<MicroUsd>) -> Self {
        Self { usage, cost: Cost { known: cost.unwrap_or_default(), complete: cost.is_some() } }
    }
}

impl Add for Spent {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.cost += other.cost;
        Self { usage: self.usage.into_iter().chain(other.usage).reduce(Add::add), ..self }
    }
}

/// Tokens of one call, or of several added up.
///
/// ```
/// use ergane_core::Usage;
///
/// let first = Usage { input_tokens: 900, output_tokens: 40, ..Usage::default() };
/// let second = Usage { input_tokens: 1_000, output_tokens: 60, cached_tokens: 900, ..Usage::default() };
/// let both = first + second;
/// assert_eq!((both.input_tokens, both.output_tokens, both.cached_tokens), (1_900, 100, 900));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens of the answer, reasoning included.
    #[serde(default)]
    pub output_tokens: u64,
    /// Of the input, those that came from the provider's cache.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Of the output, those spent on reasoning.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// Of the input, those that were written to the provider's cache, at a price of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Of the written ones, those that are kept for an hour, at a higher price.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_long_tokens: u64,
}

fn is_zero(tokens: &u64) -> bool {
    *tokens == 0
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            reasoning_tokens: self.reasoning_tokens.saturating_add(other.reasoning_tokens),
            cache_write_tokens: self.cache_write_tokens.saturating_add(other.cache_write_tokens),
            cache_write_long_tokens: self
                .cache_write_long_tokens
                .saturating_add(other.cache_write_long_tokens),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_price_makes_the_sum_unknown_and_never_zero() {
        let mut cost = Cost::default();
        cost.add_call(Some(MicroUsd(5)));
        assert_eq!(cost.total(), Some(MicroUsd(5)));
        cost.add_call(None);
        assert_eq!(cost.total(), None);
        assert_eq!(cost.known, MicroUsd(5));
        let known = Cost { known: MicroUsd(2), complete: true };
        for (mut sum, other) in [(cost, known), (known, cost)] {
            sum += other;
            assert_eq!((sum.known, sum.total()), (MicroUsd(7), None));
        }
    }

    #[test]
    fn dollars_become_millionths_and_nonsense_becomes_nothing() {
        assert_eq!(MicroUsd::from_usd(0.25), Some(MicroUsd(250_000)));
        for bad in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
            assert_eq!(MicroUsd::from_usd(bad), None);
        }
    }

    #[test]
    fn what_was_spent_adds_up_and_what_is_known_of_it_stays_known() {
        let tokens = |input_tokens| Usage { input_tokens, ..Usage::default() };
        let spent = |input, cost: Option<u64>| Spent::of(Some(tokens(input)), cost.map(MicroUsd));
        assert_eq!(spent(1, Some(2)) + spent(3, Some(4)), spent(4, Some(6)));
        let known = Cost { known: MicroUsd(2), complete: false };
        for (one, other) in [(spent(1, Some(2)), spent(3, None)), (spent(3, None), spent(1, Some(2)))] {
            assert_eq!(one + other, Spent { usage: Some(tokens(4)), cost: known });
        }
        assert_eq!(Spent::default() + spent(3, None), spent(3, None));
        let untold = Spent::of(None, Some(MicroUsd(1)));
        assert_eq!(untold + spent(3, Some(4)), spent(3, Some(5)));
        assert_eq!((untold + untold).usage, None);
    }
}
