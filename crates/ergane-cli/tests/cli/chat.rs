//! `chat`, on a terminal and elsewhere.

use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Home, Output, Running};
use crate::terminal::{CTRL_C, CTRL_D, Terminal};

const PROMPT: &str = "› ";
/// The status line, which comes last of a turn.
const OVER: &str = "provider scripted";

fn bash(command: &str) -> Value {
    json!({"tool_calls": [{"name": "bash", "arguments": {"command": command}}]})
}

/// With these lines on stdin, which then ends.
fn piped(home: &Home, args: &[&str], lines: &str) -> Output {
    let mut command = home.command(args);
    let (reader, mut writer) = std::io::pipe().unwrap();
    command.stdin(Stdio::from(reader));
    let running = Running::of(command);
    writer.write_all(lines.as_bytes()).unwrap();
    drop(writer);
    running.output()
}

#[test]
fn markdown_is_rendered_and_the_status_line_tells_what_it_took() {
    let home = Home::new();
    let text = "# Title\n\nSome **bold** text.\n\n- one\n- `two`\n\n```\nlet x = 1;\n```\nlast line";
    let usage = json!({"input_tokens": 12, "output_tokens": 34});
    let script = home.script("s", &[json!({"text": text, "usage": usage, "cost_usd": 0.25})]);
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script, "--model", "m1"], 80);
    chat.wait_for("session a; /help");
    chat.wait_for(PROMPT);
    chat.type_in("hello\r");
    chat.wait_for(OVER);
    let screen = chat.screen();
    assert!(
        screen.contains("Title\n\nSome bold text.\n\n• one\n• two\n\n  let x = 1;\nlast line\n"),
        "{screen}"
    );
    assert!(screen.contains("model m1, tokens 12 in, 34 out, cost $0.25, "), "{screen}");
    for coloured in ["\u{1b}[1mbold\u{1b}[0m", "\u{1b}[36mtwo\u{1b}[0m", "\u{1b}[1;35mTitle\u{1b}[0m"] {
        assert!(chat.raw().contains(coloured), "{coloured:?}: {:?}", chat.raw());
    }
    chat.wait_for_times(PROMPT, 2);
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
    let shown = home.run(&["sessions", "show", "a", "--json"]).expect(0).json();
    assert_eq!(shown["messages"].as_array().unwrap().len(), 2);
}

#[test]
fn a_changed_file_is_shown_in_colour_and_a_tool_that_takes_its_time_has_a_spinner() {
    let home = Home::new();
    home.write("poem.txt", "roses\nviolets\n");
    let edit = json!({"path": "poem.txt", "old_string": "violets", "new_string": "tulips"});
    // The shell ends when somebody says so, so that the spinner has as long as it takes to be seen.
    let wait = bash("until test -e go; do sleep 0.05; done");
    let edit = json!({"tool_calls": [{"name": "edit", "arguments": edit}]});
    let script = home.script("s", &[edit, wait, json!({"text": "all done"})]);
    let args = ["chat", "a", "--script", &script, "--allow", "edit,bash"];
    let mut chat = Terminal::start(&home, &args, 80);
    chat.wait_for(PROMPT);
    chat.type_in("hello\r");
    chat.wait_for("✓ edit poem.txt");
    chat.wait_for("+tulips");
    for line in ["\u{1b}[31m  -violets\u{1b}[0m", "\u{1b}[32m  +tulips\u{1b}[0m"] {
        assert!(chat.raw().contains(line), "{line:?}: {:?}", chat.raw());
    }
    // It turns: another frame, and another one, in the row of the shell.
    for frame in ["⠋", "⠙", "⠹"] {
        chat.wait_for(&format!("{frame} bash until test"));
    }
    home.write("go", "");
    chat.wait_for("✓ bash until test");
    chat.wait_for("all done");
    chat.wait_for_times(PROMPT, 2);
    let screen = chat.screen();
    assert!(!screen.contains('⠋') && !screen.contains('⠙'), "the row is gone:\n{screen}");
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
}

