//! Whatever was kept, a request is the bytes that it would be without.

use std::sync::Arc;

use ergane_core::{
    CallId, ImageSource, Message, ModelRequest, Opaque, Origin, Part, ProviderError, Reasoning,
    ReasoningEffort, StopReason, ToolCall, ToolResult, TurnId,
};
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::wire::dialect::offer;
use crate::wire::history::IdRule;
use crate::wire::{HttpRequest, anthropic, gemini, ollama, openai, responses};

/// What is done to a history.
#[derive(Debug, Clone)]
enum Deed {
    User {
        text: u8,
        image: bool,
    },
    Assistant {
        by: u8,
        text: u8,
        thinks: bool,
        opaque: bool,
        calls: Vec<(u8, bool)>,
    },
    /// Results of the calls before, of which the first so many are missing, and one that answers nothing.
    Results {
        missing: usize,
        failed: bool,
        image: bool,
        orphan: bool,
    },
    /// A round that nothing is odd about, so many times: histories get long.
    Rounds(u8),
    /// Every format writes it.
    Ask,
    /// It is what it was before the deed that was done so many deeds ago.
    Back(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0..4u8, any::<bool>()).prop_map(|(text, image)| Deed::User { text, image }),
        4 => (0..6u8, 0..4u8, any::<bool>(), any::<bool>(), prop::collection::vec((0..4u8, any::<bool>()), 0..3))
            .prop_map(|(by, text, thinks, opaque, calls)| Deed::Assistant { by, text, thinks, opaque, calls }),
        3 => (0..3usize, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(missing, failed, image, orphan)| Deed::Results { missing, failed, image, orphan }),
        2 => (1..30u8).prop_map(Deed::Rounds),
        2 => Just(Deed::Ask),
        1 => (1..12usize).prop_map(Deed::Back),
    ]
}

const TEXTS: [&str; 4] = ["", " \n", "It is so, and \"no\" other way.", "Why? "];

/// Who has answered, by provider, format and model: the first ones are themselves asked.
const VOICES: [(&str, &str, &str); 6] = [
    ("p", "openai", "m"),
    ("p", "anthropic", "claude-sonnet-4-5"),
    ("p", "gemini", "gemini-3-pro"),
    ("p", "responses", "gpt-5"),
    ("p", "openai", "other"),
    ("q", "ollama", "m"),
];

fn image() -> Part {
    Part::Image { mime: "image/png".into(), source: ImageSource::Base64("AAAA".into()) }
}

struct World {
    history: History,
    /// The calls that the last message made.
    calls: Vec<CallId>,
    turn: u64,
}

impl World {
    fn push(&mut self, role: Role, parts: Vec<Part>, origin: Option<Origin>) {
        self.history.push(Arc::new(Message { role, parts, origin }));
    }

    fn assistant(&mut self, by: u8, text: u8, thinks: bool, opaque: bool, calls: &[(u8, bool)]) {
        self.turn += 1;
        let (provider, api, model) = VOICES[usize::from(by)];
        let mut parts = Vec::new();
        if thinks {
            let data = json!({"signature": "s", "type": "reasoning", "encrypted_content": "e", "thoughtSignature": "t"});
            let data = data.as_object().cloned().unwrap();
            parts.push(Part::Reasoning(Reasoning {
                text: "hm".into(),
                field: Some("reasoning_content".into()),
                data,
            }));
        }
        parts.push(Part::text(TEXTS[usize::from(text)]));
        if opaque {
            parts.push(Part::Opaque(Opaque {
                kind: "item".into(),
                data: json!({"type": "odd", "n": self.turn}),
            }));
        }
        self.calls.clear();
        for (index, (id, complete)) in (1..).zip(calls) {
            // Some ids come again and again.
            let wire_id =
                ["call_1".to_owned(), format!("abcdefg{}", self.turn % 100), "not legal!".to_owned()];
            let id = wire_id.get(usize::from(*id)).map(|id| id.as_str().into());
            let call = CallId { turn: TurnId(self.turn), index };
            if *complete {
                self.calls.push(call);
            }
            parts.push(Part::ToolCall(ToolCall {
                id: call,
                wire_id: id,
                name: "get".into(),
                arguments: "{\"x\": 1}".into(),
                complete: *complete,
                extra: Map::new(),
            }));
        }
        let origin = Origin {
            provider: provider.into(),
            api: api.into(),
            model: model.into(),
            response_id: None,
            stop: StopReason::Stop,
        };
        self.push(Role::Assistant, parts, Some(origin));
    }

