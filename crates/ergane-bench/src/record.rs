//! One measurement: its parameters and what came out, as a line of JSON and back.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Outcome;
use crate::laps::median;

/// Everything that is measured, in the order in which it is shown. What has another name is a parameter.
pub(crate) const METRICS: &[&str] = &[
    "turns_per_s",
    "appends_per_s",
    "spawns_per_s",
    "p50_us",
    "p99_us",
    "cpu_us_per_turn",
    "cpu_us",
    "handle_p50_us",
    "first_at_last_us",
    "missed",
    "page_p50_us",
    "page_p99_us",
    "open_p50_us",
    "open_p99_us",
    "append_p50_us",
    "append_p99_us",
    "rows_us",
    "packed_us",
    "fold_us",
    "commits_per_turn",
    "appends_per_commit",
    "bytes_per_turn",
    "disk_bytes_per_turn",
    "rss_bytes",
    "bytes_per_session",
    "passivated_bytes_per_session",
    "bytes_per_child",
    "seconds",
    "floor_turns_per_s",
    "floor_appends_per_s",
    "floor_appends_per_commit",
    "floor_bytes_per_session",
    "floor_p50_us",
    "floor_cpu_us_per_turn",
    "floor_cpu_us",
    "floor_bytes_per_child",
    "floor_seconds",
    "bare_turns_per_s",
    "bare_p50_us",
    "bare_cpu_us_per_turn",
    "ratio",
    "cpu_ratio",
    "bare_cpu_ratio",
    "no_history_cpu_us_per_turn",
    "same_bytes_cpu_us_per_turn",
    "same_bytes_p50_us",
    "history_cpu_ratio",
];

/// One measurement.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) params: Map<String, Value>,
    pub(crate) metrics: BTreeMap<String, f64>,
    /// Of a median: the smallest and the largest.
    pub(crate) spread: BTreeMap<String, (f64, f64)>,
}

impl Record {
    pub(crate) fn new(bench: &str) -> Self {
        Self::default().param("bench", bench)
    }

    pub(crate) fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn metric(mut self, name: &'static str, value: f64) -> Self {
        debug_assert!(METRICS.contains(&name), "{name} would be read back as a parameter");
        self.metrics.insert(name.to_owned(), value);
        self
    }

    /// Ours over the floor's, unless the floor is nothing.
    pub(crate) fn ratio(self, name: &'static str, ours: f64, floor: f64) -> Self {
        if floor > 0.0 { self.metric(name, ours / floor) } else { self }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut object = self.params.clone();
        object.extend(self.metrics.iter().map(|(name, &value)| (name.clone(), json!(rounded(value)))));
        if !self.spread.is_empty() {
            let spread: Map<_, _> = self
                .spread
                .iter()
                .map(|(name, &(least, most))| (name.clone(), json!([rounded(least), rounded(most)])))
                .collect();
            object.insert("spread".to_owned(), spread.into());
        }
        object.into()
    }

    /// Reads one that is no median.
    pub(crate) fn from_json(line: &str) -> Outcome<Self> {
        let object: Map<String, Value> = serde_json::from_str(line)?;
        let mut record = Self::default();
        for (name, value) in object {
            match value.as_f64() {
                Some(number) if METRICS.contains(&name.as_str()) => {
                    record.metrics.insert(name, number);
                }
                _ => {
                    record.params.insert(name, value);
                }
            }
        }
        Ok(record)
    }
}

/// One record for each set of parameters: every metric's median and spread, in the order of the first run.
pub(crate) fn medians(runs: &[Vec<Record>]) -> Vec<Record> {
    let first = runs.first().map_or(&[][..], Vec::as_slice);
    first.iter().map(|record| median_of(record, runs)).collect()
}

fn median_of(record: &Record, runs: &[Vec<Record>]) -> Record {
    let same: Vec<&Record> = runs.iter().flatten().filter(|other| other.params == record.params).collect();
    let mut merged = Record { params: record.params.clone(), ..Record::default() };
    merged.params.insert("repeat".to_owned(), runs.len().into());
    for name in record.metrics.keys() {
        let values: Vec<f64> = same.iter().filter_map(|other| other.metrics.get(name)).copied().collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        merged.metrics.insert(name.clone(), median(&values));
        merged.spread.insert(name.clone(), (least, most));
    }
    merged
}

/// To three digits behind the point: what follows is noise.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(p50: f64) -> Record {
        Record::new("turns").param("sessions", 3).metric("p50_us", p50)
    }

    #[test]
    fn a_record_reads_back_what_it_wrote() {
        let written = record(1.25).ratio("ratio", 3.0, 2.0);
        let line = written.to_json().to_string();
        assert_eq!(line, r#"{"bench":"turns","p50_us":1.25,"ratio":1.5,"sessions":3}"#);
        assert_eq!(Record::from_json(&line).unwrap(), written);
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert!(!record(1.0).ratio("ratio", 1.0, 0.0).metrics.contains_key("ratio"));
    }

    #[test]
    fn runs_with_the_same_parameters_become_a_median_with_its_spread() {
        let other = Record::new("kill").metric("p50_us", 99.0);
        let runs: Vec<Vec<Record>> =
            [3.0, 1.0, 2.0].map(|p50| vec![record(p50), other.clone()]).into_iter().collect();
        let merged = medians(&runs);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].metrics["p50_us"], 2.0);
        assert_eq!(merged[0].spread["p50_us"], (1.0, 3.0));
        assert_eq!(merged[0].params["repeat"], 3);
        assert_eq!(merged[1].spread["p50_us"], (99.0, 99.0));
        let json = merged[0].to_json();
        assert_eq!(json["spread"]["p50_us"], json!([1.0, 3.0]));
        assert_eq!(medians(&[]), []);
    }
}