#[test]
fn on_a_narrow_terminal_lines_are_broken_at_words_and_wide_letters_count_twice() {
    let home = Home::new();
    home.write("a-file-with-a-long-name.txt", "x");
    let text =
        "These words are many more than twenty columns.\n日本語日本語日本語日本語\n- an item that is long";
    let read =
        json!({"tool_calls": [{"name": "read", "arguments": {"path": "a-file-with-a-long-name.txt"}}]});
    let script = home.script("s", &[read, json!({"text": text})]);
    let mut chat = Terminal::without_colour(&home, &["chat", "a", "--script", &script], 20);
    chat.wait_for(PROMPT);
    chat.type_in("hello\r");
    chat.wait_for("provider");
    chat.wait_for_times(PROMPT, 2);
    let screen = chat.screen();
    let said = "These words are many\nmore than twenty\ncolumns.\n日本語日本語日本語日\n本語\n• an item that is\n  long\n";
    assert!(screen.contains(said), "{screen}");
    for line in ["✓ read a-", "These words", "日本語日", "• an item"] {
        assert!(!chat.is_broken(line), "{line}:\n{screen}");
    }
    chat.type_in("/exit\r");
    let raw = chat.raw().to_owned();
    assert_eq!(chat.end().0, Some(0));
    assert!(!raw.contains("\u{1b}[1m") && !raw.contains("\u{1b}[2m"), "NO_COLOR: {raw:?}");
}

#[test]
fn a_resize_in_mid_answer_loses_and_repeats_nothing() {
    let home = Home::new();
    let text =
        "A first line of the answer that has some sixty columns.\nThe second line of it.\nand half a li";
    let script = home.script("s", &[json!({"text": text, "hang": true})]);
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script], 80);
    chat.wait_for(PROMPT);
    chat.type_in("hello\r");
    chat.wait_for("and half a li"); // in the row that is alive
    chat.resize(120);
    chat.resize(24);
    chat.type_in(CTRL_C);
    chat.wait_for("interrupted");
    chat.resize(100);
    chat.wait_for_times(PROMPT, 2);
    let raw = chat.raw().to_owned();
    for line in
        ["A first line of the answer that has some sixty columns.", "The second line of it.", "and half a li"]
    {
        assert_eq!(raw.matches(&format!("{line}\r\n")).count(), 1, "for good, and once: {line}: {raw:?}");
    }
    chat.type_in("/status\r");
    chat.wait_for("idle, 1 turns");
    chat.wait_for_times(PROMPT, 3);
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
}

#[test]
fn a_question_is_answered_by_one_key_and_always_holds_for_the_session() {
    let home = Home::new();
    let script = home.script(
        "s",
        &[
            bash("echo one >> effects"),
            json!({"text": "first done"}),
            bash("echo two >> effects"),
            json!({"text": "second done"}),
            bash("echo three >> effects"),
            bash("echo four >> effects"),
            json!({"text": "third done"}),
        ],
    );
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script], 80);
    chat.wait_for(PROMPT);
    // What is typed ahead answers no question that was not seen.
    chat.type_in("go\ryyy");
    chat.wait_for("echo one >> effects");
    chat.wait_for("y / n / always?");
    assert!(!home.path("effects").exists());
    chat.type_in("xy");
    chat.wait_for("✓ bash echo one >> effects");
    chat.wait_for("first done");
    chat.wait_for_times(OVER, 1);
    chat.wait_for_times(PROMPT, 2);
    chat.type_in("go\r");
    chat.wait_for("echo two >> effects");
    chat.wait_for("y / n / always?");
    chat.type_in("n");
    chat.wait_for("⊘ bash echo two >> effects");
    chat.wait_for("second done");
    chat.wait_for_times(OVER, 2);
    chat.wait_for_times(PROMPT, 3);
    chat.type_in("go\r");
    chat.wait_for("echo three >> effects");
    chat.wait_for("y / n / always?");
    chat.type_in("a");
    chat.wait_for("third done"); // the fourth was not asked about
    chat.wait_for_times(PROMPT, 4);
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
    assert_eq!(std::fs::read_to_string(home.path("effects")).unwrap(), "one\nthree\nfour\n");
}

