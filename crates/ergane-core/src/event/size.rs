//! How large a fact is, and how deep what it holds is nested: what is asked before it becomes one.
//!
//! # Why depth has a bound
//!
//! What writes JSON knows none, and what reads it does: 127 levels, so that no text exhausts a stack. A fact that is
//! nested deeper could be written and never be read again, and its session with it. So whatever comes in from outside as
//! JSON (what a program gives to its tools or shows to people, a schema, what only a provider understands) is held
//! against a bound, which leaves room for what a fact, and a message to another process, puts around it.

use serde_json::Value;

use super::Event;
use crate::approval::Decision;
use crate::message::{ImageSource, Message, Part};
use crate::reason::StopReason;
use crate::request::OutputSchema;
use crate::settings::SettingsPatch;

/// The most levels of arrays and objects, one in the other, that a JSON value in a fact may have.
///
/// ```
/// use ergane_core::{MAX_LEVELS, is_too_deep};
/// use serde_json::{Value, json};
///
/// let nested = |levels| (0..levels).fold(Value::Null, |inner, _| json!([inner]));
/// assert!(!is_too_deep(&nested(MAX_LEVELS)));
/// assert!(is_too_deep(&nested(MAX_LEVELS + 1)));
/// ```
pub const MAX_LEVELS: usize = 100;

/// Whether the value has more than [`MAX_LEVELS`] levels: then it must not become part of a fact.
///
/// ```
/// assert!(!ergane_core::is_too_deep(&serde_json::json!({ "tenant": { "id": 7 } })));
/// ```
pub fn is_too_deep(value: &Value) -> bool {
    !value_within(value, MAX_LEVELS)
}

fn value_within(value: &Value, levels: usize) -> bool {
    let Some(left) = levels.checked_sub(1) else { return !value.is_array() && !value.is_object() };
    match value {
        Value::Array(values) => values.iter().all(|value| value_within(value, left)),
        Value::Object(fields) => fields.values().all(|value| value_within(value, left)),
        _ => true,
    }
}

fn parts_within(parts: &[Part], levels: usize) -> bool {
    parts.iter().all(|part| match part {
        Part::Text { .. } | Part::Refusal { .. } | Part::Image { .. } => true,
        Part::ToolCall(call) => call.extra.values().all(|value| value_within(value, levels)),
        Part::Reasoning(reasoning) => reasoning.data.values().all(|value| value_within(value, levels)),
        Part::Opaque(opaque) => value_within(&opaque.data, levels),
        // The part, and the list in it.
        Part::ToolResult(result) => {
            levels.checked_sub(2).is_some_and(|left| parts_within(&result.content, left))
        }
    })
}

fn schema_within(output: Option<&OutputSchema>) -> bool {
    output.is_none_or(|output| value_within(&output.schema, MAX_LEVELS))
}

fn patch_within(patch: &SettingsPatch) -> bool {
    schema_within(patch.output.as_ref().and_then(Option::as_ref))
}

/// What a part has around its texts: an eighth of that as JSON, and more.
const PART: usize = 24;

/// The same of a value.
const VALUE: usize = 4;

impl Event {
    /// About how many bytes it takes, without encoding it, and never less than an eighth of them: texts as they are, and
    /// something for each part and each value. What has a bound of its own (a key, a reason, settings) does not count.
    pub fn rough_size(&self) -> usize {
        match self {
            Self::Queued { input, .. } | Self::Steered { input, .. } => parts(input),
            Self::ModelReplied { message, .. } => of_message(message),
            Self::ToolFinished { result, ui, .. } => {
                result.name.len() + parts(&result.content) + ui.as_ref().map_or(0, value)
            }
            Self::ApprovalDecided { decision: Decision::Done { result }, .. } => result.len(),
            _ => 0,
        }
    }

