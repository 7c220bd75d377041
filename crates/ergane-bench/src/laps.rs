//! Times of many repetitions of one thing, and what is said of them.

use std::time::Duration;

/// How long each repetition took, and the CPU time of them all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Laps {
    nanos: Vec<u64>,
    cpu: Duration,
}

impl Laps {
    pub(crate) fn lap(&mut self, took: Duration) {
        self.nanos.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn len(&self) -> usize {
        self.nanos.len()
    }

    pub(crate) fn add_cpu(&mut self, cpu: Duration) {
        self.cpu += cpu;
    }

    pub(crate) fn absorb(&mut self, other: Self) {
        self.nanos.extend(other.nanos);
        self.cpu += other.cpu;
    }

    /// In microseconds.
    pub(crate) fn p50_us(&self) -> f64 {
        percentile(&self.nanos, 0.50) / 1e3
    }

    /// In microseconds.
    pub(crate) fn p99_us(&self) -> f64 {
        percentile(&self.nanos, 0.99) / 1e3
    }

    /// CPU of one repetition, in microseconds; `each` repetitions make a lap.
    pub(crate) fn cpu_us(&self, each: usize) -> f64 {
        per(self.cpu.as_secs_f64() * 1e6, self.nanos.len() * each)
    }
}

/// The smallest value that at least `share` of them do not exceed; 0 of none.
pub(crate) fn percentile(values: &[u64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default() as f64
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = |index: usize| sorted.get(index).copied().unwrap_or_default();
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(middle(half.saturating_sub(1)), middle(half))
    } else {
        middle(half)
    }
}

/// `total` over `count`; 0 when there is nothing to share it among.
pub(crate) fn per(total: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { total / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&values, 0.50), 50.0);
        assert_eq!(percentile(&values, 0.99), 99.0);
        assert_eq!(percentile(&values, 1.0), 100.0);
        assert_eq!(percentile(&[7], 0.01), 7.0);
        assert_eq!(percentile(&[7], 0.99), 7.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[5.0]), 5.0);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn laps_add_up_over_blocks() {
        let mut all = Laps::default();
        for micros in [1_u64, 3, 2] {
            let mut block = Laps::default();
            block.lap(Duration::from_micros(micros));
            block.add_cpu(Duration::from_micros(10));
            all.absorb(block);
        }
        assert_eq!((all.p50_us(), all.p99_us()), (2.0, 3.0));
        assert_eq!(all.cpu_us(1), 10.0);
        assert_eq!(all.cpu_us(5), 2.0);
        assert_eq!(Laps::default().cpu_us(1), 0.0);
    }
}