    fn results(&mut self, missing: usize, failed: bool, with_image: bool, orphan: bool) {
        let nobody = orphan.then_some(CallId { turn: TurnId(9_999), index: 1 });
        let answered: Vec<CallId> = self.calls.iter().skip(missing).copied().chain(nobody).collect();
        let parts = answered.into_iter().map(|call| {
            let mut content = vec![Part::text("found")];
            content.extend(with_image.then(image));
            Part::ToolResult(ToolResult {
                call,
                name: "get".into(),
                content,
                is_error: failed,
                synthetic: false,
            })
        });
        let parts = parts.collect();
        self.push(Role::Tool, parts, None);
    }

    fn round(&mut self, number: u8) {
        self.push(Role::User, vec![Part::text("And?")], None);
        if number.is_multiple_of(2) {
            self.assistant(number % 4, 2, true, false, &[(1, true), (number % 3, true)]);
            self.results(0, false, false, false);
        }
        self.assistant(number % 4, 2, number.is_multiple_of(3), false, &[]);
    }
}

/// A format, with what makes it a special one.
type Writer = fn(&History) -> Result<HttpRequest, ProviderError>;

const FORMATS: [(&str, Writer); 11] = [
    ("any server", |messages| openai::request(&asked("m", messages), "p", &openai::Compat::default())),
    ("mistral", |messages| compatible("mistral", messages)),
    ("groq", |messages| compatible("groq", messages)),
    ("deepseek", |messages| compatible("deepseek", messages)),
    ("in words", |messages| openai::request(&offer(&asked("m", messages)), "p", &openai::Compat::default())),
    ("ollama", |messages| ollama::request(&asked("m", messages), "q", 4096)),
    ("anthropic", |messages| anthropic::request(&asked("claude-sonnet-4-5", messages), "p", false)),
    ("anthropic, adaptive", |messages| anthropic::request(&asked("claude-opus-4-7", messages), "p", false)),
    ("gemini", |messages| Ok(gemini::request(&asked("gemini-3-pro", messages), "p"))),
    ("an older gemini", |messages| Ok(gemini::request(&asked("gemini-2.5-pro", messages), "p"))),
    ("responses", |messages| responses::request(&asked("gpt-5", messages), "p", &openai::Compat::default())),
];

fn asked(model: &str, messages: &History) -> ModelRequest {
    ModelRequest {
        reasoning: Some(ReasoningEffort::Low),
        system: Some("Be brief.".into()),
        ..ModelRequest::new(model, messages.clone())
    }
}

fn compatible(server: &str, messages: &History) -> Result<HttpRequest, ProviderError> {
    let known = openai::CompatServer::named(server).unwrap();
    openai::request(&asked("m", messages), "p", &(known.flags)())
}

