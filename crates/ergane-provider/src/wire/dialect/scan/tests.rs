use proptest::prelude::*;
use serde_json::json;

use super::super::MAX_BLOCK;
use super::*;
use crate::wire::testing::tool;

fn tools() -> Arc<[ToolSpec]> {
    let get = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "deep": {"type": "object"}, "yes": {"type": "boolean"}}});
    [tool("get", get), tool("now", json!({"type": "object"}))].into()
}

type Outcome = (String, Vec<Found>);

fn scan_pieces(pieces: &[&str], cut: bool) -> Outcome {
    let mut scanner = Scanner::new(tools());
    let mut shown = String::new();
    for piece in pieces {
        scanner.feed(piece);
        shown += &scanner.shown();
    }
    scanner.finish(cut);
    shown += &scanner.shown();
    (shown, scanner.calls().to_vec())
}

/// The outcome in one piece, which is that of every split in two and of single characters.
fn scan(text: &str, cut: bool) -> Outcome {
    let whole = scan_pieces(&[text], cut);
    let characters: Vec<&str> = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect();
    assert_eq!(scan_pieces(&characters, cut), whole, "character by character");
    for (at, _) in text.char_indices() {
        assert_eq!(scan_pieces(&[&text[..at], &text[at..]], cut), whole, "split at {at}");
    }
    whole
}

fn call(name: &str, arguments: &str) -> Found {
    Found { name: name.into(), arguments: arguments.into(), complete: true }
}

#[track_caller]
fn finds(text: &str, shown: &str, calls: &[Found]) {
    assert_eq!(scan(text, false), (shown.to_owned(), calls.to_vec()), "{text}");
}

#[track_caller]
fn is_text(text: &str) {
    finds(text, text, &[]);
}

#[test]
fn every_dialect_is_understood() {
    let oslo = || call("get", "{\"city\": \"Oslo\"}");
    let json = "{\"name\": \"get\", \"arguments\": {\"city\": \"Oslo\"}}";
    finds(&format!("I look.\n\n~~~tool_call\n{json}\n~~~\n"), "I look.", &[oslo()]);
    finds(&format!("```tool_call\n{json}\n```"), "", &[oslo()]);
    finds(&format!("~~~~ tool_call \n{json}\n~~~~"), "", &[oslo()]);
    finds(
        &format!("a <tool_call>\n{json}\n</tool_call>\n<tool_call>{json}</tool_call> b"),
        "a b",
        &[oslo(), oslo()],
    );
    finds(&format!("<tool_call>[{json}, {json}]</tool_call>"), "", &[oslo(), oslo()]);
    finds(&format!("<tool_call>\n{json}\n{json}\n</tool_call>"), "", &[oslo(), oslo()]);
    finds(&format!("[TOOL_REQUEST]{json}[END_TOOL_REQUEST]"), "", &[oslo()]);
    finds(&format!("Ok[TOOL_CALLS][{json}]"), "Ok", &[oslo()]);
    finds(
        "[TOOL_CALLS]get[ARGS]{\"city\": \"Oslo\"}[TOOL_CALLS]now[CALL_ID]x1[ARGS]{}",
        "",
        &[oslo(), call("now", "{}")],
    );
    finds(
        "<|tool_call_start|>[get(city=\"Oslo\"), now()]<|tool_call_end|>done",
        "done",
        &[call("get", "{\"city\":\"Oslo\"}"), call("now", "{}")],
    );
    let deep = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get\n```json\n{\"city\": \"Oslo\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>";
    finds(deep, "", &[oslo(), call("now", "{}")]);
    finds(&json.replace("arguments", "parameters"), "", &[oslo()]);
    finds(&format!(" <|python_tag|>{json} "), "", &[oslo()]);
    finds(&format!("```json\n{json}\n```\n"), "", &[oslo()]);
    finds("[get(city='Oslo')]", "", &[call("get", "{\"city\":\"Oslo\"}")]);
}

#[test]
fn values_in_tags_are_typed_by_the_schema_of_the_tool() {
    let qwen = "<tool_call>\n<function=get>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n3\n</parameter>\n<parameter=deep>\n{\"a\": 1}\n</parameter>\n<parameter=yes>\nTrue\n</parameter>\n</function>\n</tool_call>";
    finds(qwen, "", &[call("get", "{\"city\":\"12\",\"days\":3,\"deep\":{\"a\":1},\"yes\":true}")]);
    let glm = "<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>12</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call><tool_call>now</tool_call>";
    finds(glm, "", &[call("get", "{\"city\":\"12\",\"days\":3}"), call("now", "{}")]);
    let code = "<tool_call><function=get><parameter=city>\nif a < b:\n  print('</tool_call>')\n</parameter></function></tool_call>!";
    finds(code, "!", &[call("get", "{\"city\":\"if a < b:\\n  print('</tool_call>')\"}")]);
    finds(
        "<tool_call><function=now></function><function=now></function></tool_call>",
        "",
        &[call("now", "{}"), call("now", "{}")],
    );
}

/// Edge case 44.
#[test]
fn closing_marks_in_a_string_are_data_44() {
    let json =
        r#"{"name": "get", "arguments": {"city": "a </tool_call> b\n~~~\n \" ``` [END_TOOL_REQUEST]"}}"#;
    let arguments = r#"{"city": "a </tool_call> b\n~~~\n \" ``` [END_TOOL_REQUEST]"}"#;
    for text in [
        format!("<tool_call>{json}</tool_call>"),
        format!("~~~tool_call\n{json}\n~~~"),
        format!("[TOOL_REQUEST]{json}[END_TOOL_REQUEST]"),
    ] {
        finds(&text, "", &[call("get", arguments)]);
    }
}

