//! What can be read of a conversation: messages, requests, turns that ended, sends; and the stable names of facts.

use std::sync::Arc;

use ergane_core::*;

use crate::log::{Log, call, finished, settings};
use crate::validity::{check, check_request};

fn texts(log: &Log) -> Vec<String> {
    let conversation = &log.conversation;
    conversation.turns().iter().map(|turn| conversation.text_of(turn).to_string()).collect()
}

#[test]
fn the_text_of_a_turn_is_what_was_shown_else_the_last_answer_that_is_not_blank() {
    let mut log = Log::in_a_turn();
    log.end(FinishReason::ProviderAuth, Some(TurnError::new(ErrorKind::Auth, "no key")), None);

    log.turn("an error after words");
    log.reply(vec!["First words.".into(), call("glob", "{}", true)], StopReason::ToolCalls);
    log.finish(1, "ok");
    log.reply(vec!["Let me ".into(), "look.".into(), call("read", "{}", true)], StopReason::ToolCalls);
    log.finish(2, "results are no answer");
    log.reply(vec!["  \n".into(), call("read", "{}", true)], StopReason::ToolCalls);
    log.finish(3, "ok");
    log.end(FinishReason::DuringExecution, Some(TurnError::new(ErrorKind::Server, "500")), None);

    log.turn("interrupted in mid-answer");
    log.round("read", "ok");
    log.interrupt();
    log.end(FinishReason::Interrupted, None, Some("half an ans"));

    log.turn("interrupted before a word of the second answer");
    log.reply(vec!["I will read.".into(), call("read", "{}", true)], StopReason::ToolCalls);
    log.interrupt();
    log.end(FinishReason::Interrupted, None, Some(" "));

    log.turn("refused");
    log.reply(vec![Part::Refusal { text: "I will not.".into() }], StopReason::Refusal);
    log.end(FinishReason::Refused, None, None);

    assert_eq!(texts(&log), ["", "Let me look.", "half an ans", "I will read.", "I will not."]);
}

#[test]
fn a_turn_that_ended_is_found_by_its_id_with_its_number_its_messages_and_who_answered() {
    let mut log = Log::in_a_turn();
    log.round("read", "ok");
    log.answer("one");
    log.end(FinishReason::Stop, None, None);
    log.turn("two?");
    log.end(FinishReason::ProviderAuth, Some(TurnError::new(ErrorKind::Auth, "no key")), None);
    log.turn("three?");
    log.answer("three");
    log.end(FinishReason::Stop, None, None);

    let conversation = &log.conversation;
    let ordinals: Vec<_> =
        conversation.turns().iter().map(|turn| (turn.ordinal, turn.send.to_string())).collect();
    assert_eq!(ordinals, [(1, "s1".to_owned()), (2, "s2".to_owned()), (3, "s3".to_owned())]);
    let [first, failed, _] = conversation.turns() else { panic!("three turns") };
    assert_eq!((&*first.provider, &*first.model), ("scripted", "m-1"), "who answered");
    assert_eq!((&*failed.provider, &*failed.model), ("scripted", "m"), "who was asked");
    assert_eq!(failed.error.as_ref().unwrap().kind, ErrorKind::Auth);
    let lengths: Vec<_> =
        conversation.turns().iter().map(|turn| conversation.messages_of(turn).len()).collect();
    assert_eq!(lengths, [4, 1, 2]);
    for turn in conversation.turns() {
        assert_eq!(conversation.ended(turn.id), Some(turn));
        assert_eq!(conversation.send(&turn.send).unwrap().turn, Some(turn.id));
    }
    assert_eq!(conversation.ended(TurnId(first.id.0 + 1)), None);
}

#[test]
fn a_send_is_known_from_its_acceptance_on_and_has_its_turn_once_it_started() {
    let mut log = Log::in_a_turn();
    let waiting = log.queue(vec!["later".into()]);
    assert_eq!(log.conversation.queue().len(), 1);
    assert_eq!(log.conversation.send(&waiting).unwrap().turn, None);
    log.end(FinishReason::Stop, None, None);
    log.push(Event::TurnStarted { send: waiting.clone() });
    assert!(log.conversation.queue().is_empty());
    let turn = log.conversation.turn().unwrap().id;
    assert_eq!(log.conversation.send(&waiting).unwrap().turn, Some(turn));
    assert_eq!(turn.0, log.conversation.seq().0, "its id is the position of its start");
    assert_eq!(log.conversation.send(&SendId::from("unknown")), None);
}

#[test]
fn the_messages_can_be_read_during_a_round_with_the_results_that_are_there() {
    let mut log = Log::in_a_turn();
    log.ask(&["read", "glob"]);
    assert_eq!(log.conversation.messages().len(), 2);
    log.finish(2, "second");
    let messages = log.conversation.messages();
    assert_eq!(messages.last().unwrap().results().map(|r| r.call.index).collect::<Vec<_>>(), [2]);
    assert!(log.conversation.turn().unwrap().is_open(log.id(1)));
    assert!(!log.conversation.turn().unwrap().is_open(log.id(2)));
    log.finish(1, "first");
    let messages = log.conversation.messages();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages.last().unwrap().results().map(|r| r.call.index).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_users_said_in_turns_without_an_answer_is_sent_as_one_message() {
    let mut log = Log::in_a_turn();
    log.end(FinishReason::ProviderAuth, None, None);
    log.turn("again");
    log.reply(vec![Part::Reasoning(Reasoning::default()), " \n".into()], StopReason::Stop);
    log.end(FinishReason::Stop, None, None);
    log.turn("and again");
    let sent = log.sent();
    assert_eq!(check_request(&sent), Ok(()));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].parts, ["hello".into(), "again".into(), "and again".into()] as [Part; 3]);
    assert_eq!(
        log.conversation.messages().len(),
        4,
        "they were said one by one, and so was the empty answer"
    );
}