fn assert_written_as_anew((name, write): (&str, Writer), history: &History) {
    let anew: History = history.iter().cloned().collect();
    let (kept, anew) = (write(history), write(&anew));
    match (kept, anew) {
        (Ok(kept), Ok(anew)) => {
            assert_eq!(kept, anew, "{name}, {} messages", history.len());
            let body = kept.body.bytes();
            assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{name}");
        }
        (kept, anew) => assert_eq!(kept.unwrap_err().to_string(), anew.unwrap_err().to_string(), "{name}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_request_is_the_same_bytes_whatever_was_kept_of_earlier_ones(
        format in prop::sample::select(FORMATS.to_vec()),
        deeds in prop::collection::vec(deed(), 1..40),
    ) {
        let mut world = World { history: History::default(), calls: Vec::new(), turn: 0 };
        let mut before = Vec::new();
        for deed in deeds {
            before.push(world.history.clone());
            match deed {
                Deed::User { text, image: shown } => {
                    let mut parts = vec![Part::text(TEXTS[usize::from(text)])];
                    parts.extend(shown.then(image));
                    world.push(Role::User, parts, None);
                }
                Deed::Assistant { by, text, thinks, opaque, calls } => {
                    world.assistant(by, text, thinks, opaque, &calls);
                }
                Deed::Results { missing, failed, image, orphan } => world.results(missing, failed, image, orphan),
                Deed::Rounds(rounds) => (0..rounds).for_each(|number| world.round(number)),
                Deed::Ask => assert_written_as_anew(format, &world.history),
                Deed::Back(ago) => {
                    let earlier = before.len().checked_sub(ago).and_then(|at| before.get(at));
                    world.history = earlier.cloned().unwrap_or_default();
                }
            }
        }
        assert_written_as_anew(format, &world.history);
    }
}

fn long(rounds: u32) -> World {
    let mut world = World { history: History::default(), calls: Vec::new(), turn: 0 };
    (0..rounds).for_each(|number| world.round((number % 200) as u8));
    world
}

#[test]
fn of_a_long_history_a_format_is_handed_what_is_new() {
    let mut world = long(1000);
    let mut handed = Vec::new();
    for number in 0..100 {
        let format = Format {
            reader: Reader { provider: "p", api: "openai", model: "m", ids: IdRule::Printable },
            flags: None,
            later: Later::Nothing,
        };
        let written = list::<()>(&world.history, &format, |tail, out| {
            handed.push(tail.turns.len());
            tail.turns.iter().for_each(|(at, _)| out.push(Some(*at), at));
            Ok(())
        });
        assert!(written.is_ok());
        world.round(number);
    }
    assert!(handed[0] >= 3000, "all of it is new at first");
    // A block of messages that is not full, those of the turn, and what stays at the end.
    assert!(handed[1..].iter().all(|turns| *turns <= 32 + 8), "{handed:?}");
}

#[test]
fn what_was_written_before_is_sent_again_from_where_it_lies() {
    for (name, write) in FORMATS {
        let mut world = long(400);
        let mut before = write(&world.history).unwrap().body;
        for number in 0..40 {
            world.round(number);
            let after = write(&world.history).unwrap().body;
            let again = |piece: &&Bytes| before.pieces().iter().any(|other| other.as_ptr() == piece.as_ptr());
            let lay_there: usize = after.pieces().iter().filter(again).map(Bytes::len).sum();
            // Two blocks of messages, and the short piece that is copied together with the next.
            let anew = after.len() - lay_there;
            assert!(anew < 20_000 && after.len() > 100_000, "{name}: {anew} of {} bytes", after.len());
            before = after;
        }
    }
}

#[test]
fn a_history_that_ends_where_what_was_kept_ends_is_written_right() {
    for format in FORMATS {
        let mut world = long(0);
        let mut shorter = History::default();
        for number in 0..40 {
            world.push(Role::User, vec![Part::text(format!("word {number}"))], None);
            if world.history.len() == 33 {
                shorter = world.history.clone();
            }
            world.assistant(1, 2, true, false, &[]);
        }
        assert_eq!((shorter.len(), shorter.settled()), (33, 32));
        for history in [&world.history, &shorter, &world.history] {
            assert_written_as_anew(format, history);
        }
    }
}

#[test]
fn a_history_that_goes_on_otherwise_where_a_block_ends_is_written_right() {
    for format in FORMATS {
        let mut world = long(0);
        world.push(Role::User, vec![Part::text("go")], None);
        for _ in 0..31 {
            world.push(Role::User, vec![Part::text("and?")], None);
            world.assistant(1, 2, false, false, &[]);
        }
        world.push(Role::User, vec![Part::text("and?")], None);
        let mut other = World { history: world.history.clone(), calls: Vec::new(), turn: 1000 };
        assert_eq!((other.history.len(), other.history.settled()), (64, 32));
        for _ in 0..4 {
            world.assistant(1, 2, false, false, &[]);
            world.push(Role::User, vec![Part::text("so?")], None);
        }
        assert_written_as_anew(format, &world.history);
        // What the user said last becomes one with this, and not with the answer that came there.
        other.push(Role::User, vec![Part::text("wait")], None);
        other.assistant(1, 2, false, false, &[]);
        other.push(Role::User, vec![Part::text("so?")], None);
        assert_written_as_anew(format, &other.history);
    }
}

#[test]
fn what_depends_on_what_comes_later_is_written_anew_when_that_comes() {
    let mut world = long(0);
    let thoughts = |body: &[u8]| String::from_utf8_lossy(body).matches("reasoning_content").count();
    let groq = |history: &History| thoughts(&compatible("groq", history).unwrap().body.bytes());
    // A long turn of tools: the model's thoughts go back to it as long as the turn lasts.
    world.push(Role::User, vec![Part::text("go")], None);
    for rounds in 1..=100 {
        world.assistant(0, 2, true, false, &[(1, true)]);
        world.results(0, false, false, false);
        assert_eq!(groq(&world.history), rounds);
    }
    let during = world.history.clone();
    world.assistant(0, 2, true, false, &[]);
    world.push(Role::User, vec![Part::text("and?")], None);
    assert_eq!(groq(&world.history), 0, "the user has spoken since");
    assert_eq!(groq(&during), 100, "he had not then");

    let deepseek = |history: &History| thoughts(&compatible("deepseek", history).unwrap().body.bytes());
    let mut world = long(0);
    for rounds in 1..=100 {
        world.push(Role::User, vec![Part::text("go")], None);
        world.assistant(4, 2, false, false, &[]);
        assert_eq!(deepseek(&world.history), 0, "{rounds} rounds without a call");
    }
    let before = world.history.clone();
    world.push(Role::User, vec![Part::text("go")], None);
    world.assistant(4, 2, false, false, &[(1, true)]);
    world.results(0, false, false, false);
    assert_eq!(deepseek(&world.history), 101, "with a call every answer needs thoughts");
    assert_eq!(deepseek(&before), 0);
}
