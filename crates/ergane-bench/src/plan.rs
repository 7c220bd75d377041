//! What `all` measures, and what each number ought to be.

/// What a number is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mark {
    AtMost(f64),
    AtLeast(f64),
    /// Nothing is promised; it stands there to be seen.
    None,
}

impl Mark {
    /// `None` when there is nothing to be met.
    pub(crate) fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
            Self::None => None,
        }
    }
}

/// One row of the table: a number of one measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) what: &'static str,
    /// Of several records, the one whose `what` begins so.
    pub(crate) of: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) unit: &'static str,
    /// The number is in so many of the metric's units.
    pub(crate) unit_is: f64,
    pub(crate) floor: Option<&'static str>,
    pub(crate) mark: Mark,
    /// Whether the mark is on how many times the floor it is, and not on the number.
    pub(crate) mark_on_ratio: bool,
}

impl Row {
    const fn new(what: &'static str, metric: &'static str, unit: &'static str, mark: Mark) -> Self {
        let (of, floor) = ("", None);
        Self { what, of, metric, unit, unit_is: 1.0, floor, mark, mark_on_ratio: false }
    }

    const fn of(mut self, of: &'static str) -> Self {
        self.of = of;
        self
    }

    const fn floor(mut self, metric: &'static str) -> Self {
        self.floor = Some(metric);
        self
    }

    const fn in_units_of(mut self, unit_is: f64) -> Self {
        self.unit_is = unit_is;
        self
    }

    const fn ratio(mut self) -> Self {
        self.mark_on_ratio = true;
        self
    }
}

/// One measurement: a command line, how much of it (scaled), and the rows that are read from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    pub(crate) title: &'static str,
    pub(crate) args: &'static str,
    /// Options whose numbers are scaled.
    pub(crate) amounts: &'static [(&'static str, usize)],
    pub(crate) rows: &'static [Row],
}

impl Measurement {
    /// The command line, with `scale` times as much of everything, but at least one.
    pub(crate) fn command(&self, scale: f64) -> Vec<String> {
        let mut args: Vec<String> = self.args.split_whitespace().map(str::to_owned).collect();
        for &(option, amount) in self.amounts {
            let scaled = (amount as f64 * scale).round().max(1.0) as usize;
            args.extend([option.to_owned(), scaled.to_string()]);
        }
        args
    }
}

use Mark::{AtLeast, AtMost};

const KIB: f64 = 1024.0;

/// How a row asks for the record of many children, which are scaled, so that its name may begin with another number.
pub(crate) const MANY: &str = "many children";

