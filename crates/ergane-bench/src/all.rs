//! The first table of `docs/performance.md`: every measurement in a process of its own, so often as asked, with its mark.

use std::ffi::OsString;

use crate::args::Global;
use crate::plan::{MANY, Mark, Measurement, PLAN, Row};
use crate::record::{Record, medians};
use crate::table::{Table, number};
use crate::{Outcome, again, cold_start, out};

pub(crate) fn run(global: &Global, scale: f64) -> Outcome<()> {
    let mut table = Table::new(["what", "", "measured", "bare", "ratio", "mark", "met"]);
    for (index, measurement) in PLAN.iter().enumerate() {
        eprintln!("{} of {}: {}", index + 1, PLAN.len(), measurement.title);
        let program = cold_start::beside()?;
        if measurement.args.starts_with("cold-start") && !program.is_file() {
            eprintln!(
                "  left out: {} is not there (`cargo build --release -p ergane-cli`)",
                program.display()
            );
            continue;
        }
        let records = measure(measurement, global, scale)?;
        if global.json {
            records.iter().try_for_each(|record| out::line(record.to_json()))?;
        }
        for row in measurement.rows {
            table.row(cells(measurement.title, row, &records)?);
        }
    }
    if global.json { Ok(()) } else { out::line(table) }
}

fn measure(measurement: &Measurement, global: &Global, scale: f64) -> Outcome<Vec<Record>> {
    let mut args: Vec<OsString> = measurement.command(scale).into_iter().map(Into::into).collect();
    if let Some(dir) = &global.dir {
        args.extend(["--dir".into(), dir.into()]);
    }
    let runs = (0..global.repeat).map(|_| again::run(&args)).collect::<Outcome<Vec<_>>>()?;
    Ok(medians(&runs))
}

fn cells(title: &str, row: &Row, records: &[Record]) -> Outcome<[String; 7]> {
    let what = |record: &Record| record.params.get("what").and_then(|what| what.as_str().map(str::to_owned));
    let wanted = |record: &&Record| match what(record) {
        Some(what) if row.of == MANY => what.ends_with(" children"),
        Some(what) => what.starts_with(row.of),
        None => row.of.is_empty(),
    };
    let record = records.iter().find(wanted).ok_or_else(|| format!("{title}: {} is missing", row.what))?;
    let read = |metric: &str| record.metrics.get(metric).map(|value| value / row.unit_is);
    let measured = read(row.metric).ok_or_else(|| format!("{title}: {} is missing", row.metric))?;
    let floor = row.floor.and_then(read);
    let ratio = floor.filter(|&floor| floor > 0.0).map(|floor| measured / floor);
    let marked = if row.mark_on_ratio { ratio.unwrap_or(f64::NAN) } else { measured };
    let unit = |value: f64| format!("{} {}", number(value), row.unit).trim_end().to_owned();
    let limit = |value: f64| {
        if row.mark_on_ratio { format!("{value}×") } else { unit(value) }
    };
    let mark = match row.mark {
        Mark::AtMost(most) => format!("≤ {}", limit(most)),
        Mark::AtLeast(least) => format!("≥ {}", limit(least)),
        Mark::None => String::new(),
    };
    let met = match row.mark.is_met(marked) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    Ok([
        title.to_owned(),
        row.what.to_owned(),
        unit(measured),
        floor.map_or_else(String::new, unit),
        ratio.map_or_else(String::new, |ratio| format!("{}×", number(ratio))),
        mark,
        met.to_owned(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(of: &'static str) -> &'static Row {
        PLAN.iter().flat_map(|measurement| measurement.rows).find(|row| row.of == of).unwrap()
    }

    #[test]
    fn a_mark_on_a_ratio_is_held_against_the_ratio() {
        let restart = |ours: f64| {
            Record::new("otp")
                .param("what", "restart, dynamic supervisor")
                .metric("p50_us", ours)
                .metric("floor_p50_us", 10.0)
        };
        let shown = cells("supervision", row("restart, dynamic"), &[restart(25.0)]).unwrap();
        assert_eq!(shown[2..], ["25.0 µs", "10.0 µs", "2.50×", "≤ 3×", "yes"]);
        let shown = cells("supervision", row("restart, dynamic"), &[restart(31.0)]).unwrap();
        assert_eq!(shown[6], "no");
    }

    #[test]
    fn many_children_are_found_however_many_they_are() {
        let record = Record::new("otp").param("what", "70 children").metric("seconds", 4.0);
        let shown = cells("supervision", row(MANY), &[record]).unwrap();
        assert_eq!(shown[2..], ["4.00 s", "", "", "≤ 5.00 s", "yes"]);
    }

    #[test]
    fn a_number_that_was_not_measured_is_an_error() {
        let error = cells("supervision", row("spawn"), &[Record::new("otp")]).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{error}");
    }
}
