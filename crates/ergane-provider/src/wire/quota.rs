//! What a server says of its limits: how many requests and tokens are left, and when that is made good again.
//!
//! Three families of headers say the same in different words: OpenAI's (and most compatible servers'), Anthropic's, and
//! the plain ones of gateways. Whoever keeps to what they say is not refused, which is cheaper than being told by a 429.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Head;
use super::hints::go_duration;

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The limit itself, when the server told it.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: u64,
    /// How long until all of it is there again.
    pub reset: Duration,
}

/// What is left of a server's limits; what it does not tell is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Of the requests.
    pub requests: Option<Allowance>,
    /// Of the tokens.
    pub tokens: Option<Allowance>,
}

/// The prefixes of headers that speak of requests and of tokens, the more telling first.
const REQUESTS: [(&str, Order); 4] = [
    ("x-ratelimit-*-requests", Order::Middle),
    ("anthropic-ratelimit-requests-*", Order::Last),
    ("x-ratelimit-*", Order::Last),
    ("ratelimit-*", Order::Last),
];
const TOKENS: [(&str, Order); 3] = [
    ("x-ratelimit-*-tokens", Order::Middle),
    ("anthropic-ratelimit-tokens-*", Order::Last),
    ("anthropic-ratelimit-input-tokens-*", Order::Last),
];

/// Where in the name it stands which number is meant.
#[derive(Debug, Clone, Copy)]
enum Order {
    Middle,
    Last,
}

impl Quota {
    /// What the headers of an answer say.
    pub fn of(head: &Head) -> Self {
        // Most servers say nothing, and every answer is looked at.
        if !head.headers.iter().any(|(name, _)| name.contains("ratelimit-")) {
            return Self::default();
        }
        let first = |families: &[(&str, Order)]| families.iter().find_map(|family| allowance(head, *family));
        Self { requests: first(&REQUESTS), tokens: first(&TOKENS) }
    }
}

/// Whether what was read from the provider's cache counts by the limits that this head tells of. At Anthropic's newer models it does
/// not; all others count all that goes in.
pub(crate) fn counts_cached(head: &Head) -> bool {
    !head.headers.iter().any(|(name, _)| name.starts_with("anthropic-ratelimit-"))
}

fn allowance(head: &Head, (pattern, order): (&str, Order)) -> Option<Allowance> {
    let (before, after) = pattern.split_once('*')?;
    let field = |word: &str| {
        head.headers.iter().find_map(|(name, value)| {
            let rest = name.strip_prefix(before)?;
            let found = match order {
                Order::Middle => rest.strip_suffix(after)?,
                Order::Last => rest,
            };
            (found == word).then_some(value.trim())
        })
    };
    let remaining = field("remaining")?.parse().ok()?;
    let reset = until(field("reset")?, head.clock())?;
    if remaining == 0 && reset.is_zero() {
        return None; // nothing is left, and all of it is there again: so some say that the limit is none
    }
    Some(Allowance { limit: field("limit").and_then(|limit| limit.parse().ok()), remaining, reset })
}

/// A moment in any of the ways servers write it: a Go duration, seconds from now, seconds or milliseconds since 1970, or
/// a timestamp of RFC 3339.
fn until(text: &str, now: SystemTime) -> Option<Duration> {
    /// Numbers above are a date and no duration: thirty years in seconds.
    const A_DATE: f64 = 1e9;
    const MILLISECONDS: f64 = 1e12;
    let from_epoch =
        |since: Duration| UNIX_EPOCH.checked_add(since)?.duration_since(now).ok().or(Some(Duration::ZERO));
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            n if !n.is_finite() || n < 0.0 => None,
            n if n >= MILLISECONDS => from_epoch(Duration::try_from_secs_f64(n / 1e3).ok()?),
            n if n >= A_DATE => from_epoch(Duration::try_from_secs_f64(n).ok()?),
            n => Some(Duration::from_secs_f64(n)),
        };
    }
    go_duration(text).or_else(|| from_epoch(rfc3339(text)?))
}