/// Everything, in the order of the page.
pub(crate) const PLAN: &[Measurement] = &[
    Measurement {
        title: "supervision",
        args: "otp --floor",
        amounts: &[("--operations", 20_000), ("--children", 100_000)],
        rows: &[
            Row::new("a child is started", "p50_us", "µs", Mark::None).of("spawn").floor("floor_p50_us"),
            Row::new("… is stopped, its name free", "p50_us", "µs", Mark::None)
                .of("stop")
                .floor("floor_p50_us"),
            Row::new("… is killed and lives again (dynamic supervisor)", "p50_us", "µs", AtMost(3.0))
                .of("restart, dynamic")
                .floor("floor_p50_us")
                .ratio(),
            Row::new("… is killed and lives again (supervisor)", "p50_us", "µs", AtMost(3.0))
                .of("restart, super")
                .floor("floor_p50_us")
                .ratio(),
            Row::new("a call by reference", "p50_us", "µs", AtMost(1.5))
                .of("call by ref")
                .floor("floor_p50_us")
                .ratio(),
            Row::new("a call by name", "p50_us", "µs", AtMost(1.5))
                .of("call by name")
                .floor("floor_p50_us")
                .ratio(),
            Row::new("100,000 children are started", "seconds", "s", AtMost(5.0))
                .of(MANY)
                .floor("floor_seconds"),
            Row::new("memory of an idle child", "bytes_per_child", "KiB", Mark::None)
                .of(MANY)
                .in_units_of(KIB)
                .floor("floor_bytes_per_child"),
        ],
    },
    Measurement {
        title: "text turn, memory, 1 session",
        args: "turns --turn text --journal memory --floor",
        amounts: &[("--turns", 1_000)],
        rows: &[
            Row::new("CPU a turn", "cpu_us_per_turn", "µs", AtMost(40.0)).floor("floor_cpu_us_per_turn"),
            Row::new("p50", "p50_us", "µs", AtMost(50.0)).floor("floor_p50_us"),
            Row::new("p99", "p99_us", "µs", Mark::None),
        ],
    },
    Measurement {
        title: "text turn, memory, 64 sessions",
        args: "turns --turn text --journal memory --floor --sessions 64",
        amounts: &[("--turns", 300)],
        rows: &[
            Row::new("turns a second", "turns_per_s", "/s", AtLeast(25_000.0)).floor("floor_turns_per_s"),
            Row::new("CPU a turn", "cpu_us_per_turn", "µs", Mark::None).floor("floor_cpu_us_per_turn"),
        ],
    },
    Measurement {
        title: "text turn, memory, 256 sessions",
        args: "turns --turn text --journal memory --floor --sessions 256",
        amounts: &[("--turns", 100)],
        rows: &[Row::new("turns a second", "turns_per_s", "/s", AtLeast(25_000.0)).floor("floor_turns_per_s")],
    },
    Measurement {
        title: "one-tool turn, memory, 1 session",
        args: "turns --turn tool --journal memory --floor",
        amounts: &[("--turns", 1_000)],
        rows: &[
            Row::new("CPU a turn", "cpu_us_per_turn", "µs", AtMost(80.0)).floor("floor_cpu_us_per_turn"),
            Row::new("p50", "p50_us", "µs", Mark::None).floor("floor_p50_us"),
        ],
    },
    Measurement {
        title: "turn with 8 tools at once, memory, 1 session",
        args: "turns --turn tools8 --journal memory --floor",
        amounts: &[("--turns", 300)],
        rows: &[Row::new("CPU a turn", "cpu_us_per_turn", "µs", Mark::None).floor("floor_cpu_us_per_turn")],
    },
    Measurement {
        title: "text turn, SQLite, 1 session",
        args: "turns --turn text --journal sqlite",
        amounts: &[("--turns", 500)],
        rows: &[
            Row::new("p50", "p50_us", "ms", Mark::None).in_units_of(1e3),
            Row::new("waits for the disk a turn", "commits_per_turn", "", AtMost(2.0)),
            Row::new("facts a turn", "bytes_per_turn", "bytes", Mark::None),
        ],
    },
    Measurement {
        title: "one-tool turn, SQLite, 1 session",
        args: "turns --turn tool --journal sqlite",
        amounts: &[("--turns", 300)],
        rows: &[Row::new("waits for the disk a turn", "commits_per_turn", "", AtMost(4.0))],
    },
    Measurement {
        title: "text turn, SQLite, 256 sessions",
        args: "turns --turn text --journal sqlite --sessions 256",
        amounts: &[("--turns", 100)],
        rows: &[
            Row::new("turns a second", "turns_per_s", "/s", AtLeast(5_000.0)),
            Row::new("CPU a turn", "cpu_us_per_turn", "µs", Mark::None),
        ],
    },
    Measurement {
        title: "one-tool turn, SQLite, 256 sessions",
        args: "turns --turn tool --journal sqlite --sessions 256",
        amounts: &[("--turns", 50)],
        rows: &[Row::new("turns a second", "turns_per_s", "/s", AtLeast(2_500.0))],
    },
    Measurement {
        title: "text turn, model of 50 ms, 64 sessions, memory",
        args: "turns --turn text --journal memory --latency-ms 50 --sessions 64",
        amounts: &[("--turns", 30)],
        rows: &[Row::new("p50", "p50_us", "ms", Mark::None).in_units_of(1e3)],
    },
    Measurement {
        title: "… SQLite",
        args: "turns --turn text --journal sqlite --latency-ms 50 --sessions 64",
        amounts: &[("--turns", 30)],
        // 1.25 times what the row before cannot be less than.
        rows: &[Row::new("p50", "p50_us", "ms", AtMost(62.5)).in_units_of(1e3)],
    },
    Measurement {
        title: "journal, 256 sessions, events of 1 KB, beside bare SQLite",
        args: "journal --writers 256 --bytes 1024 --floor",
        amounts: &[("--appends", 100)],
        rows: &[
            Row::new("appends a second", "appends_per_s", "/s", Mark::None).floor("floor_appends_per_s"),
            Row::new("CPU an append", "cpu_us", "µs", Mark::None).floor("floor_cpu_us"),
            Row::new("appends a commit", "appends_per_commit", "", Mark::None)
                .floor("floor_appends_per_commit"),
        ],
    },
    Measurement {
        title: "idle session, one turn of history, memory",
        args: "idle --journal memory --floor",
        amounts: &[("--sessions", 10_000)],
        rows: &[
            Row::new("memory", "bytes_per_session", "KiB", AtMost(14.0))
                .in_units_of(KIB)
                .floor("floor_bytes_per_session"),
            Row::new("start", "spawns_per_s", "/s", AtLeast(10_000.0)),
        ],
    },
    Measurement {
        title: "idle session, one turn of history, SQLite",
        args: "idle --journal sqlite",
        amounts: &[("--sessions", 10_000)],
        rows: &[
            Row::new("memory", "bytes_per_session", "KiB", AtMost(14.0)).in_units_of(KIB),
            Row::new("left behind when passivated", "passivated_bytes_per_session", "KiB", Mark::None)
                .in_units_of(KIB),
        ],
    },
    Measurement {
        title: "100,000 live sessions, memory",
        args: "idle --journal memory",
        amounts: &[("--sessions", 100_000)],
        rows: &[
            Row::new("all are started", "seconds", "s", AtMost(10.0)),
            Row::new("memory of the process", "rss_bytes", "GB", AtMost(1.4)).in_units_of(1e9),
        ],
    },
    Measurement {
        title: "session actor killed, memory",
        args: "kill --journal memory --floor",
        amounts: &[("--kills", 1_000)],
        rows: &[
            Row::new("to its next answer", "p50_us", "µs", AtMost(50.0)).floor("floor_p50_us"),
            Row::new("… through the handle", "handle_p50_us", "µs", Mark::None),
        ],
    },
    Measurement {
        title: "session actor killed, SQLite, 100 messages",
        args: "kill --journal sqlite --history 100",
        amounts: &[("--kills", 300)],
        rows: &[
            Row::new("to its next answer", "p50_us", "ms", AtMost(1.0)).in_units_of(1e3),
            Row::new("… through the handle", "handle_p50_us", "ms", Mark::None).in_units_of(1e3),
        ],
    },
    Measurement {
        title: "10,000 sessions killed at once, memory",
        args: "crash-all --journal memory",
        amounts: &[("--sessions", 10_000)],
        rows: &[Row::new("to the last one's answer", "seconds", "s", AtMost(1.0))],
    },
    Measurement {
        title: "10,000 sessions killed at once, SQLite",
        args: "crash-all --journal sqlite",
        amounts: &[("--sessions", 10_000)],
        rows: &[Row::new("to the last one's answer", "seconds", "s", AtMost(10.0))],
    },
    Measurement {
        title: "one subscriber, 50 pieces a second",
        args: "fanout --subscribers 1",
        amounts: &[("--deltas", 100)],
        rows: &[
            Row::new("a piece, from the provider", "p50_us", "µs", AtMost(30.0)),
            Row::new("… p99", "p99_us", "µs", Mark::None),
        ],
    },
    Measurement {
        title: "10,000 subscribers, 50 pieces a second",
        args: "fanout",
        amounts: &[("--subscribers", 10_000), ("--deltas", 100)],
        rows: &[
            Row::new("the turn, beside one without any", "seconds", "s", AtMost(1.1))
                .floor("floor_seconds")
                .ratio(),
            Row::new("the first piece at the last of them", "first_at_last_us", "ms", Mark::None)
                .in_units_of(1e3),
            Row::new("pieces lost, and counted", "missed", "", Mark::None),
        ],
    },
    Measurement {
        title: "HTTP, text, streamed, 1 in flight, beside bare actors",
        args: "http --turn text --inflight 1 --floor",
        amounts: &[("--turns", 1_000)],
        rows: HTTP_ALONE,
    },
    Measurement {
        title: "HTTP, text, streamed, 32 in flight, beside reqwest alone",
        args: "http --turn text --inflight 32 --floor",
        amounts: &[("--turns", 100)],
        rows: HTTP_MANY,
    },
    Measurement {
        title: "HTTP, text, whole answers, 1 in flight, beside bare actors",
        args: "http --turn text --inflight 1 --no-stream --floor",
        amounts: &[("--turns", 1_000)],
        rows: HTTP_ALONE,
    },
    Measurement {
        title: "HTTP, text, whole answers, 32 in flight, beside reqwest alone",
        args: "http --turn text --inflight 32 --no-stream --floor",
        amounts: &[("--turns", 100)],
        rows: HTTP_MANY,
    },
    Measurement {
        title: "HTTP, one tool, streamed, 1 in flight, beside bare actors",
        args: "http --turn tool --inflight 1 --floor",
        amounts: &[("--turns", 1_000)],
        rows: HTTP_ALONE,
    },
    Measurement {
        title: "HTTP, one tool, streamed, 32 in flight, beside reqwest alone",
        args: "http --turn tool --inflight 32 --floor",
        amounts: &[("--turns", 100)],
        rows: HTTP_MANY,
    },
    Measurement {
        title: "HTTP, one tool, whole answers, 1 in flight, beside bare actors",
        args: "http --turn tool --inflight 1 --no-stream --floor",
        amounts: &[("--turns", 1_000)],
        rows: HTTP_ALONE,
    },
    Measurement {
        title: "HTTP, one tool, whole answers, 32 in flight, beside reqwest alone",
        args: "http --turn tool --inflight 32 --no-stream --floor",
        amounts: &[("--turns", 100)],
        rows: HTTP_MANY,
    },
    Measurement {
        title: "stored session of 100,000 facts",
        args: "open --opens 15",
        amounts: &[("--events", 100_000)],
        rows: &[
            Row::new("all facts read from their rows", "rows_us", "ms", Mark::None).in_units_of(1e3),
            Row::new("… read from snapshots", "packed_us", "ms", Mark::None).in_units_of(1e3),
            Row::new("… folded", "fold_us", "ms", Mark::None).in_units_of(1e3),
            Row::new("opened, to its first answer", "p50_us", "ms", Mark::None).in_units_of(1e3),
        ],
    },
    Measurement {
        title: "cold start, journal of 100,000 sessions",
        args: "cold-start --starts 20",
        amounts: &[("--sessions", 100_000)],
        rows: &[
            Row::new("`ergane sessions show`, to its end", "p50_us", "ms", AtMost(50.0))
                .of("a session is shown")
                .in_units_of(1e3),
            Row::new("`ergane send` with a whole turn, to its end", "p50_us", "ms", AtMost(50.0))
                .of("a session has a turn")
                .in_units_of(1e3),
        ],
    },
];

