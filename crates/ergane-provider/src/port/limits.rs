//! What a provider is asked to bear, as a value that each provider carries.

use super::breaker::BreakerPolicy;

/// The bounds within which calls of one provider are let through. What is over a bound waits, and says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// So many calls run at the same time, 64.
    pub max_in_flight: usize,
    /// So many calls wait, 65,536; further ones are refused. Of one session at most 1,024 do.
    pub max_waiting: usize,
    /// So many calls are made in a minute, lists of models and vectors of texts among them; `None`, the default, is as many as the
    /// server bears: what it says of its limits in its answers is kept to anyway.
    pub requests_per_minute: Option<u64>,
    /// So many tokens go in and out in a minute, those that are read from a cache too. What a call will take is estimated
    /// before it is made, and put right when it is over: one that fails before anything is made of it took none. `None` by
    /// default.
    pub tokens_per_minute: Option<u64>,
    /// When calls are held back because the server does not work; `None` is never.
    pub breaker: Option<BreakerPolicy>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_in_flight: 64,
            max_waiting: 65_536,
            requests_per_minute: None,
            tokens_per_minute: None,
            breaker: Some(BreakerPolicy::default()),
        }
    }
}

impl Limits {
    /// No bound at all: for what is no server.
    pub const NONE: Self = Self {
        max_in_flight: usize::MAX,
        max_waiting: usize::MAX,
        requests_per_minute: None,
        tokens_per_minute: None,
        breaker: None,
    };
}

/// The builder methods of every provider that is a server: `$at` is the field where that is.
macro_rules! limit_setters {
    ($($at:ident).+) => {
        /// So many calls run at the same time, 64; further ones wait in a queue that is fair between sessions.
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, Provider};
        /// let server = OpenAi::new("localhost:8080").max_in_flight(4);
        /// assert_eq!(server.limits().max_in_flight, 4);
        /// ```
        pub fn max_in_flight(mut self, calls: usize) -> Self {
            self.$($at).+.server.limits.max_in_flight = calls;
            self
        }

        /// So many calls may wait, 65,536; further ones are refused. Of one session at most 1,024 do.
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, Provider};
        /// let server = OpenAi::new("localhost:8080").max_waiting(100);
        /// assert_eq!(server.limits().max_waiting, 100);
        /// ```
        pub fn max_waiting(mut self, calls: usize) -> Self {
            self.$($at).+.server.limits.max_waiting = calls;
            self
        }

        /// At most so many calls are made in a minute. Default: as many as the server bears, by what it says of its
        /// limits in its answers.
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, Provider};
        /// let server = OpenAi::new("localhost:8080").requests_per_minute(500);
        /// assert_eq!(server.limits().requests_per_minute, Some(500));
        /// ```
        pub fn requests_per_minute(mut self, requests: u64) -> Self {
            self.$($at).+.server.limits.requests_per_minute = Some(requests);
            self
        }

        /// At most so many tokens go in and out in a minute. Default: as many as the server bears, by what it says of
        /// its limits in its answers.
        ///
        /// ```
        /// # use ergane_provider::{OpenAi, Provider};
        /// let server = OpenAi::new("localhost:8080").tokens_per_minute(200_000);
        /// assert_eq!(server.limits().tokens_per_minute, Some(200_000));
        /// ```
        pub fn tokens_per_minute(mut self, tokens: u64) -> Self {
            self.$($at).+.server.limits.tokens_per_minute = Some(tokens);
            self
        }

        /// When calls are held back because the server does not work: after 5 failures in a row by default, for 1 s at
        /// first and 30 s at most. `None` is never.
        ///
        /// ```
        /// # use ergane_provider::{BreakerPolicy, OpenAi, Provider};
        /// let patient = BreakerPolicy { failures: 20, ..BreakerPolicy::default() };
        /// assert_eq!(OpenAi::new("localhost:8080").breaker(patient).limits().breaker, Some(patient));
        /// assert_eq!(OpenAi::new("localhost:8080").breaker(None).limits().breaker, None);
        /// ```
        pub fn breaker(mut self, policy: impl Into<Option<$crate::BreakerPolicy>>) -> Self {
            self.$($at).+.server.limits.breaker = policy.into();
            self
        }

        /// How long a connection may take to be made, 10 s.
        ///
        /// ```
        /// # use std::time::Duration;
        /// # use ergane_provider::OpenAi;
        /// let near = OpenAi::new("localhost:8080").connect_timeout(Duration::from_secs(2));
        /// # let _ = near;
        /// ```
        pub fn connect_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$($at).+.server.set_connect_timeout(limit);
            self
        }

        /// How long the server may take before the first byte of its answer is there; its head alone is no answer yet.
        /// Default: as long as it may be silent in between (a setting of the session, 120 s). An answer that comes in one
        /// piece has five times that, before it and in it.
        ///
        /// ```
        /// # use std::time::Duration;
        /// # use ergane_provider::OpenAi;
        /// let slow = OpenAi::new("localhost:8080").first_byte_timeout(Duration::from_secs(600));
        /// # let _ = slow;
        /// ```
        pub fn first_byte_timeout(mut self, limit: std::time::Duration) -> Self {
            self.$($at).+.server.patience.first_byte = Some(limit);
            self
        }
    };
}

pub(crate) use limit_setters;
