//! What `top` shows, as lines. Pure.

use std::fmt::Write;
use std::time::Duration;

use ergane::socket::{Left, Node, Process, Standing};

use crate::plain;
use crate::term::{Paint, Style};

/// Longer reasons are cut, also where lines are not.
const REASON: usize = 200;

/// Lines, to be shown on paper or on a screen.
#[derive(Debug)]
pub(super) struct Picture {
    lines: Vec<(Style, String)>,
}

/// A row before its columns stand under each other.
struct Row {
    style: Style,
    cells: Vec<String>,
}

impl Picture {
    pub(super) fn of(processes: &[Process], journal: &str) -> Self {
        let mut lines = Vec::new();
        for process in processes {
            if !lines.is_empty() {
                lines.push((Style::Plain, String::new()));
            }
            let mut head =
                format!("process {}", process.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string()));
            for text in [process.system.as_deref(), Some(&*process.journal)].into_iter().flatten() {
                head.push_str("  ");
                head.push_str(&plain::on_one_line(text, usize::MAX));
            }
            lines.push((Style::Bold, head));
            if let Some(problem) = &process.error {
                lines.push((Style::Ask, plain::on_one_line(&problem.message, REASON)));
            }
            if let Some(tree) = &process.tree {
                lines.extend(table(tree));
                lines.extend(standings(tree));
            }
        }
        if lines.is_empty() {
            let journal = plain::on_one_line(journal, usize::MAX);
            lines.push((Style::Plain, format!("no process with a socket runs on {journal}")));
        }
        Self { lines }
    }

    /// All of it, with nothing in it that moves a cursor.
    pub(super) fn plain(&self) -> String {
        self.lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// As much of it as a screen of that size holds, each line cut, and written over what was there.
    pub(super) fn on_screen(&self, columns: usize, rows: usize, paint: Paint) -> String {
        let fits = if self.lines.len() <= rows { rows } else { rows.saturating_sub(1) };
        let mut shown: Vec<(Style, String)> = self.lines.iter().take(fits).cloned().collect();
        if shown.len() < self.lines.len() {
            shown.push((Style::Plain, format!("… and {} more lines", self.lines.len() - shown.len())));
        }
        let mut text = "\u{1b}[H".to_owned();
        for (nth, (style, line)) in shown.iter().enumerate() {
            let start = if nth == 0 { "" } else { "\n" };
            text.push_str(start);
            text.push_str(&paint.of(*style, &cut(line, columns)));
            text.push_str("\u{1b}[K");
        }
        text.push_str("\u{1b}[J");
        text
    }
}

fn cut(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn table(tree: &Node) -> Vec<(Style, String)> {
    let head = ["ID", "PID", "KIND", "RESTARTS", "UPTIME", "STATUS"].map(str::to_owned).to_vec();
    let mut rows = vec![Row { style: Style::Bold, cells: head }];
    add(tree, "", "", &mut rows);
    let (styles, cells): (Vec<Style>, Vec<Vec<String>>) =
        rows.into_iter().map(|row| (row.style, row.cells)).unzip();
    let text = plain::table(&cells);
    styles.into_iter().zip(text.lines().map(str::to_owned)).collect()
}

/// The providers of the tree, and what their calls wait for.
fn standings(tree: &Node) -> Vec<(Style, String)> {
    let mut providers = Vec::new();
    find_providers(tree, &mut providers);
    if providers.is_empty() {
        return Vec::new();
    }
    let head = ["PROVIDER", "AT", "RUNNING", "WAITING", "CIRCUIT", "LIMITS", "LEFT THERE", "STATUS"];
    let row = |provider: &&Standing| {
        vec![
            plain::on_one_line(&provider.provider, REASON),
            plain::on_one_line(&provider.endpoint, REASON),
            provider.running.to_string(),
            provider.waiting.to_string(),
            circuit(provider),
            limits(provider),
            left(provider),
            standing(provider),
        ]
    };
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(providers.iter().map(row)).collect();
    let style = |provider: &&Standing| {
        if provider.circuit == "closed" && provider.waiting == 0 { Style::Plain } else { Style::Ask }
    };
    let styles = std::iter::once(Style::Bold).chain(providers.iter().map(style));
    styles.zip(plain::table(&rows).lines().map(str::to_owned)).collect()
}

fn find_providers<'a>(node: &'a Node, found: &mut Vec<&'a Standing>) {
    found.extend(node.provider.as_deref());
    node.children.iter().for_each(|child| find_providers(child, found));
}

fn circuit(provider: &Standing) -> String {
    let mut text = plain::on_one_line(&provider.circuit, REASON);
    if let Some(millis) = provider.circuit_for_ms {
        write!(text, " for {}", time(millis)).unwrap_or_default();
    }
    text
}