/// Edge case 44.
#[test]
fn of_two_blocks_the_broken_one_becomes_an_error_and_the_other_runs_44() {
    for broken in [
        "{\"name\": \"get\", \"arguments\": {\"city\": Oslo}",
        "{\"name\": \"get\", \"arguments\": {\"city\": \"Oslo}}",
        "{\"name\": \"get\", oops}",
    ] {
        for (open, close) in [
            ("<tool_call>", "</tool_call>"),
            ("~~~tool_call\n", "\n~~~"),
            ("[TOOL_REQUEST]", "[END_TOOL_REQUEST]"),
        ] {
            let good = "{\"name\": \"now\", \"arguments\": {}}";
            let (shown, calls) = scan(&format!("go\n{open}{broken}{close}\n{open}{good}{close}\n"), false);
            assert_eq!((&*shown, calls.len()), ("go", 2), "{open}{broken}: {calls:?}");
            assert_eq!((&*calls[0].name, calls[0].complete), ("get", true));
            assert!(serde_json::from_str::<serde_json::Value>(&calls[0].arguments).is_err(), "{calls:?}");
            assert!(calls[0].arguments.contains("get"), "the model sees what it wrote: {calls:?}");
            assert_eq!(calls[1], call("now", "{}"));
        }
    }
    let (shown, calls) = scan("~~~tool_call\nget the weather, please\n~~~\nbye", false);
    assert_eq!((&*shown, &*calls[0].name), ("\nbye", "tool_call"), "{calls:?}");
    let (_, calls) = scan("<tool_call>{\"arguments\": {\"city\": \"Oslo\"}}</tool_call>", false);
    assert!(calls[0].name == "tool_call" && calls[0].arguments.starts_with("unreadable"), "{calls:?}");
    let (_, calls) = scan("<tool_call>{\"name\": \"unheard_of\", \"arguments\": {}}</tool_call>", false);
    assert_eq!(calls, [call("unheard_of", "{}")], "whoever knows the tools says so");
}