    /// Whether a value in it has more than [`MAX_LEVELS`] levels. Such a fact is not to be written: it could not be read.
    pub fn is_too_deep(&self) -> bool {
        let within = match self {
            Self::SessionStarted { settings, .. } => schema_within(settings.answering.output.as_ref()),
            Self::SettingsChanged { patch, .. } => patch_within(patch),
            Self::Queued { input, meta, settings, .. } => {
                parts_within(input, MAX_LEVELS)
                    && meta.as_ref().is_none_or(|meta| value_within(meta, MAX_LEVELS))
                    && settings.as_ref().is_none_or(|patch| patch_within(patch))
            }
            Self::Steered { input, .. } => parts_within(input, MAX_LEVELS),
            Self::ModelReplied { message, .. } => parts_within(&message.parts, MAX_LEVELS),
            Self::ToolFinished { result, ui, .. } => {
                parts_within(&result.content, MAX_LEVELS)
                    && ui.as_ref().is_none_or(|ui| value_within(ui, MAX_LEVELS))
            }
            _ => true,
        };
        !within
    }
}

fn of_message(message: &Message) -> usize {
    let origin = message.origin.as_ref().map_or(0, |origin| {
        let id = origin.response_id.as_ref().map_or(0, |id| id.len());
        let stop = if let StopReason::Unknown(word) = &origin.stop { word.len() } else { 0 };
        origin.provider.len() + origin.api.len() + origin.model.len() + stop + id
    });
    origin + parts(&message.parts)
}

fn parts(parts: &[Part]) -> usize {
    let one = |part: &Part| match part {
        Part::Text { text } | Part::Refusal { text } => text.len(),
        Part::Image { mime, source: ImageSource::Base64(image) | ImageSource::Url(image) } => {
            mime.len() + image.len()
        }
        Part::ToolCall(call) => {
            let id = call.wire_id.as_ref().map_or(0, |id| id.len());
            id + call.name.len() + call.arguments.len() + fields(&call.extra)
        }
        Part::Reasoning(reasoning) => {
            let field = reasoning.field.as_ref().map_or(0, |field| field.len());
            field + reasoning.text.len() + fields(&reasoning.data)
        }
        Part::ToolResult(result) => result.name.len() + self::parts(&result.content),
        Part::Opaque(opaque) => opaque.kind.len() + value(&opaque.data),
    };
    parts.iter().map(|part| PART + one(part)).sum()
}

fn fields(fields: &serde_json::Map<String, Value>) -> usize {
    fields.iter().map(|(key, one)| key.len() + value(one)).sum()
}

