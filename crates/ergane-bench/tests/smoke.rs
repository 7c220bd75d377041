//! Every subcommand runs, and tells what it promises to tell. No time is held against anything here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::process::Command;

use serde_json::Value;

fn bench(line: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ergane-bench"))
        .args(line.split_whitespace())
        .args(["--dir", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(line: &str) -> Vec<Value> {
    bench(&format!("{line} --json")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All of these are numbers above 0.
fn measures(record: &Value, metrics: &[&str]) {
    for metric in metrics {
        let value = record[metric].as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{metric} in {record}");
    }
}

#[test]
fn otp_tells_each_operation_beside_bare_ractor() {
    let records = json("otp --floor --operations 40 --children 50");
    let named: Vec<_> = records.iter().map(|record| record["what"].as_str().unwrap()).collect();
    let expected = [
        "spawn",
        "stop",
        "restart, dynamic supervisor",
        "restart, supervisor",
        "call by reference",
        "call by name",
        "50 children",
    ];
    assert_eq!(named, expected);
    for record in &records[..6] {
        measures(record, &["p50_us", "p99_us", "cpu_us", "floor_p50_us", "floor_cpu_us", "ratio"]);
    }
    measures(&records[6], &["seconds", "cpu_us", "floor_seconds", "ratio"]);
}

#[test]
fn otp_without_a_floor_tells_only_ours() {
    let records = json("otp --operations 20 --children 20");
    assert!(records.iter().all(|record| record.get("ratio").is_none()), "{records:?}");
}

#[test]
fn turns_tell_what_a_turn_takes() {
    for turn in ["text", "tool", "tools8"] {
        let line = format!("turns --turn {turn} --sessions 2 --turns 3 --journal memory --floor --history 2");
        let records = json(&line);
        assert_eq!(records.len(), 1);
        measures(&records[0], &["turns_per_s", "p50_us", "p99_us", "cpu_us_per_turn", "ratio", "cpu_ratio"]);
        assert_eq!(records[0]["sessions"], 2);
    }
}

#[test]
fn durable_turns_tell_their_waits_for_the_disk_and_a_constant_number_of_bytes() {
    let fresh = &json("turns --turn text --sessions 1 --turns 4 --journal sqlite")[0];
    assert_eq!(fresh["commits_per_turn"], 2.0);
    measures(fresh, &["turns_per_s", "bytes_per_turn", "disk_bytes_per_turn"]);
    let old = &json("turns --turn text --sessions 1 --turns 4 --journal sqlite --history 40")[0];
    let bytes = |record: &Value| record["bytes_per_turn"].as_f64().unwrap();
    // Positions and durations may have a digit more.
    assert!((bytes(old) - bytes(fresh)).abs() < 50.0, "{old} beside {fresh}");
}

#[test]
fn a_slow_model_makes_slow_turns() {
    let record = &json("turns --turn text --sessions 1 --turns 2 --journal memory --latency-ms 20")[0];
    assert!(record["p50_us"].as_f64().unwrap() >= 20_000.0, "{record}");
}

#[test]
fn the_journal_tells_its_appends() {
    let record = &json("journal --writers 3 --bytes 100 --appends 4")[0];
    measures(record, &["appends_per_s", "p50_us", "p99_us", "cpu_us", "appends_per_commit"]);
}

#[test]
fn idle_tells_what_sessions_need() {
    for journal in ["memory", "sqlite"] {
        let record = &json(&format!("idle --sessions 70 --journal {journal}"))[0];
        measures(record, &["rss_bytes", "spawns_per_s"]);
        // So few sessions may fit into memory that was there before.
        assert!(record["bytes_per_session"].is_number(), "{record}");
        assert!(record["passivated_bytes_per_session"].is_number(), "{record}");
    }
}

#[test]
fn open_tells_the_time_and_what_it_is_made_of() {
    let record = &json("open --events 900 --opens 2")[0];
    for metric in ["p50_us", "rows_us", "packed_us", "fold_us"] {
        assert!(record[metric].as_f64().unwrap() > 0.0, "{metric}: {record}");
    }
}

#[test]
fn kill_tells_the_time_to_the_next_answer() {
    for journal in ["memory", "sqlite"] {
        let record = &json(&format!("kill --kills 5 --journal {journal} --history 4"))[0];
        measures(record, &["p50_us", "p99_us", "cpu_us", "handle_p50_us"]);
    }
}

#[test]
fn crash_all_tells_when_all_sessions_answer_again() {
    for journal in ["memory", "sqlite"] {
        let record = &json(&format!("crash-all --sessions 70 --journal {journal}"))[0];
        measures(record, &["seconds", "p50_us", "p99_us", "cpu_us"]);
    }
}

#[test]
fn names_tells_what_a_page_an_opening_and_an_append_take() {
    for journal in ["memory", "sqlite"] {
        let record = &json(&format!("names --sessions 1300 --operations 9 --journal {journal}"))[0];
        measures(record, &["seconds", "page_p50_us", "open_p50_us", "append_p50_us", "append_p99_us"]);
        assert_eq!(record["sessions"], 1300);
    }
}

#[test]
fn fanout_tells_how_soon_all_have_a_piece_and_what_it_costs_the_turn() {
    for journal in ["memory", "sqlite"] {
        let record = &json(&format!("fanout --subscribers 30 --deltas 4 --journal {journal}"))[0];
        measures(record, &["p50_us", "p99_us", "first_at_last_us", "seconds", "floor_seconds", "ratio"]);
        assert!(record["missed"].is_number(), "{record}");
    }
}

#[test]
fn repeated_it_tells_the_median_and_the_spread() {
    let record = &json("kill --kills 2 --journal memory --repeat 3")[0];
    assert_eq!(record["repeat"], 3);
    let (least, most) = (record["spread"]["p50_us"][0].as_f64(), record["spread"]["p50_us"][1].as_f64());
    let median = record["p50_us"].as_f64();
    assert!(least <= median && median <= most, "{record}");
}

#[test]
fn without_json_it_is_a_table() {
    let text = bench("kill --kills 2 --journal memory");
    assert!(text.starts_with("| ") && text.contains("| p50_us |"), "{text}");
}

#[test]
fn all_prints_the_table_with_the_marks() {
    let text = bench("all --scale 0.001");
    assert!(text.contains("100,000 children are started"), "{text}");
    assert!(text.lines().skip(2).any(|line| line.contains("| yes |")), "{text}");
    assert!(text.lines().filter(|line| !line.is_empty()).all(|line| line.starts_with('|')), "{text}");
}

#[test]
fn a_cold_start_tells_what_to_do_when_the_program_is_not_there() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_ergane-bench"));
    let output =
        bench.args(["cold-start", "--sessions", "1", "--program", "nowhere/ergane"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("nowhere/ergane is not there: build it"), "{told}");
}

#[test]
fn http_tells_what_a_turn_takes_beside_reqwest_alone_and_bare_actors() {
    for turn in ["text", "tool"] {
        for stream in ["", "--no-stream"] {
            let line = format!("http --turn {turn} --inflight 2 --turns 7 --history 4 --floor {stream}");
            let [record] = json(&line).try_into().unwrap();
            let ours = ["turns_per_s", "p50_us", "p99_us", "cpu_us_per_turn"];
            measures(&record, &ours);
            measures(
                &record,
                &["floor_cpu_us_per_turn", "bare_cpu_us_per_turn", "cpu_ratio", "bare_cpu_ratio"],
            );
            measures(&record, &["no_history_cpu_us_per_turn", "same_bytes_cpu_us_per_turn"]);
            assert_eq!((&record["turn"], &record["stream"]), (&turn.into(), &stream.is_empty().into()));
        }
    }
}