const HTTP_ALONE: &[Row] =
    &[Row::new("CPU a turn", "cpu_us_per_turn", "µs", AtMost(1.3)).floor("floor_cpu_us_per_turn").ratio()];

const HTTP_MANY: &[Row] =
    &[Row::new("CPU a turn", "cpu_us_per_turn", "µs", AtMost(1.75)).floor("bare_cpu_us_per_turn").ratio()];

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;
    use crate::record::METRICS;

    #[test]
    fn every_planned_command_line_can_be_read() {
        for measurement in PLAN {
            let line = std::iter::once("ergane-bench".to_owned()).chain(measurement.command(0.001));
            let parsed = Cli::try_parse_from(line);
            assert!(parsed.is_ok(), "{}: {:?}", measurement.title, parsed.err());
        }
    }

    #[test]
    fn every_planned_row_reads_a_metric_that_exists() {
        for row in PLAN.iter().flat_map(|measurement| measurement.rows) {
            assert!(METRICS.contains(&row.metric), "{}", row.what);
            assert!(row.floor.is_none_or(|floor| METRICS.contains(&floor)), "{}", row.what);
            assert!(
                row.floor.is_some() || !row.mark_on_ratio,
                "{} has no floor to be held against",
                row.what
            );
        }
    }

    #[test]
    fn amounts_are_scaled_and_never_nothing() {
        let measurement =
            Measurement { title: "", args: "kill --journal memory", amounts: &[("--kills", 200)], rows: &[] };
        assert_eq!(measurement.command(0.5), ["kill", "--journal", "memory", "--kills", "100"]);
        assert_eq!(measurement.command(0.0)[4], "1");
    }

    #[test]
    fn a_mark_is_met_at_its_limit() {
        assert_eq!(AtMost(2.0).is_met(2.0), Some(true));
        assert_eq!(AtMost(2.0).is_met(2.1), Some(false));
        assert_eq!(AtLeast(2.0).is_met(2.0), Some(true));
        assert_eq!(AtLeast(2.0).is_met(1.9), Some(false));
        assert_eq!(Mark::None.is_met(1.0), None);
    }
}