/// Edge case 44.
#[test]
fn what_is_thought_quoted_or_said_in_passing_is_no_call_44() {
    let json = "{\"name\": \"get\", \"arguments\": {\"city\": \"Oslo\"}}";
    is_text(&format!("<think>I could <tool_call>{json}</tool_call></think> No."));
    is_text(&format!("<think>I could <tool_call>{json}</tool_call>"));
    is_text(&format!("To call it, write {json} and wait."));
    is_text(&format!("{json} is how it is done."));
    is_text(&format!(
        "Like so:\n```json\n<tool_call>{json}</tool_call>\n```\nor so:\n~~~\n<tool_call>\n~~~\n"
    ));
    is_text(&format!("```json\n{json}\n```\nis the block."));
    is_text(
        "Put it between <tool_call> tags, or `<tool_call>` ones; [TOOL_CALLS] and `~~~tool_call` are others.",
    );
    is_text("LM Studio opens with [TOOL_REQUEST], then comes JSON.\n\nAll else is as it was.");
    for quoted in ["`", "``", "- `", "\n`", "so `now`, or `"] {
        let end = "`".repeat(quoted.chars().rev().take_while(|c| *c == '`').count());
        is_text(&format!("{quoted}<tool_call>{json}</tool_call>{end} is how it is done."));
        is_text(&format!("{quoted}[TOOL_REQUEST]{json}[END_TOOL_REQUEST]{end} is how it is done."));
        is_text(&format!("{quoted}<think>{end} begins what is thought."));
    }
    let oslo = || call("get", "{\"city\": \"Oslo\"}");
    let block = format!("<tool_call>{json}</tool_call>");
    finds(&format!("I call `get`{block}"), "I call `get`", &[oslo()]);
    finds(&format!("The ` of \n{block}"), "The ` of", &[oslo()]);
    finds(
        &format!("Tags are `<think>` or `<tool_call>`.\n{block}"),
        "Tags are `<think>` or `<tool_call>`.",
        &[oslo()],
    );
    is_text("{\"city\": \"Oslo\", \"days\": 3}");
    is_text("{\"name\": \"Ada\", \"arguments\": {\"x\": 1}}");
    is_text("{\"name\": \"get\"}");
    is_text("[1, 2, 3]");
    is_text("[get the book](https://x)");
    is_text("[now()] and more");
    is_text("");
    is_text(" \n ");
    let after = format!("<think>hm</think>\n<tool_call>{json}</tool_call>");
    finds(&after, "<think>hm</think>", &[call("get", "{\"city\": \"Oslo\"}")]);
}

/// Edge case 44.
#[test]
fn an_unclosed_block_counts_when_the_model_was_done_and_not_when_it_was_cut_44() {
    let whole = "<tool_call>{\"name\": \"get\", \"arguments\": {}}";
    finds(whole, "", &[call("get", "{}")]);
    finds(&format!("{whole}\n and on"), "\n and on", &[call("get", "{}")]);
    let incomplete = |text: &str| {
        let (shown, calls) = scan(text, true);
        assert_eq!((&*shown, calls.len()), ("so", 1), "{text}: {calls:?}");
        assert!(!calls[0].complete);
        calls[0].name.clone()
    };
    assert_eq!(incomplete(&format!("so {whole}")), "get");
    assert_eq!(incomplete("so <tool_call>{\"name\": \"get\", \"argu"), "get");
    assert_eq!(incomplete("so\n~~~tool_call\n{\"na"), "tool_call");
    assert_eq!(incomplete("so <tool_call>"), "tool_call");
    assert_eq!(incomplete("so <tool_call><function=get><parameter=city>Os"), "get");
    let (_, calls) = scan("<tool_call>{\"name\": \"get\", \"argu", false);
    assert!(
        calls[0].complete && serde_json::from_str::<serde_json::Value>(&calls[0].arguments).is_err(),
        "{calls:?}"
    );
}

/// Edge case 44.
#[test]
fn a_tag_that_was_only_begun_is_shown_44() {
    for text in [
        "So <tool_",
        "So <",
        "So\n``",
        "So\n~~~tool_call",
        "So <tool_call>",
        "[TOOL",
        "<|python_tag|>",
        "<｜tool▁calls",
        "{\"na",
        "[ge",
    ] {
        is_text(text);
    }
}

#[test]
fn aliases_strings_and_missing_arguments_are_understood() {
    let block = |json: &str| format!("<tool_call>{json}</tool_call>");
    for alias in ["arguments", "parameters", "args", "input"] {
        finds(
            &block(&format!("{{\"tool\": \"get\", \"{alias}\": {{\"days\":  1}}}}")),
            "",
            &[call("get", "{\"days\":  1}")],
        );
    }
    finds(
        &block("{\"name\": \"get\", \"arguments\": \"{\\\"days\\\": 1}\"}"),
        "",
        &[call("get", "{\"days\": 1}")],
    );
    finds(
        &block("{\"type\": \"function\", \"function\": {\"name\": \"get\", \"arguments\": {}}}"),
        "",
        &[call("get", "{}")],
    );
    finds(&block("{\"name\": \"now\", \"arguments\": null}"), "", &[call("now", "{}")]);
    finds(&block("{\"name\": \"now\"}"), "", &[call("now", "{}")]);
    finds(&block("{\"name\": \"get\", \"arguments\": [1]}"), "", &[call("get", "[1]")]);
}