#[test]
fn ctrl_c_interrupts_the_turn_and_a_second_one_at_the_prompt_quits() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "half of it", "hang": true})]);
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script], 80);
    chat.wait_for(PROMPT);
    chat.type_in("go\r");
    chat.wait_for("half of it");
    chat.type_in(CTRL_C);
    chat.wait_for("interrupted");
    chat.wait_for_times(PROMPT, 2);
    chat.type_in("/status\r");
    chat.wait_for("idle, 1 turns");
    chat.wait_for_times(PROMPT, 3);
    chat.type_in(CTRL_C);
    chat.wait_for("Ctrl-C again quits");
    chat.wait_for_times(PROMPT, 4);
    chat.type_in(CTRL_C);
    assert_eq!(chat.end().0, Some(130));
}

#[test]
fn ctrl_c_twice_in_a_turn_quits_at_once() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "half of it", "hang": true})]);
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script], 80);
    chat.wait_for(PROMPT);
    chat.type_in("go\r");
    chat.wait_for("half of it");
    // The wish to end the turn is a fact, and that cannot be written now: so the first one takes its time.
    let writer = rusqlite::Connection::open(home.journal()).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    chat.type_in(CTRL_C);
    chat.wait_for("Ctrl-C again quits at once");
    chat.type_in(CTRL_C);
    let (code, screen) = chat.end();
    assert_eq!(code, Some(130), "{screen}");
    writer.execute_batch("ROLLBACK").unwrap();
    let log = home.run(&["sessions", "events", "a", "--json"]).expect(0).json();
    assert_eq!(log["events"].as_array().unwrap().last().unwrap()["type"], "turn_started", "it stays open");
}

#[test]
fn the_commands_of_a_chat() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    let args = ["chat", "a", "--script", &script, "--tools", "read,bash"];
    let lines = "/help\n/model m2\n/model\n/tools\n/status\nhi\n/clear\nhi\n/sessions\n/hlep\n/exit\nnever\n";
    let output = piped(&home, &args, lines).expect(0);
    for told in [
        "/clear",
        "model m2, from the next turn on",
        "scripted: m2",
        "read  read",
        "bash  write",
        "idle, 0 turns",
    ] {
        assert!(output.stdout.contains(told), "{told}: {output:?}");
    }
    assert!(!output.stdout.contains("glob") && !output.stdout.contains("never"), "{output:?}");
    assert!(output.stderr.contains("did you mean /help?"), "{output:?}");
    let ones = output.stdout.lines().filter(|line| *line == "one").count();
    assert_eq!(ones, 2, "another session begins anew: {output:?}");
    let list = home.run(&["sessions", "--json"]).expect(0).json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2, "{list}");
    assert!(sessions[1]["name"].as_str().unwrap().starts_with("chat-"), "{list}");
    let fresh = sessions[1]["name"].as_str().unwrap();
    let settings = home.run(&["sessions", "show", fresh, "--json"]).expect(0).json()["settings"].clone();
    assert_eq!((&settings["model"], &settings["tools"]), (&json!("m2"), &json!(["read", "bash"])));
}

#[test]
fn each_clear_begins_a_session_of_its_own_however_soon_it_comes() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "one"}), json!({"text": "two"})]);
    let output = piped(&home, &["chat", "--script", &script], "hi\n/clear\nhi\n/clear\nhi\n").expect(0);
    assert_eq!(output.stdout.lines().filter(|line| *line == "one").count(), 3, "{output:?}");
    let list = home.run(&["sessions", "--json"]).expect(0).json();
    assert_eq!(list["sessions"].as_array().unwrap().len(), 3, "{list}");
}

#[test]
fn piped_each_line_is_a_prompt_and_stdout_has_the_answers_alone() {
    let home = Home::new();
    let script = home.script("s", &[json!({"text": "**one**"}), json!({"text": "two"})]);
    let output = piped(&home, &["chat", "--script", &script], "first\n\nsecond").expect(0);
    assert_eq!(output.stdout, "**one**\ntwo\n");
    assert!(output.stderr.contains("session chat-") && !output.stderr.contains('\u{1b}'), "{output:?}");
    let lines =
        piped(&home, &["chat", "a", "--script", &script, "--json"], "first\nsecond\n").expect(0).lines();
    let texts: Vec<&Value> = lines.iter().map(|line| &line["text"]).collect();
    assert_eq!(texts, ["**one**", "two"]);
}

