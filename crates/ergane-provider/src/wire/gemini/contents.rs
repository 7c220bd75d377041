//! The turns of a history as this API takes them: contents that take turns, each of parts.

use std::borrow::Cow;

use ergane_core::{ImageSource, Message, Part};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{PART, SIGNATURE};
use crate::wire::frozen::Tail;
use crate::wire::history::{Turn, WireCall, WireResult, object_text};

/// What stands for the signature of a call that another model made: the newest models refuse a call without any.
pub(super) const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// What a user is made to say when a history begins with the model, which is refused here.
pub(super) const BEGINNING: &str = "Continue.";

const USER: &str = "user";

const MODEL: &str = "model";

#[derive(Serialize)]
pub(super) struct Content<'a> {
    /// The position of its first turn, when none before it could have become a part of it.
    #[serde(skip)]
    pub(super) cut: Option<usize>,
    role: &'static str,
    parts: Vec<WirePart<'a>>,
}

#[derive(Serialize)]
pub(super) struct WirePart<'a> {
    #[serde(flatten)]
    what: What<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    thought: bool,
    #[serde(rename = "thoughtSignature", skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum What<'a> {
    Text(Cow<'a, str>),
    InlineData(InlineData<'a>),
    FileData(FileData<'a>),
    FunctionCall(FunctionCall<'a>),
    FunctionResponse(FunctionResponse<'a>),
    #[serde(untagged)]
    AsItCame(&'a Value),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    mime_type: &'a str,
    file_uri: &'a str,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    args: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct FunctionResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    name: &'a str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Response<'a> {
    Output(&'a str),
    Error(&'a str),
}

impl<'a> WirePart<'a> {
    fn new(what: What<'a>) -> Self {
        Self { what, thought: false, signature: None }
    }

    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::new(What::Text(text.into()))
    }
}

pub(super) fn contents<'a>(tail: &'a Tail<'_, 'a>, model: &str) -> Vec<Content<'a>> {
    let mut contents = Vec::with_capacity(tail.turns.len());
    for (at, turn) in tail.turns {
        push_turn(*at, turn, model, &mut contents);
    }
    if tail.is_first
        && let Some(first) = contents.first_mut()
        && first.role == MODEL
    {
        // Written after something, it would not have this before it.
        first.cut = None;
        contents.insert(0, Content { cut: None, role: USER, parts: vec![WirePart::text(BEGINNING)] });
    }
    contents
}

fn push_turn<'a>(at: usize, turn: &'a Turn<'a>, model: &str, contents: &mut Vec<Content<'a>>) {
    let user = |cut, parts| Content { cut, role: USER, parts };
    match turn {
        Turn::User(message) => {
            contents.push(user(Some(at), message.parts.iter().filter_map(user_part).collect()));
        }
        Turn::Assistant { message, own: true, calls, .. } => {
            push_model(at, own_parts(message, calls, needs_signatures(model)), contents);
        }
        Turn::Assistant { message, own: false, calls, .. } => {
            push_model(at, foreign_parts(message, calls, needs_signatures(model)), contents);
        }
        Turn::Results(results) => {
            contents.push(user(None, results.iter().map(result).collect()));
            // Nothing but results may stand in the turn that answers calls.
            for result in results.iter().filter(|result| !result.images.is_empty()) {
                let mut parts = vec![WirePart::text(result.before_its_images())];
                parts.extend(result.images.iter().filter_map(|part| user_part(part)));
                contents.push(user(None, parts));
            }
        }
    }
}

/// Two turns of the model in a row are one: calls may not follow a turn of the model.
fn push_model<'a>(at: usize, parts: Vec<WirePart<'a>>, contents: &mut Vec<Content<'a>>) {
    match contents.last_mut() {
        Some(last) if last.role == MODEL => last.parts.extend(parts),
        // A turn without parts is refused.
        _ if parts.is_empty() => {}
        _ => contents.push(Content { cut: Some(at), role: MODEL, parts }),
    }
}

fn user_part(part: &Part) -> Option<WirePart<'_>> {
    match part {
        Part::Text { text } => Some(WirePart::text(&**text)),
        Part::Image { mime, source } => Some(image(mime, source)),
        _ => None,
    }
}

fn image<'a>(mime: &'a str, source: &'a ImageSource) -> WirePart<'a> {
    WirePart::new(match source {
        ImageSource::Base64(data) => What::InlineData(InlineData { mime_type: mime, data }),
        ImageSource::Url(url) => What::FileData(FileData { mime_type: mime, file_uri: url }),
    })
}

/// Every part as it came, with its signature: they are checked. A model of the kind that gives its calls ids and signs the
/// first of them may also have written some as text, which have neither.
fn own_parts<'a>(message: &'a Message, calls: &'a [WireCall<'a>], sign: bool) -> Vec<WirePart<'a>> {
    let is_native = |wire: &WireCall| wire.call.wire_id.is_some() || wire.call.extra.contains_key(SIGNATURE);
    let mut unsigned = (sign && !calls.iter().any(is_native)).then_some(NO_SIGNATURE);
    let mut calls = calls.iter();
    let mut parts: Vec<WirePart> = Vec::with_capacity(message.parts.len());
    let mut before: Option<&Part> = None;
    for part in &message.parts {
        match part {
            Part::Text { text } | Part::Refusal { text } if !text.is_empty() => {
                parts.push(WirePart::text(&**text));
            }
            Part::Image { mime, source } => parts.push(image(mime, source)),
            Part::ToolCall(call) if call.complete => {
                let Some(wire) = calls.next() else { continue };
                let signature = call.extra.get(SIGNATURE).and_then(Value::as_str).or(unsigned.take());
                parts.push(WirePart { signature, ..call_part(wire) });
            }
            Part::Reasoning(reasoning) => parts.push(WirePart {
                thought: true,
                signature: reasoning.data.get(SIGNATURE).and_then(Value::as_str),
                ..WirePart::text(&*reasoning.text)
            }),
            Part::Opaque(opaque) if *opaque.kind == *SIGNATURE => {
                // It is of no other part than a text or an image, which may be gone: a call was made of all of the text.
                let signed =
                    before.is_some_and(|part| matches!(part, Part::Text { .. } | Part::Image { .. }));
                if let Some(previous) = parts.last_mut().filter(|_| signed) {
                    previous.signature = opaque.data.as_str();
                }
            }
            Part::Opaque(opaque) if *opaque.kind == *PART => {
                parts.push(WirePart::new(What::AsItCame(&opaque.data)));
            }
            _ => {}
        }
        before = Some(part);
    }
    parts
}

