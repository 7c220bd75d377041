//! Durations on the command line: `500ms`, `30s`, `2m`, `1h`.

use std::time::Duration;

/// Longer than this nobody waits, and clocks overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A whole number and its unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no duration: give a whole number and ms, s, m or h, such as 500ms or 30s");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(wrong()),
    };
    match number.checked_mul(millis).map(Duration::from_millis) {
        Some(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Some(duration) if duration <= LONGEST => Ok(duration),
        _ => Err("it must not be longer than a year".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_a_unit_are_durations_and_nothing_else_is() {
        let good = [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, millis) in good {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        let bad = [
            "",
            "5",
            "s",
            "ms",
            "-1s",
            "1.5s",
            "1 s",
            "1d",
            "1S",
            "0s",
            "9000h",
            "99999999999999999999s",
            "é",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