/// What its server told of its limits.
fn left(provider: &Standing) -> String {
    let one = |of: &str, left: &Left| {
        let limit = left.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
        let until =
            if left.reset_ms == 0 { String::new() } else { format!(", all in {}", time(left.reset_ms)) };
        format!("{}{limit} {of}{until}", left.remaining)
    };
    let told = [("requests", &provider.requests), ("tokens", &provider.tokens)];
    let told: Vec<String> =
        told.iter().filter_map(|(of, left)| left.as_ref().map(|left| one(of, left))).collect();
    if told.is_empty() { "-".to_owned() } else { told.join("; ") }
}

fn time(millis: u64) -> String {
    crate::term::live::time(Duration::from_millis(millis))
}

fn limits(provider: &Standing) -> String {
    let all = [
        (provider.max_in_flight, "at once"),
        (provider.requests_per_minute, "requests/min"),
        (provider.tokens_per_minute, "tokens/min"),
    ];
    let set: Vec<String> =
        all.iter().filter_map(|(limit, of)| limit.map(|limit| format!("{limit} {of}"))).collect();
    if set.is_empty() { "-".to_owned() } else { set.join(", ") }
}

fn standing(provider: &Standing) -> String {
    let Some(reason) = &provider.reason else { return "ready".to_owned() };
    let reason = plain::on_one_line(reason, REASON);
    match provider.wait_ms {
        Some(wait) => format!("{reason}; the next in {}", time(wait)),
        None => reason,
    }
}

/// `branch` leads to the node, `stem` to what is below it.
fn add(node: &Node, branch: &str, stem: &str, rows: &mut Vec<Row>) {
    let dash = || "-".to_owned();
    let one_line = |text: &str| plain::on_one_line(text, REASON);
    let cells = vec![
        format!("{branch}{}", one_line(&node.id)),
        node.pid.as_deref().map_or_else(dash, one_line),
        one_line(&node.kind),
        node.restarts.map_or_else(dash, |restarts| restarts.to_string()),
        node.uptime_ms.map_or_else(dash, uptime),
        one_line(&status(node)),
    ];
    rows.push(Row { style: style(node), cells });
    let last = node.children.len().saturating_sub(1);
    for (nth, child) in node.children.iter().enumerate() {
        let (twig, more) = if nth == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        add(child, &format!("{stem}{twig}"), &format!("{stem}{more}"), rows);
    }
}

fn state(node: &Node) -> Option<&str> {
    plain::state(node.activity.as_ref()?)
}

fn style(node: &Node) -> Style {
    match (&*node.status, state(node)) {
        ("live", Some("retrying" | "parked" | "unresolved" | "quarantined")) => Style::Ask,
        ("live" | "starting" | "stopping", _) => Style::Plain,
        _ => Style::Ask,
    }
}

/// Where it stands; of a session that runs, what it is doing. And why.
fn status(node: &Node) -> String {
    let mut text = state(node).filter(|_| node.status == "live").unwrap_or(&node.status).to_owned();
    let of_session = || node.activity.as_ref().and_then(plain::state_reason);
    let reason = node.reason.clone().or_else(of_session);
    let mut add = |text_of: std::fmt::Arguments<'_>| text.write_fmt(text_of).unwrap_or_default();
    if let Some(turn) = node.turn {
        add(format_args!(", turn {turn}"));
    }
    if let Some(queued) = node.queued.filter(|queued| *queued > 0) {
        add(format_args!(", {queued} queued"));
    }
    if let Some(reason) = reason {
        add(format_args!(": {reason}"));
    }
    text
}

