//! How long a server asks its client to wait.

use std::time::{Duration, SystemTime};

use super::Head;

/// A wait of more seconds than this is no hint but a fault.
pub(super) const ABSURD: f64 = 1e9;

/// The wait that an error asks for: by its headers `retry-after-ms`, else `retry-after` (seconds or a date), else `told`, which
/// is what its body says, else, where nothing remains of a limit, when that limit is reset. Negative and unreadable values are
/// ignored; a long one is returned as it is: whether anyone waits for it is the caller's policy.
pub fn retry_hint(head: &Head, told: Option<Duration>) -> Option<Duration> {
    let number = |text: &str, scale: f64| {
        let value = text.trim().parse::<f64>().ok()? * scale;
        (value.is_finite() && (0.0..=ABSURD).contains(&value)).then(|| Duration::from_secs_f64(value))
    };
    if let Some(wait) = head.header("retry-after-ms").and_then(|text| number(text, 0.001)) {
        return Some(wait);
    }
    if let Some(text) = head.header("retry-after") {
        if let Some(wait) = number(text, 1.0) {
            return Some(wait);
        }
        if let Ok(date) = httpdate::parse_http_date(text.trim()) {
            return Some(wait_until(date, head.clock()));
        }
    }
    told.or_else(|| ["requests", "tokens"].into_iter().filter_map(|what| reset(head, what)).max())
}

fn wait_until(date: SystemTime, now: SystemTime) -> Duration {
    date.duration_since(now).unwrap_or_default()
}

fn reset(head: &Head, what: &str) -> Option<Duration> {
    if head.header(&format!("x-ratelimit-remaining-{what}"))?.trim() != "0" {
        return None;
    }
    go_duration(head.header(&format!("x-ratelimit-reset-{what}"))?.trim())
}

/// A duration as Go prints it: `12ms`, `1s`, `6m0s`.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (!text.is_empty() && seconds.is_finite() && seconds <= ABSURD).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)]) -> Head {
        Head {
            status: 429,
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            at: httpdate::parse_http_date("Wed, 21 Oct 2026 07:27:30 GMT").unwrap(),
        }
    }

    #[test]
    fn edge_41_hints_in_seconds_dates_and_milliseconds_are_read_and_nonsense_is_ignored() {
        let hint = |name: &str, value: &str| retry_hint(&head(&[(name, value)]), None);
        assert_eq!(hint("retry-after", "1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(hint("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(hint("retry-after", "Wed, 21 Oct 2020 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(hint("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(hint("retry-after", "-1"), None);
        assert_eq!(hint("retry-after", "999999"), Some(Duration::from_secs(999_999)));
        for garbage in ["soon", "", "NaN", "inf", "1e300"] {
            assert_eq!(hint("retry-after", garbage), None, "{garbage:?}");
        }
    }

    /// A clock that is a minute behind, or ahead, of the server's.
    #[test]
    fn a_date_is_one_of_the_servers_own_clock() {
        for date in ["Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:26:30 GMT"] {
            let in_ten_seconds = date.replace(":30 GMT", ":40 GMT");
            let said = head(&[("date", date), ("retry-after", &in_ten_seconds)]);
            assert_eq!(retry_hint(&said, None), Some(Duration::from_secs(10)), "{date}");
        }
        let unreadable = head(&[("date", "today"), ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]);
        assert_eq!(retry_hint(&unreadable, None), Some(Duration::from_secs(30)));
    }

    #[test]
    fn milliseconds_beat_seconds_and_a_bad_value_lets_the_next_speak() {
        let both = [("retry-after-ms", "250"), ("retry-after", "7")];
        assert_eq!(retry_hint(&head(&both), None), Some(Duration::from_millis(250)));
        let bad = [("retry-after-ms", "-5"), ("retry-after", "7")];
        assert_eq!(retry_hint(&head(&bad), None), Some(Duration::from_secs(7)));
    }

    #[test]
    fn an_exhausted_limit_says_when_it_is_reset() {
        let spent = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")];
        assert_eq!(retry_hint(&head(&spent), None), Some(Duration::from_secs(360)));
        let left = [("x-ratelimit-remaining-requests", "3"), ("x-ratelimit-reset-requests", "6m0s")];
        assert_eq!(retry_hint(&head(&left), None), None);
        for (text, expected) in
            [("12ms", Some(12)), ("1s", Some(1000)), ("1m0.5s", Some(60_500)), ("5", None), ("x", None)]
        {
            assert_eq!(go_duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
