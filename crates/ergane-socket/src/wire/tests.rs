use ergane_core::ImageSource;
use ergane_otp::{ChildKind, EntryStatus};
use ergane_session::SessionEvent;
use serde_json::json;

use super::*;
use crate::tree::{Left, Node};

fn process() -> Process {
    let standing = json!({
        "provider": "p", "endpoint": "http://h", "running": 1, "waiting": 2, "max_in_flight": 1, "requests_per_minute": null,
        "tokens_per_minute": null, "circuit": "open", "circuit_for_ms": 1000, "asked_for_ms": null,
        "requests": Left { limit: Some(10), remaining: 0, reset_ms: 60_000 }, "tokens": null, "reason": "r", "wait_ms": null,
    });
    let mut leaf = Node::new("session/a", ChildKind::Worker, &EntryStatus::Live);
    leaf.pid = Some("0.7".into());
    leaf.restarts = Some(2);
    leaf.uptime_ms = Some(1);
    leaf.activity = Some(json!({"state": "of a later version"}));
    (leaf.turn, leaf.queued) = (Some(1), Some(0));
    leaf.provider = Some(Box::new(serde_json::from_value(standing).unwrap()));
    let (journal, system) = ("/j.db".into(), Some("ergane".into()));
    Process { pid: Some(1), journal, system, tree: Some(leaf), error: None }
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(request(Ask::Tree), b"{\"v\":1,\"ask\":\"tree\"}\n");
    assert_eq!(parse_request(&request(Ask::Tree)), Ok(Ask::Tree));
    assert_eq!(parse_process(&answer(&Ok(Answer::Tree(Box::new(process()))))), Ok(process()));
    let problem = Problem::new("internal", "m");
    assert_eq!(parse_process(&answer(&Err(problem.clone()))), Err(problem));
    for garbled in ["", "{}", r#"{"v":1,"error":null}"#, r#"{"v":1,"error":"of a later version"}"#] {
        assert_eq!(parse_process(garbled.as_bytes()).unwrap_err().kind, "protocol", "{garbled}");
        assert_eq!(parse_heard(garbled.as_bytes()).unwrap_err().kind, "protocol", "{garbled}");
    }
}

fn pending() -> PendingApproval {
    serde_json::from_value(json!({
        "call": "812.1", "question": 9, "tool": "bash", "arguments": "{}", "digest": Digest::of(b"{}"),
        "cause": "permission", "why": "w", "since": 0,
    }))
    .unwrap()
}

#[test]
fn asks_about_a_session_are_lines_too_and_their_answers_are_told_apart() {
    let session = SessionName::new("a").unwrap();
    let image = Part::Image { mime: "image/png".into(), source: ImageSource::Base64("iVBORw0KGgo=".into()) };
    let said = vec![Part::text("hi"), image];
    for ask in [
        Ask::Approvals { session: session.clone() },
        Ask::Approve {
            session: session.clone(),
            call: "3.1".parse().unwrap(),
            question: Some(Seq(5)),
            arguments: Digest::of(b"{}"),
            decision: Decision::deny("no"),
            by: Some("ann".into()),
        },
        Ask::Interrupt { session: session.clone(), reason: "r".into() },
        Ask::InterruptSend { session: session.clone(), key: "k".into(), reason: "r".into() },
        Ask::Steer {
            session: session.clone(),
            input: Words::from(said.clone()),
            key: Some("k".into()),
            cut: true,
        },
        Ask::Steer { session: session.clone(), input: Words::Text("hi".into()), key: None, cut: false },
        Ask::Checkpoint { session: session.clone(), label: "here".into() },
        Ask::Rewind { session: session.clone(), to: Some("here".into()) },
        Ask::Lift { session: session.clone() },
        Ask::Turn(Box::new(Order {
            keep: true,
            meta: json!({"user": "ann"}),
            ..Order::new(session, said, "k".into())
        })),
    ] {
        assert_eq!(parse_request(&request(ask.clone())), Ok(ask));
    }
    let heard = |said: Answer| parse_heard(&answer(&Ok(said))).unwrap();
    assert_eq!(heard(Answer::Done { done: "entered".into() }), Heard::Done { done: "entered".into() });
    assert_eq!(heard(Answer::Accepted { accepted: true }), Heard::Accepted { accepted: true });
    let parked = Answer::Parked { parked: "the disk is full".into() };
    assert_eq!(heard(parked), Heard::Parked { parked: "the disk is full".into() });
    assert_eq!(heard(Answer::GoesOn { goes_on: true }), Heard::GoesOn { goes_on: true });
    let (approvals, waits) = (vec![pending()], vec![pending()]);
    assert_eq!(heard(Answer::Approvals { approvals: approvals.clone() }), Heard::Approvals { approvals });
    assert_eq!(heard(Answer::Waits { waits: waits.clone() }), Heard::Waits { waits });
    let event = SessionEvent::Content { text: "a".into() };
    let Heard::Event { event: told } = heard(Answer::Event { event: event.clone() }) else { panic!() };
    assert_eq!(serde_json::from_value::<SessionEvent>(told).unwrap(), event);
    for problem in [Problem::new("internal", "m"), Problem::new("internal", "m").passing()] {
        assert_eq!(parse_heard(&answer(&Err(problem.clone()))), Err(problem));
    }
    assert_eq!(Words::from(vec![Part::text("hi")]), Words::Text("hi".into()), "as earlier builds say it");
}

