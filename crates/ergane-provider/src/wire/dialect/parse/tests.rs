use super::*;

#[test]
fn a_repair_touches_nothing_but_what_is_broken() {
    for sound in ["{\"a\": \"x, }\", \"b\": [1, 2]}", "{\"a\": \"\\\",}\"}", "[]"] {
        assert_eq!(repair(sound).unwrap(), sound);
    }
    assert_eq!(repair("{\"a\": [1, 2, ],\n}").unwrap(), "{\"a\": [1, 2]}");
    assert_eq!(repair("{\"a\": \"x\ty\n\"}").unwrap(), "{\"a\": \"x\\ty\\n\"}");
}

#[test]
fn what_nobody_can_read_is_no_json_so_that_the_model_gets_an_error() {
    for text in ["", "{}", "{\"name\": \"get\"", "null", "17"] {
        let found = unreadable(text, true);
        assert!(serde_json::from_str::<Value>(&found.arguments).is_err(), "{found:?}");
    }
    assert_eq!(unreadable("{\"name\": \"get\", oops", true).name, "get");
    assert_eq!(unreadable("<function=get>oops", true).name, "get");
    assert!(unreadable(&"é".repeat(5000), true).arguments.len() <= SHOWN);
}

#[test]
fn names_of_calls_in_sections_and_behind_marks_are_trimmed() {
    assert_eq!(named(" get [CALL_ID]x[ARGS] {\"a\":1} ").unwrap()[0].name, "get");
    assert_eq!(named("get[ARGS]{\"a\": 1,}").unwrap()[0].arguments, "{\"a\": 1}");
    assert_eq!(named("get[ARGS]{\"a\": 1,,}").unwrap()[0].arguments, "{\"a\": 1,,}", "as it was written");
    let section = "<｜tool▁call▁begin｜>get<｜tool▁sep｜>";
    assert_eq!(sections(section).unwrap()[0].arguments, "{}");
    assert!(sections("<｜tool▁call▁begin｜>get").is_none());
}
