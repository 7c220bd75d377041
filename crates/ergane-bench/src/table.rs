//! Tables in Markdown, so that what is printed can stand in a page as it is.

use serde_json::Value;

use crate::record::{METRICS, Record};

/// A table whose columns are as wide as they must be; numbers stand right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn cells(&self, column: usize) -> impl Iterator<Item = &str> {
        self.rows.iter().filter_map(move |row| row.get(column)).map(String::as_str)
    }

    fn is_numeric(&self, column: usize) -> bool {
        let number = |cell: &str| cell.is_empty() || cell.starts_with(|first: char| first.is_ascii_digit());
        self.cells(column).all(number)
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |text: &str| text.chars().count();
        let columns: Vec<(usize, bool)> = self
            .header
            .iter()
            .enumerate()
            .map(|(column, title)| {
                let widest = self.cells(column).map(width).max().unwrap_or_default();
                (widest.max(width(title)).max(3), self.is_numeric(column))
            })
            .collect();
        let line = |f: &mut std::fmt::Formatter<'_>, cells: &[String]| {
            for ((width, right), cell) in columns.iter().zip(cells) {
                if *right { write!(f, "| {cell:>width$} ")? } else { write!(f, "| {cell:<width$} ")? }
            }
            writeln!(f, "|")
        };
        line(f, &self.header)?;
        for (width, right) in &columns {
            if *right {
                write!(f, "|{:-<1$}:", "", width + 1)?
            } else {
                write!(f, "|{:-<1$}", "", width + 2)?
            }
        }
        writeln!(f, "|")?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// The records: parameters, then metrics, each a column if any record has it.
pub(crate) fn of_records(records: &[Record]) -> Table {
    let mut params: Vec<&String> = Vec::new();
    for name in records.iter().flat_map(|record| record.params.keys()) {
        if name != "bench" && !params.contains(&name) {
            params.push(name);
        }
    }
    // What is measured first: it names the row.
    params.sort_by_key(|name| *name != "what");
    let metrics: Vec<&str> = METRICS
        .iter()
        .copied()
        .filter(|name| records.iter().any(|record| record.metrics.contains_key(*name)))
        .collect();
    let mut table = Table::new(params.iter().map(|name| name.as_str()).chain(metrics.iter().copied()));
    for record in records {
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let settings = params.iter().map(|name| record.params.get(*name).map_or_else(String::new, shown));
        let measured = metrics.iter().map(|name| {
            let value = record.metrics.get(*name).copied().map_or_else(String::new, number);
            match record.spread.get(*name) {
                Some(&(least, most)) => format!("{value} ({}–{})", number(least), number(most)),
                None => value,
            }
        });
        table.row(settings.chain(measured));
    }
    table
}

/// With as many digits as say something.
pub(crate) fn number(value: f64) -> String {
    if value >= 1000.0 {
        let digits = format!("{value:.0}");
        let groups: Vec<&str> =
            digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
        groups.join(",")
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        let shown: Vec<String> =
            [0.4444, 9.876, 12.34, 123.4, 1234.5, 12_345_678.0].map(number).into_iter().collect();
        assert_eq!(shown, ["0.44", "9.88", "12.3", "123", "1,234", "12,345,678"]);
    }

    #[test]
    fn a_table_is_markdown_and_its_numbers_stand_right() {
        let mut table = Table::new(["what", "µs"]);
        table.row(["spawn", "12.3"]);
        table.row(["a call", "0.44"]);
        let expected = "\
            | what   |   µs |\n\
            |--------|-----:|\n\
            | spawn  | 12.3 |\n\
            | a call | 0.44 |\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn records_share_their_columns() {
        let one = Record::new("otp").param("n", 2).param("what", "stop").metric("p50_us", 2.0);
        let mut other = Record::new("otp").param("what", "many").metric("seconds", 1.5);
        other.spread.insert("seconds".to_owned(), (1.0, 2.0));
        let text = of_records(&[one, other]).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| what |   n | p50_us |          seconds |");
        assert_eq!(lines[2], "| stop |   2 |   2.00 |                  |");
        assert_eq!(lines[3], "| many |     |        | 1.50 (1.00–2.00) |");
    }
}
