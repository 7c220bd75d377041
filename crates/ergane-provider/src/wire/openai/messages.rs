//! The turns of a history as messages of Chat Completions, in the dialect that the flags describe.

use std::borrow::Cow;

use ergane_core::{ErrorKind, ImageSource, Message, Part, ProviderError, Reasoning};
use serde::Serialize;
use serde_json::{Map, Value};

use super::compat::{Compat, ImageStyle, ReasoningReplay};
use crate::wire::frozen::{Out, Tail};
use crate::wire::history::{Turn, WireCall, WireResult, object_text, texts};

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum WireMessage<'a> {
    Text {
        role: &'static str,
        content: Content<'a>,
    },
    Assistant {
        role: &'static str,
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireToolCall<'a>>,
        #[serde(flatten)]
        replayed: Map<String, Value>,
    },
    Tool {
        role: &'static str,
        tool_call_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        content: &'a str,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<ContentPart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentPart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct WireToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireFunction<'a>,
    #[serde(flatten)]
    replayed: Option<&'a Map<String, Value>>,
}

#[derive(Serialize)]
pub(super) struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

pub(super) fn messages(tail: &Tail<'_, '_>, flags: &Compat, out: &mut Out) -> Result<(), ProviderError> {
    let mut after_results = false;
    for (at, turn) in tail.turns {
        match turn {
            Turn::User(message) => {
                let settled = after_results && settle(flags, out);
                out.push((!settled).then_some(*at), &user(message, flags)?);
            }
            Turn::Assistant { text, reasoning, calls, .. } => {
                let mut replayed = match flags.reasoning_replay {
                    ReasoningReplay::Never => Map::new(),
                    ReasoningReplay::SameTurn if *at < tail.seen.last_user => Map::new(),
                    _ => replay(reasoning),
                };
                if flags.reasoning_replay == ReasoningReplay::Required
                    && tail.seen.calls
                    && replayed.is_empty()
                {
                    replayed.insert("reasoning_content".to_owned(), "".into());
                }
                out.push(Some(*at), &assistant(text, calls, replayed));
            }
            Turn::Results(results) => {
                after_results = push_results(results, flags, out)?;
                continue;
            }
        }
        after_results = false;
    }
    Ok(())
}

/// Puts something of the assistant between results and what the user says next, where a server insists on it.
fn settle(flags: &Compat, out: &mut Out) -> bool {
    if flags.assistant_after_results {
        let content = Some("I have the results.");
        let (tool_calls, replayed) = (Vec::new(), Map::new());
        out.push(None, &WireMessage::Assistant { role: "assistant", content, tool_calls, replayed });
    }
    flags.assistant_after_results
}

fn user<'a>(message: &'a Message, flags: &Compat) -> Result<WireMessage<'a>, ProviderError> {
    let has_images = message.parts.iter().any(|part| matches!(part, Part::Image { .. }));
    // Texts alone go as one string: every server takes that, not every one a list.
    let content = match has_images {
        true => Content::Parts(content_parts(message.parts.iter(), flags)?),
        false => Content::Text(texts(message)),
    };
    Ok(WireMessage::Text { role: "user", content })
}

fn content_parts<'a>(
    parts: impl Iterator<Item = &'a Part>,
    flags: &Compat,
) -> Result<Vec<ContentPart<'a>>, ProviderError> {
    parts.filter_map(|part| content_part(part, flags)).collect()
}

fn content_part<'a>(part: &'a Part, flags: &Compat) -> Option<Result<ContentPart<'a>, ProviderError>> {
    let (mime, source) = match part {
        Part::Text { text } => return Some(Ok(ContentPart::Text { text: Cow::Borrowed(text) })),
        Part::Image { mime, source } => (mime, source),
        _ => return None,
    };
    let refused = |what: String| Some(Err(ProviderError::new(ErrorKind::Unsupported, what)));
    let url = match (source, flags.images) {
        (_, ImageStyle::None) => return refused("this server takes no images; leave them out".to_owned()),
        (ImageSource::Url(url), ImageStyle::Bytes) => {
            return refused(format!("this server cannot fetch images; send the bytes of {url} instead"));
        }
        (ImageSource::Url(url), ImageStyle::Any) => Cow::Borrowed(&**url),
        (ImageSource::Base64(data), _) => Cow::Owned(format!("data:{mime};base64,{data}")),
    };
    Some(Ok(ContentPart::ImageUrl { image_url: ImageUrl { url } }))
}

/// Thoughts go back under the names they came by.
fn replay(reasoning: &[&Reasoning]) -> Map<String, Value> {
    let mut replayed = Map::new();
    for reasoning in reasoning {
        if let Some(field) = &reasoning.field {
            replayed.insert(field.to_string(), Value::from(&*reasoning.text));
        }
        replayed.extend(reasoning.data.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    for taken in ["role", "content", "tool_calls"] {
        replayed.remove(taken);
    }
    replayed
}

fn assistant<'a>(text: &'a str, calls: &'a [WireCall<'a>], replayed: Map<String, Value>) -> WireMessage<'a> {
    let tool_calls = calls
        .iter()
        .map(|call| WireToolCall {
            id: &call.id,
            r#type: "function",
            function: WireFunction { name: &call.name, arguments: object_text(call.call) },
            replayed: call.own.then_some(&call.call.extra),
        })
        .collect();
    let content = if text.is_empty() && !calls.is_empty() { None } else { Some(text) };
    WireMessage::Assistant { role: "assistant", content, tool_calls, replayed }
}

/// Whether the last message is a result.
fn push_results(results: &[WireResult<'_>], flags: &Compat, out: &mut Out) -> Result<bool, ProviderError> {
    for result in results {
        let name = flags.result_name.then_some(&*result.name);
        let (tool_call_id, content) = (&*result.id, &*result.text);
        out.push(None, &WireMessage::Tool { role: "tool", tool_call_id, name, content });
    }
    // Tool messages take text only. All results come first: nothing may stand between calls and their results.
    let mut after_results = true;
    for result in results.iter().filter(|result| !result.images.is_empty()) {
        if after_results {
            settle(flags, out);
        }
        let lead = Cow::Owned(result.before_its_images());
        let mut parts = vec![ContentPart::Text { text: lead }];
        parts.extend(content_parts(result.images.iter().copied(), flags)?);
        out.push(None, &WireMessage::Text { role: "user", content: Content::Parts(parts) });
        after_results = false;
    }
    Ok(after_results)
}