#[test]
fn a_point_is_a_position_the_name_of_a_checkpoint_or_the_present() {
    for said in [Point::At(Seq(7)), Point::Label("seven".into()), Point::Now] {
        assert_eq!(point(of_point(said.clone())), said);
    }
}

#[test]
fn what_is_no_request_is_told_so() {
    for (line, why) in [
        ("", "not a line of JSON"),
        ("tree", "not a line of JSON"),
        ("[]", "there is no version"),
        (r#"{"ask":"tree"}"#, "there is no version"),
        (r#"{"v":2,"ask":"tree"}"#, "version 1 only"),
        (r#"{"v":"1","ask":"tree"}"#, "version 1 only"),
        (r#"{"v":1}"#, "missing field `ask`"),
        (r#"{"v":1,"ask":"shutdown"}"#, "unknown variant `shutdown`"),
    ] {
        let problem = parse_request(line.as_bytes()).unwrap_err();
        assert_eq!(problem.kind, "bad_request", "{line}");
        assert!(problem.message.contains(why), "{line}: {problem:?}");
    }
}

#[test]
fn a_build_that_does_not_know_what_it_is_asked_is_known_for_another_one_on_both_sides() {
    // What an earlier build sends for a turn, and what it says to what it does not know.
    let earlier = br#"{"v":1,"ask":"send","session":"a","input":"hi","key":"k","settings":{}}"#;
    let to_it = parse_request(earlier).unwrap_err();
    assert!(to_it.message.contains("use the same build"), "{to_it:?}");
    let by_it = "this cannot be asked: unknown variant `turn`, expected one of `tree`, `approve`, `send`";
    for problem in [
        to_it,
        Problem::new("bad_request", by_it),
        parse_request(br#"{"v":9,"ask":"tree"}"#).unwrap_err(),
        // Its end of a turn, which nobody asks for any more, is nothing that is taken for one.
        parse_heard(br#"{"v":1,"report":{},"exit":0,"waiting":null}"#).unwrap_err(),
    ] {
        assert!(is_of_another_build(&problem), "{problem:?}");
    }
    assert!(!is_of_another_build(&Problem::new(
        "bad_request",
        "the key k was used before with another input"
    )));
    assert!(!is_of_another_build(&Problem::new("busy", "m")));
}

#[test]
fn no_bytes_are_too_strange_to_be_answered() {
    let deep = "[".repeat(100_000);
    let asks = [
        deep.as_bytes(),
        b"\xff\0\n",
        b"{\"v\":1,\"ask\":\"turn\",\"session\":\"\",\"input\":[],\"key\":\"k\"}",
    ];
    for ask in asks {
        assert_eq!(parse_request(ask).unwrap_err().kind, "bad_request");
        assert_eq!(parse_heard(ask).unwrap_err().kind, "protocol");
    }
}
