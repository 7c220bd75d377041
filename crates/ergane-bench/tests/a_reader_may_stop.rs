//! The program as others run it: in a pipe whose reader has read enough.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::io::Read;
use std::process::{Command, Stdio};

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_ergane-bench"));
    bench.args(["names", "--journal", "memory", "--sessions", "3", "--operations", "1", "--json"]);
    let mut running = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Before anything is measured, so before anything is printed.
    drop(running.stdout.take());
    let mut told = String::new();
    running.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(running.wait().unwrap().success(), "{told}");
    assert_eq!(told, "");
}

#[test]
fn floors_are_measured_beside_ours() {
    for (args, floor) in [
        (&["journal", "--writers", "3", "--appends", "5"][..], "floor_appends_per_s"),
        (&["kill", "--kills", "3"], "floor_p50_us"),
        (&["idle", "--sessions", "3"], "floor_bytes_per_session"),
    ] {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_ergane-bench"));
        let output = bench.args(args).args(["--floor", "--json"]).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let record: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert!(record[floor].is_number(), "{told}");
        assert!(args[0] == "idle" || record["ratio"].is_number(), "{told}");
    }
}