#[test]
fn small_faults_are_mended() {
    let block = |json: &str| format!("<tool_call>{json}</tool_call>");
    finds(&block("{\"name\": \"get\", \"arguments\": {\"days\": 1,},}"), "", &[call("get", "{\"days\": 1}")]);
    finds(
        &block("{\"name\": \"get\", \"arguments\": {\"city\": \"a\nb\"}}"),
        "",
        &[call("get", "{\"city\": \"a\\nb\"}")],
    );
    finds(&block("\n```json\n{\"name\": \"now\", \"arguments\": {}}\n```\n"), "", &[call("now", "{}")]);
    finds("~~~tool_call\n```json\n{\"name\": \"now\"}\n```\n~~~", "", &[call("now", "{}")]);
}

#[test]
fn blocks_calls_and_nesting_have_limits() {
    let now = "{\"name\": \"now\"}";
    let list = format!("<tool_call>[{}{now}]</tool_call>", format!("{now}, ").repeat(MAX_CALLS + 2));
    for many in [format!("<tool_call>{now}</tool_call>").repeat(MAX_CALLS + 3), list.clone(), list.repeat(2)]
    {
        let (shown, calls) = scan_pieces(&[&format!("a{many}b")], false);
        assert_eq!((&*shown, calls.len()), ("ab", MAX_CALLS + 1), "no block is shown");
        assert!(calls[..MAX_CALLS].iter().all(|found| *found == call("now", "{}")));
        // The model is told that it is one of those that were too many.
        assert_eq!(calls[MAX_CALLS], call("now", TOO_MANY));
        assert!(TOO_MANY.contains(&format!("{MAX_CALLS} calls")));
    }
    let (_, calls) = scan_pieces(&[&list.replace("]</tool_call>", "")], true);
    assert!(calls.iter().all(|call| !call.complete), "{calls:?}");
    let deep = format!(
        "<tool_call>{{\"name\": \"get\", \"arguments\": {}1{}}}</tool_call>ok",
        "[".repeat(100),
        "]".repeat(100)
    );
    let (shown, calls) = scan_pieces(&[&deep], false);
    assert_eq!((&*shown, &*calls[0].name), ("ok", "get"));
    let large = format!(
        "<tool_call>{{\"name\": \"get\", \"arguments\": {{\"city\": \"{}\"}}}}</tool_call>ok",
        "x".repeat(3 * MAX_BLOCK)
    );
    let (shown, calls) = scan_pieces(&[&large], false);
    assert_eq!((&*shown, &*calls[0].name), ("ok", "get"));
    assert!(calls[0].arguments.len() < 10_000);
}

/// Texts of about `size` bytes, whose pieces must be looked at once and not again for what comes after them.
fn long_texts(size: usize) -> [String; 20] {
    let long = |begin: &str, again: &str| format!("{begin}{}", again.repeat(size / again.len()));
    [
        long("```json\n", " "),
        long("<|python_tag|>", "\n"),
        long("~~~tool_call\noops\nx", "~~~"),
        format!("{}x", long("~~~tool_call\noops\n", " ") + &"~".repeat(size)),
        long("<tool_call><function=get>", "<parameter=a></parameter>") + "</tool_call>",
        long("<tool_call>", "<function=get></function>") + "</tool_call>",
        long("```json", " "),
        long("```json\n{\"name\": \"get\", \"arguments\":", " "),
        long("[get(city=", " "),
        long("<tool_call>oops <tool_call>{oops", "</tool_cal"),
        long("", "[TOOL_CALLS]a"),
        long("", "[TOOL_CALLS]a[CALL_ID]"),
        long("", "<tool_call> "),
        long("", "<tool_call>a<arg_key></arg_key><arg_value></tool_call>"),
        long("<tool_call>", "{\"name\": \"get\", \"arguments\": {},}"),
        long("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>get<｜tool▁sep｜>{}<｜tool▁call▁end｜>"),
        long("<|tool_call_start|>[", "get(), "),
        long("<think>", "</think"),
        long("", " `"),
        long("", "\n~~~x"),
    ]
}