/// Texts and calls; what another model thought stays at home.
fn foreign_parts<'a>(message: &'a Message, calls: &'a [WireCall<'a>], sign: bool) -> Vec<WirePart<'a>> {
    let mut parts: Vec<WirePart> = message
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Text { text } | Part::Refusal { text } if !text.is_empty() => Some(WirePart::text(&**text)),
            Part::Image { mime, source } => Some(image(mime, source)),
            _ => None,
        })
        .collect();
    let mut signature = sign.then_some(NO_SIGNATURE);
    parts.extend(calls.iter().map(|call| WirePart { signature: signature.take(), ..call_part(call) }));
    parts
}

/// Whether the model refuses calls without a signature. Its elders do not know the sentinel.
fn needs_signatures(model: &str) -> bool {
    !["gemini-1", "gemini-2"].iter().any(|old| model.contains(old))
}

/// An id goes back only if one came; without, calls and results match by their order.
fn call_part<'a>(call: &'a WireCall<'a>) -> WirePart<'a> {
    WirePart::new(What::FunctionCall(FunctionCall {
        id: call.given.then_some(&*call.id),
        name: &call.name,
        // Raw: the model's own bytes, with its own order of keys.
        args: serde_json::from_str(object_text(call.call)).ok(),
    }))
}

fn result<'a>(result: &'a WireResult<'a>) -> WirePart<'a> {
    let text = result.bare_text();
    WirePart::new(What::FunctionResponse(FunctionResponse {
        id: result.given.then_some(&*result.id),
        name: &result.name,
        response: if result.is_error { Response::Error(text) } else { Response::Output(text) },
    }))
}