/// The time since 1970 of `2026-11-28T22:30:00Z`, with or without a fraction or an offset.
fn rfc3339(text: &str) -> Option<Duration> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let fixed = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if !fixed.iter().all(|(at, byte)| text.as_bytes().get(*at) == Some(byte)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let fits = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !fits {
        return None;
    }
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0{fraction}").parse::<f64>().ok()? };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let part = |text: &str, below: i64| {
                let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<i64>().ok().filter(|number| is_number && *number < below)
            };
            let minutes = part(hours, 24)? * 60 + part(minutes, 60)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    // Days since 1970-01-01, with years that begin in March, so that a leap day is the last of its year.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second;
    Duration::try_from_secs_f64(seconds as f64 + fraction).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(headers: &[(&str, &str)]) -> Quota {
        Quota::of(&Head {
            status: 200,
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            at: httpdate::parse_http_date("Wed, 21 Oct 2026 07:27:30 GMT").unwrap(),
        })
    }

    fn left(limit: Option<u64>, remaining: u64, reset_ms: u64) -> Option<Allowance> {
        Some(Allowance { limit, remaining, reset: Duration::from_millis(reset_ms) })
    }

    #[test]
    fn the_limits_of_openai_and_its_kin_are_read() {
        let said = quota(&[
            ("x-ratelimit-limit-requests", "500"),
            ("x-ratelimit-remaining-requests", "499"),
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "29000"),
            ("x-ratelimit-reset-tokens", "2s"),
        ]);
        assert_eq!(said.requests, left(Some(500), 499, 120));
        assert_eq!(said.tokens, left(Some(30_000), 29_000, 2000));
    }

    #[test]
    fn the_limits_of_anthropic_are_read_with_their_dates() {
        let said = quota(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-10-21T07:27:31Z"),
            ("anthropic-ratelimit-input-tokens-limit", "1000"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-10-21T09:27:30.5+02:00"),
        ]);
        assert_eq!(said.requests, left(Some(50), 49, 1000));
        assert_eq!(said.tokens, left(Some(1000), 0, 500));
    }

    /// One that was asleep, and is a minute behind.
    #[test]
    fn a_moment_is_one_of_the_servers_own_clock() {
        let said = quota(&[
            ("date", "Wed, 21 Oct 2026 07:28:30 GMT"),
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "2026-10-21T07:28:31.5Z"),
            ("x-ratelimit-remaining-tokens", "7"),
            ("x-ratelimit-reset-tokens", "1792567711"),
        ]);
        assert_eq!(said.requests, left(Some(50), 49, 1500));
        assert_eq!(said.tokens, left(None, 7, 1000));
    }

    #[test]
    fn a_gateways_plain_headers_are_of_requests_and_any_way_to_write_a_moment_is_read() {
        for (reset, expected) in [
            ("30", 30_000),
            ("1.5", 1500),
            ("1792567660", 10_000),
            ("1792567660000", 10_000),
            ("2020-01-01T00:00:00Z", 0),
            ("1792560000", 0),
        ] {
            let said = quota(&[("x-ratelimit-remaining", "7"), ("x-ratelimit-reset", reset)]);
            assert_eq!(said.requests, left(None, 7, expected), "{reset}");
            assert_eq!(said.tokens, None);
        }
    }

    #[test]
    fn nonsense_says_nothing() {
        assert_eq!(quota(&[("content-type", "text/plain")]), Quota::default());
        for (remaining, reset) in [
            ("many", "1s"),
            ("-1", "1s"),
            ("1", "soon"),
            ("1", "-3"),
            ("1", "NaN"),
            ("1", "2026-13-01T00:00:00Z"),
            ("1", "2026-10-21T07:27:30"),
            ("1", "2026-10-21T07:27:3é"),
            ("1", "1e300"),
            ("1", "2026-10-21T07:27:30+9223372036854775807:00"),
            ("1", "2026-10-21T07:27:30-9223372036854775808:00"),
            ("1", "2026-10-21T07:27:30+24:00"),
            ("1", "2026-10-21T07:27:30+00:60"),
            ("1", "2026-10-21T07:27:30++1:00"),
            ("0", "0"),
        ] {
            let said =
                quota(&[("x-ratelimit-remaining-tokens", remaining), ("x-ratelimit-reset-tokens", reset)]);
            assert_eq!(said, Quota::default(), "{remaining}, {reset}");
        }
        let no_reset = quota(&[("x-ratelimit-remaining-requests", "1")]);
        assert_eq!(no_reset, Quota::default(), "without a reset it says nothing");
    }

    /// What a header may hold: what is almost a number, a duration or a date, and what is nothing of the kind.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<u64>().prop_map(|n| n.to_string()),
            any::<f64>().prop_map(|n| n.to_string()),
            "[0-9]{1,20}(ms|s|m|h|d)?[0-9a-zµ.]{0,8}",
            "(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,30})?[Zz+-]?[0-9]{0,25}:?[0-9]{0,25}",
            "\\PC{0,40}",
        ]
    }

    proptest! {
        /// Whatever the headers of an answer are: no panic.
        #[test]
        fn any_headers_are_read_without_a_panic(
            remaining in value(), reset in value(), limit in value(), date in value(),
        ) {
            let families = [
                ["x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "x-ratelimit-limit-requests"],
                ["anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-tokens-limit"],
                ["ratelimit-remaining", "ratelimit-reset", "ratelimit-limit"],
            ];
            for [left, again, of] in families {
                quota(&[(left, &remaining), (again, &reset), (of, &limit), ("date", &date), ("retry-after", &reset)]);
            }
        }
    }
}