#[test]
fn piped_a_call_that_needs_a_decision_ends_it_and_waits() {
    let home = Home::new();
    let script = home.script("s", &[bash("echo ran > effect"), json!({"text": "done"})]);
    let output = piped(&home, &["chat", "a", "--script", &script], "go\nmore\n").expect(5);
    assert!(output.stderr.contains("ergane approve a"), "{output:?}");
    assert!(!home.path("effect").exists());
    assert_eq!(home.run(&["sessions", "--json"]).json()["sessions"][0]["turns"], 1);
}

#[test]
fn a_turn_left_open_is_finished_first_and_history_and_completion_work() {
    let home = Home::new();
    let hangs = home.script("hangs", &[json!({"text": "half", "hang": true})]);
    let mut running = home.start(&["send", "a", "go", "--script", &hangs, "--stream-json"]);
    running.wait_for(r#""type":"content""#);
    running.kill();
    let replies = ["first answer", "second answer", "third answer"].map(|text| json!({"text": text}));
    let script = home.script("s", &replies);
    let mut chat = Terminal::start(&home, &["chat", "a", "--script", &script], 80);
    chat.wait_for("first answer");
    chat.wait_for(PROMPT);
    chat.type_in("remember me\r");
    chat.wait_for("second answer");
    chat.wait_for_times(PROMPT, 2);
    chat.type_in("/stat\t\r");
    chat.wait_for("idle, 2 turns");
    chat.wait_for_times(PROMPT, 3);
    // Twice up: the command, and before it the prompt.
    chat.type_in("\u{1b}[A\u{1b}[A\r");
    chat.wait_for("third answer");
    chat.wait_for_times("remember me", 2);
    chat.wait_for_times(PROMPT, 4);
    chat.type_in(CTRL_D);
    assert_eq!(chat.end().0, Some(0));
    let history = std::fs::read_to_string(home.path(".local/share/ergane/chat-history")).unwrap();
    assert!(history.contains("remember me"), "{history}");
}

#[test]
fn a_question_shows_all_that_would_run_however_long_it_is() {
    let home = Home::new();
    let command: Vec<String> = (1..=60).map(|line| format!("echo harmless {line}")).collect();
    let script =
        home.script("s", &[bash(&(command.join("\n") + "\nrm -rf precious")), json!({"text": "Done."})]);
    let mut send = Terminal::start(&home, &["send", "a", "go", "--script", &script], 80);
    send.wait_for("y / n / always?");
    let shown = send.screen();
    for line in ["echo harmless 1\n", "echo harmless 41\n", "echo harmless 60\n", "rm -rf precious"] {
        assert!(shown.contains(line), "{line}:\n{shown}");
    }
    send.type_in("n");
    assert_eq!(send.end().0, Some(0));
}

#[test]
fn send_on_a_terminal_shows_the_same_and_asks_too() {
    let home = Home::new();
    let script = home.script("s", &[bash("echo ran > effect"), json!({"text": "# Done\nand **well**"})]);
    let mut send = Terminal::start(&home, &["send", "a", "go", "--script", &script], 80);
    send.wait_for("? bash wants to run");
    send.wait_for("y / n / always?");
    send.type_in("y");
    let (code, screen) = send.end();
    assert_eq!(code, Some(0), "{screen}");
    for told in ["✓ bash echo ran > effect", "Done\nand well", OVER] {
        assert!(screen.contains(told), "{told}:\n{screen}");
    }
    assert!(!screen.contains("always?") && !screen.contains('⠋'), "the row is gone:\n{screen}");
    assert_eq!(std::fs::read_to_string(home.path("effect")).unwrap(), "ran\n");
    let mut quiet = Terminal::start(&home, &["run", "go", "--script", &script, "-q"], 80);
    quiet.wait_for("y / n / always?");
    quiet.type_in("n");
    let (code, screen) = quiet.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("Done\nand well") && !screen.contains(OVER), "{screen}");
}
