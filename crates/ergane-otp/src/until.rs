//! The end of a wait, as a point in time.

use std::time::Duration;

use tokio::time::Instant;

/// What a wait without an end comes to: a hundred years.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);

/// The moment after `wait`; where the clock has none so late, one that nobody lives to see.
///
/// `Duration::MAX` is a natural way to say "for ever", and to add it to an [`Instant`] is a panic. So whoever takes a duration from
/// others comes by here.
///
/// ```
/// use std::time::Duration;
///
/// let now = tokio::time::Instant::now();
/// assert!(ergane_otp::until(Duration::MAX) > now + Duration::from_secs(60 * 60 * 24 * 365));
/// ```
pub fn until(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + FOREVER)
}