/// To look at all that has come again for every character of it would take hours.
#[test]
fn a_text_of_a_million_characters_is_read_once() {
    for text in &long_texts(1 << 20)[..6] {
        let (shown, calls) = scan_pieces(&[text], false);
        assert!(shown.len() < 2 * text.len() && calls.len() <= MAX_CALLS + 1, "{text:.60}");
    }
}

#[test]
fn a_long_text_is_the_same_in_one_piece_and_in_as_many_as_it_has_characters() {
    for text in long_texts(1 << 15) {
        let characters: Vec<&str> = text.split_inclusive(|_| true).collect();
        assert!(scan_pieces(&characters, false) == scan_pieces(&[&text], false), "{text:.60}");
    }
}

#[test]
fn openers_that_open_nothing_are_all_given_back_at_the_end() {
    for times in 1..6 {
        is_text(&"[TOOL_CALLS]a".repeat(times));
    }
}

#[test]
fn text_is_held_back_only_while_it_may_become_a_block() {
    let mut scanner = Scanner::new(tools());
    let mut shown_after = |text: &str| {
        scanner.feed(text);
        scanner.shown()
    };
    assert_eq!(shown_after("Hello"), "Hello");
    assert_eq!(shown_after(" there, "), " there,");
    assert_eq!(shown_after("x <too"), " x");
    assert_eq!(shown_after("k"), " <took");
    assert_eq!(shown_after("\n\n"), "");
    assert_eq!(shown_after("<tool_call>{\"name\""), "");
    assert_eq!(shown_after(": \"now\"}</tool_call> after"), " after");
    let mut json = Scanner::new(tools());
    json.feed("{\"city\"");
    assert_eq!(json.shown(), "{\"city\"", "JSON that is no call streams");
    let mut list = Scanner::new(tools());
    list.feed("[1");
    assert_eq!(list.shown(), "[1");
}

/// Texts made of the pieces that matter.
fn texts() -> impl Strategy<Value = String> {
    let words = [
        "<tool_call>",
        "</tool_call>",
        "~~~tool_call\n",
        "\n~~~\n",
        "~~~",
        "```",
        "```tool_call\n",
        "```json\n",
        "[TOOL_REQUEST]",
        "[END_TOOL_REQUEST]",
        "[TOOL_CALLS]",
        "[TOOL_CALLS]a[TOOL_CALLS]a[TOOL_CALLS]a",
        "[ARGS]",
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
        "<|python_tag|>",
        "<|tool_call_start|>",
        "<|tool_call_end|>",
        "<think>",
        "</think>",
        "{\"name\": \"get\", \"arguments\": {}}",
        "{\"name\": \"now\"}",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\n",
        " ",
        "get",
        "now()",
        "(city=\"x\")",
        "<function=get>",
        "</function>",
        "<parameter=city>",
        "</parameter>",
        "<arg_key>",
        "</arg_key>",
        "<arg_value>",
        "</arg_value>",
        "é",
        "text",
        "`",
        "<",
        "[get(",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..14).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn every_split_of_a_text_shows_the_same_and_calls_the_same(text in texts(), cuts in prop::collection::vec(0usize..400, 0..8), cut: bool) {
        let whole = scan_pieces(&[&text], cut);
        let mut at: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut % (text.len() + 1))).collect();
        at.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in at {
            pieces.push(&text[from..cut]);
            from = cut;
        }
        pieces.push(&text[from..]);
        prop_assert_eq!(scan_pieces(&pieces, cut), whole);
    }

    #[test]
    fn a_text_without_a_call_is_shown_as_it_is(text in texts(), cut: bool) {
        let (shown, calls) = scan_pieces(&[&text], cut);
        if calls.is_empty() {
            prop_assert_eq!(shown, text);
        } else {
            prop_assert!(shown.len() < text.len());
        }
    }

    #[test]
    fn a_whole_block_anywhere_in_plain_text_is_found_and_never_shown(before in "[a-z .\n]{0,20}", after in "[a-z .\n]{0,20}") {
        let block = "<tool_call>{\"name\": \"get\", \"arguments\": {\"city\": \"x\"}}</tool_call>";
        let (shown, calls) = scan_pieces(&[&format!("{before}{block}{after}")], false);
        prop_assert_eq!(calls, [call("get", "{\"city\": \"x\"}")]);
        prop_assert!(!shown.contains("tool_call"));
        prop_assert_eq!(shown.split_whitespace().collect::<String>(), format!("{before}{after}").split_whitespace().collect::<String>());
    }
}