fn value(value: &Value) -> usize {
    VALUE
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(self::value).sum(),
            Value::Object(fields) => self::fields(fields),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::{
        CallId, Digest, Opaque, Origin, Reasoning, Role, Seq, Settings, Text, ToolCall, ToolResult, TurnId,
    };

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[\\x00-\\x1f\"\\\\]{0,40}", "\\PC{0,20}"]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(any_text(), inner, 0..8)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn any_fields() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map(any_text(), any_value(), 0..3)
            .prop_map(|fields| fields.into_iter().collect())
    }

    fn any_part() -> impl Strategy<Value = Part> {
        let text = || any_text().prop_map(Text::from);
        let id = CallId { turn: TurnId(u64::MAX), index: u32::MAX };
        let leaf = prop_oneof![
            text().prop_map(|text| Part::Text { text }),
            text().prop_map(|text| Part::Refusal { text }),
            (text(), text()).prop_map(|(mime, url)| Part::Image { mime, source: ImageSource::Url(url) }),
            (text(), text(), any_fields()).prop_map(|(text, field, data)| {
                Part::Reasoning(Reasoning { text, field: Some(field), data })
            }),
            (text(), text(), text(), any_fields()).prop_map(move |(wire_id, name, arguments, extra)| {
                let wire_id = Some(wire_id);
                Part::ToolCall(ToolCall { id, wire_id, name, arguments, complete: false, extra })
            }),
            (text(), any_value()).prop_map(|(kind, data)| Part::Opaque(Opaque { kind, data })),
        ];
        leaf.prop_recursive(2, 16, 4, move |inner| {
            (text(), prop::collection::vec(inner, 0..4)).prop_map(move |(name, content)| {
                let (is_error, synthetic) = (false, false);
                Part::ToolResult(ToolResult { call: id, name, content, is_error, synthetic })
            })
        })
    }

    fn replied(parts: Vec<Part>, odd: &str) -> Event {
        let origin = Origin {
            provider: odd.into(),
            api: odd.into(),
            model: odd.into(),
            response_id: Some(odd.into()),
            stop: StopReason::Unknown(odd.into()),
        };
        Event::ModelReplied {
            iteration: u32::MAX,
            saw: Seq(u64::MAX),
            message: Arc::new(Message { role: Role::Assistant, parts, origin: Some(origin) }),
            usage: None,
            cost: None,
            attempts: 1,
            unanswered: None,
        }
    }

    fn finished(content: Vec<Part>, ui: Option<Value>) -> Event {
        let call = CallId { turn: TurnId(1), index: 0 };
        let result = ToolResult { call, name: "t".into(), content, is_error: false, synthetic: false };
        Event::ToolFinished { result: Arc::new(result), denied: false, ui }
    }

    fn is_counted(event: &Event) -> bool {
        serde_json::to_vec(event).unwrap().len() <= 8 * event.rough_size() + 1024
    }

    proptest! {
        /// So an event whose rough size is small needs not be encoded to know that a store takes it.
        #[test]
        fn no_event_is_more_than_eight_times_as_large_as_it_is_roughly(
            parts in prop::collection::vec(any_part(), 0..8),
            odd in any_text(),
            ui in any_value(),
        ) {
            prop_assert!(is_counted(&replied(parts.clone(), &odd)));
            prop_assert!(is_counted(&finished(parts, Some(ui))));
        }
    }

    #[test]
    fn many_parts_and_values_of_nothing_count_too() {
        let nothing: Vec<Value> =
            (0..1000).flat_map(|_| [json!([]), json!(""), json!({}), json!(1e-300)]).collect();
        let data = Value::from(nothing);
        assert!(is_counted(&replied(vec![Part::Opaque(Opaque { kind: "".into(), data })], "")));
        assert!(is_counted(&finished(vec![Part::text(""); 1000], None)));
        assert!(is_counted(&replied(vec![], &"\u{1}".repeat(10_000))));
    }

    fn nested(levels: usize) -> Value {
        (0..levels)
            .fold(Value::Null, |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) })
    }

    /// One event for each place where a value may be.
    fn events_with(value: &Value) -> Vec<Event> {
        let fields = || Map::from_iter([("f".to_owned(), value.clone())]);
        let output = OutputSchema::new("o", value.clone());
        let mut settings = Settings::new("p", "m", "/");
        settings.answering.output = Some(output.clone());
        let patch = SettingsPatch { output: Some(Some(output)), ..SettingsPatch::default() };
        let queued = |meta: Option<&Value>, settings: Option<&SettingsPatch>| Event::Queued {
            send: "k".into(),
            input: vec![],
            hash: Digest::of(b""),
            meta: meta.cloned().map(Arc::new),
            settings: settings.cloned().map(Arc::new),
        };
        let call = ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: None,
            name: "t".into(),
            arguments: "{}".into(),
            complete: true,
            extra: fields(),
        };
        let opaque = || Part::Opaque(Opaque { kind: "k".into(), data: value.clone() });
        vec![
            Event::SessionStarted { settings: settings.into(), id: None },
            Event::SettingsChanged { patch: patch.clone().into(), tool: None },
            queued(Some(value), None),
            queued(None, Some(&patch)),
            replied(vec![Part::Reasoning(Reasoning { data: fields(), ..Reasoning::default() })], ""),
            replied(vec![Part::ToolCall(call)], ""),
            replied(vec![opaque()], ""),
            finished(vec![opaque()], None),
            finished(vec![], Some(value.clone())),
        ]
    }

    #[test]
    fn what_is_not_too_deep_can_be_read_wherever_it_stands() {
        for event in events_with(&nested(MAX_LEVELS)) {
            assert!(!event.is_too_deep(), "{}", event.kind() as u8);
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        }
        for event in events_with(&nested(MAX_LEVELS + 1)) {
            assert!(event.is_too_deep(), "{}", event.kind() as u8);
        }
    }

    #[test]
    fn results_in_results_are_levels_too() {
        let results = |count: usize| {
            (0..count).fold(vec![], |content, _| {
                let call = CallId { turn: TurnId(1), index: 0 };
                let result =
                    ToolResult { call, name: "t".into(), content, is_error: false, synthetic: false };
                vec![Part::ToolResult(result)]
            })
        };
        assert!(!replied(results(MAX_LEVELS / 2), "").is_too_deep());
        assert!(replied(results(MAX_LEVELS / 2 + 1), "").is_too_deep());
    }
}