#[test]
fn a_request_carries_the_settings_of_its_turn_and_exists_only_in_one() {
    let mut settings = settings();
    (settings.system_prompt, settings.stream) = (Some("be brief".into()), false);
    let mut log = Log::new(settings);
    assert!(log.conversation.request([].into()).is_none());
    log.turn("hello");
    let tool = ToolSpec {
        name: "read".into(),
        description: "reads".into(),
        parameters: Arc::new(serde_json::json!({"type": "object"})),
    };
    let request = log.conversation.request([tool.clone()].into()).unwrap();
    assert_eq!((&*request.model, request.system.as_deref(), request.stream), ("m", Some("be brief"), false));
    assert_eq!(&*request.tools, [tool]);
    assert_eq!(request.max_tokens, None);
    log.answer("hi");
    assert_eq!(request.messages.len(), 1, "it is a view of its moment");
}

#[test]
fn nothing_that_only_a_model_or_a_tool_can_say_is_sent_in_a_users_name() {
    let mut log = Log::new(settings());
    let result = match finished(CallId { turn: TurnId(1), index: 1 }, vec!["forged".into()], false) {
        Event::ToolFinished { result, .. } => Part::ToolResult((*result).clone()),
        other => panic!("{other:?}"),
    };
    let send = log.queue(vec!["hi".into(), call("bash", "{}", true), result]);
    log.push(Event::TurnStarted { send });
    assert_eq!(check(&log.sent()), Ok(()));
    assert_eq!(log.sent()[0].parts, [Part::text("hi")]);
}

#[test]
fn calls_with_one_wire_id_are_two_calls() {
    let mut log = Log::in_a_turn();
    let mut twin = call("read", "{}", true);
    if let Part::ToolCall(call) = &mut twin {
        call.wire_id = Some("same".into());
    }
    log.reply(vec![twin.clone(), twin], StopReason::ToolCalls);
    log.finish(2, "b");
    log.finish(1, "a");
    assert_eq!(log.sent()[2].results().map(ToolResult::text).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn the_number_and_the_name_of_every_kind_of_fact_are_stable() {
    let mut log = Log::in_a_turn();
    log.push(Event::SettingsChanged { patch: Box::default(), tool: None });
    log.ask(&["todo"]);
    log.start(1, Effect::Idempotent);
    let call = log.id(1);
    log.push(Event::ToolProcess { call, group: 1, leader_started: 2 });
    log.recover(1);
    log.finish(1, "ok");
    log.interrupt();
    log.end(FinishReason::Interrupted, None, None);
    let found: Vec<_> = log
        .facts
        .iter()
        .map(|fact| {
            let json = serde_json::to_value(fact).unwrap();
            (fact.event.kind() as u8, json["type"].as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [
        (1, "session_started"),
        (3, "queued"),
        (4, "turn_started"),
        (2, "settings_changed"),
        (5, "model_replied"),
        (6, "tool_started"),
        (11, "tool_process"),
        (9, "recovered"),
        (7, "tool_finished"),
        (8, "interrupt_requested"),
        (10, "turn_ended"),
    ];
    assert_eq!(found, expected.map(|(number, name)| (number, name.to_owned())));
}

#[test]
fn what_the_program_gives_with_a_send_goes_to_its_turn_and_to_no_request() {
    let mut log = Log::in_a_turn();
    log.answer("one");
    log.end(FinishReason::Stop, None, None);
    let meta = Arc::new(serde_json::json!({ "tenant": "acme" }));
    let input = vec![Part::text("two")];
    let (hash, some) = (Digest::of(b"two"), Some(Arc::clone(&meta)));
    let queued = Event::Queued { send: "k".into(), input, hash, meta: some, settings: None };
    let json = serde_json::to_value(&queued).unwrap();
    assert_eq!(json["meta"]["tenant"], "acme");
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), queued);
    log.push(queued);
    log.push(Event::TurnStarted { send: "k".into() });
    assert_eq!(log.conversation.turn().unwrap().meta, Some(meta));
    assert!(!format!("{:?}", log.conversation.request(Arc::new([]))).contains("acme"));
    log.answer("two");
    log.end(FinishReason::Stop, None, None);
    log.turn("three");
    assert_eq!(log.conversation.turn().unwrap().meta, None);
}

#[test]
fn what_a_send_sets_holds_in_its_turn_and_in_no_other() {
    let mut log = Log::in_a_turn();
    log.answer("one");
    log.end(FinishReason::Stop, None, None);
    let before = log.conversation.settings().unwrap().clone();
    let patch =
        SettingsPatch { model: Some("larger".into()), max_tokens: Some(Some(9)), ..Default::default() };
    let (input, hash) = (vec![Part::text("two")], Digest::of(b"two"));
    let settings = Some(Arc::new(patch));
    let queued = Event::Queued { send: "k".into(), input, hash, meta: None, settings };
    let json = serde_json::to_value(&queued).unwrap();
    assert_eq!(json["settings"], serde_json::json!({"model": "larger", "max_tokens": 9}));
    assert_eq!(serde_json::from_value::<Event>(json).unwrap(), queued);
    log.push(queued);
    log.push(Event::TurnStarted { send: "k".into() });
    let request = log.conversation.request(Arc::new([])).unwrap();
    assert_eq!((&*request.model, request.max_tokens), ("larger", Some(9)));
    assert_eq!(**log.conversation.settings().unwrap(), *before, "the session's are as they were");
    log.answer("two");
    log.end(FinishReason::Stop, None, None);
    log.turn("three");
    assert_eq!(log.conversation.turn().unwrap().settings, before);
}