/// The two largest units.
fn uptime(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use ergane::otp::{ChildKind, EntryStatus};
    use ergane::socket::Problem;

    use super::*;

    fn node(id: &str, children: Vec<Node>) -> Node {
        let mut node = Node::new(id, ChildKind::Worker, &EntryStatus::Live);
        (node.pid, node.restarts, node.uptime_ms) = (Some("0.1".into()), Some(0), Some(61_000));
        node.children = children;
        node
    }

    fn process(tree: Node) -> Process {
        let of = json!({"pid": 7, "journal": "/j.db", "system": "ergane", "tree": tree});
        serde_json::from_value(of).unwrap()
    }

    #[test]
    fn a_tree_is_drawn_with_its_branches() {
        let mut session = node("session/a", vec![node("tool", vec![])]);
        session.activity = Some(json!({"state": "running_tools", "calls": ["bash (1)", "read (2)"]}));
        (session.turn, session.queued) = (Some(2), Some(3));
        let tree =
            node("root", vec![node("journal", vec![]), node("sessions", vec![session]), node("z", vec![])]);
        let expected = "\
process 7  ergane  /j.db
ID               PID  KIND    RESTARTS  UPTIME  STATUS
root             0.1  worker  0         1m01s   live
├─ journal       0.1  worker  0         1m01s   live
├─ sessions      0.1  worker  0         1m01s   live
│  └─ session/a  0.1  worker  0         1m01s   running_tools, turn 2, 3 queued: bash (1), read (2)
│     └─ tool    0.1  worker  0         1m01s   live
└─ z             0.1  worker  0         1m01s   live
";
        assert_eq!(Picture::of(&[process(tree)], "").plain(), expected);
    }

    #[test]
    fn the_providers_are_told_with_what_their_calls_wait_for() {
        let standing = json!({
            "provider": "groq", "endpoint": "https://groq", "running": 4, "waiting": 2, "max_in_flight": 4,
            "requests_per_minute": 30, "tokens_per_minute": null, "circuit": "closed",
            "requests": {"limit": 30, "remaining": 0, "reset_ms": 61_000},
            "tokens": {"limit": null, "remaining": 7, "reset_ms": 0},
            "reason": "4 calls run already", "wait_ms": null,
        });
        let standing: Standing = serde_json::from_value(standing).unwrap();
        let mut open = standing.clone();
        open.provider = "lab".into();
        (open.running, open.waiting) = (0, 0);
        (open.max_in_flight, open.requests_per_minute) = (None, None);
        (open.circuit, open.circuit_for_ms) = ("open".into(), Some(2_000));
        (open.requests, open.tokens) = (None, None);
        (open.reason, open.wait_ms) = (Some("it failed\u{1b}[2J".into()), Some(2_000));
        let mut idle = standing.clone();
        (idle.waiting, idle.reason) = (0, None);
        let of = |standing: Standing| {
            let mut node = node("p", vec![]);
            node.provider = Some(Box::new(standing));
            node
        };
        let tree = node("root", vec![node("providers", vec![of(standing), of(open), of(idle)])]);
        let lines = standings(&tree);
        let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        let expected = "\
PROVIDER  AT            RUNNING  WAITING  CIRCUIT        LIMITS                      LEFT THERE                                STATUS
groq      https://groq  4        2        closed         4 at once, 30 requests/min  0 of 30 requests, all in 1m01s; 7 tokens  4 calls run already
lab       https://groq  0        0        open for 2.0s  -                           -                                         it failed [2J; the next in 2.0s
groq      https://groq  4        0        closed         4 at once, 30 requests/min  0 of 30 requests, all in 1m01s; 7 tokens  ready
";
        assert_eq!(text, expected);
        let styles: Vec<Style> = lines.iter().map(|(style, _)| *style).collect();
        assert_eq!(styles, [Style::Bold, Style::Ask, Style::Ask, Style::Plain]);
    }

    #[test]
    fn it_says_why_something_waits() {
        let said = |edit: &dyn Fn(&mut Node)| {
            let mut node = node("n", vec![]);
            edit(&mut node);
            (status(&node), style(&node))
        };
        let activity = |value: Value| said(&move |node| node.activity = Some(value.clone()));
        assert_eq!(activity(json!({"state": "idle"})), ("idle".into(), Style::Plain));
        assert_eq!(
            activity(json!({"state": "retrying", "reason": "rate limited"})),
            ("retrying: rate limited".into(), Style::Ask)
        );
        assert_eq!(
            activity(json!({"state": "unresolved", "missing": ["tool x"]})),
            ("unresolved: tool x".into(), Style::Ask)
        );
        let quarantined = said(&|node| {
            (node.status, node.reason) = ("quarantined".into(), Some("too often".into()));
        });
        assert_eq!(quarantined, ("quarantined: too often".into(), Style::Ask));
    }

    #[test]
    fn nobody_and_somebody_silent_are_told_apart() {
        assert_eq!(Picture::of(&[], "j.db").plain(), "no process with a socket runs on j.db\n");
        let mut silent = process(node("root", vec![]));
        (silent.system, silent.tree) = (None, None);
        silent.error = Some(Problem::new("timeout", "it did not answer\u{1b}[2J"));
        assert_eq!(Picture::of(&[silent], "").plain(), "process 7  /j.db\nit did not answer [2J\n");
    }

    #[test]
    fn a_small_screen_gets_cut_lines_and_is_told_of_the_rest() {
        let picture = Picture::of(&[process(node("root", vec![node("journal", vec![])]))], "");
        assert_eq!(
            picture.on_screen(10, 3, Paint(false)),
            "\u{1b}[Hprocess 7…\u{1b}[K\nID       …\u{1b}[K\n… and 2 m…\u{1b}[K\u{1b}[J"
        );
        let whole = picture.on_screen(200, 4, Paint(false));
        assert!(!whole.contains('…') && whole.matches("\n").count() == 3, "{whole:?}");
        assert!(
            picture.on_screen(200, 9, Paint(true)).contains("\u{1b}[1mprocess 7  ergane  /j.db\u{1b}[0m")
        );
    }

    #[test]
    fn an_uptime_has_two_units_at_most() {
        let table =
            [(999, "0s"), (59_000, "59s"), (60_000, "1m00s"), (3_660_000, "1h01m"), (90_000_000, "1d01h")];
        for (millis, text) in table {
            assert_eq!(uptime(millis), text);
        }
    }
}
