//! The turns of a history as this API takes them: messages that take turns, each of blocks.

use std::borrow::Cow;

use ergane_core::{ErrorKind, ImageSource, Message, Opaque, Part, ProviderError, Reasoning};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire::frozen::Tail;
use crate::wire::history::{Turn, WireCall, WireResult, object_text};

#[derive(Serialize)]
pub(super) struct WireMessage<'a> {
    /// The position of its first turn. It depends on none before it: only on that those are the other role's.
    #[serde(skip)]
    pub(super) cut: Option<usize>,
    role: &'static str,
    content: Vec<Block<'a>>,
}

impl WireMessage<'_> {
    /// Marks the end of this message as the end of what is to be kept.
    pub(super) fn mark(&mut self, mark: &Value) {
        if let Some(last) = self.content.last_mut()
            && !matches!(last.kind, Kind::Thinking { .. } | Kind::RedactedThinking { .. } | Kind::Opaque(_))
        {
            last.cache_control = Some(mark.clone());
        }
    }

    fn begins_with_thinking(&self) -> bool {
        let first = self.content.first();
        first.is_some_and(|block| matches!(block.kind, Kind::Thinking { .. } | Kind::RedactedThinking { .. }))
    }
}

#[derive(Serialize)]
pub(super) struct Block<'a> {
    #[serde(flatten)]
    pub(super) kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<Value>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Kind<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a Value,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        /// Raw: the model's own bytes, with its own order of keys.
        input: Option<&'a RawValue>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    #[serde(untagged)]
    Opaque(&'a Value),
}

impl<'a> From<Kind<'a>> for Block<'a> {
    fn from(kind: Kind<'a>) -> Self {
        Self { kind, cache_control: None }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
}

pub(super) fn text<'a>(text: impl Into<Cow<'a, str>>) -> Block<'a> {
    Kind::Text { text: text.into() }.into()
}

/// The turns as messages that take turns: all results of a round and what the user says after them are one message.
pub(super) fn messages<'a>(tail: &'a Tail<'_, 'a>) -> Result<Vec<WireMessage<'a>>, ProviderError> {
    let mut messages: Vec<WireMessage<'a>> = Vec::with_capacity(tail.turns.len());
    for (at, turn) in tail.turns {
        let (cut, role, content) = match turn {
            Turn::User(message) => (Some(*at), "user", user(message)?),
            Turn::Assistant { message, calls, own, .. } => {
                (Some(*at), "assistant", assistant(message, calls, *own))
            }
            Turn::Results(results) => {
                (None, "user", results.iter().map(result).collect::<Result<Vec<_>, _>>()?)
            }
        };
        if content.is_empty() {
            continue;
        }
        match messages.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            None if role == "assistant" && tail.is_first => {
                // The first word must be a user's.
                messages.push(WireMessage { cut: None, role: "user", content: vec![text("Go on.")] });
                messages.push(WireMessage { cut: None, role, content });
            }
            _ => messages.push(WireMessage { cut, role, content }),
        }
    }
    // Refused at the end of an answer that is to be gone on with.
    if let Some(last) = messages.last_mut()
        && last.role == "assistant"
        && let Some(Block { kind: Kind::Text { text }, .. }) = last.content.last_mut()
    {
        *text = Cow::Owned(text.trim_end().to_owned());
    }
    Ok(messages)
}

pub(super) fn may_begin_to_think(messages: &[WireMessage<'_>]) -> bool {
    let goes_on = messages
        .last()
        .is_some_and(|last| last.content.iter().any(|block| matches!(block.kind, Kind::ToolResult { .. })));
    !goes_on || messages.iter().rev().nth(1).is_some_and(WireMessage::begins_with_thinking)
}

fn user(message: &Message) -> Result<Vec<Block<'_>>, ProviderError> {
    message.parts.iter().filter_map(said).collect()
}

/// A part that a user or a result can have.
fn said(part: &Part) -> Option<Result<Block<'_>, ProviderError>> {
    match part {
        // An empty text is refused, and one of white space alone.
        Part::Text { text: said } if !said.trim().is_empty() => Some(Ok(text(&**said))),
        Part::Image { mime, source } => Some(image(mime, source)),
        _ => None,
    }
}

fn image<'a>(mime: &'a str, source: &'a ImageSource) -> Result<Block<'a>, ProviderError> {
    let source = match source {
        ImageSource::Url(url) => Source::Url { url },
        ImageSource::Base64(data) => {
            if !matches!(mime, "image/jpeg" | "image/png" | "image/gif" | "image/webp") {
                let message =
                    format!("Anthropic takes JPEG, PNG, GIF and WebP images, not {mime}; convert it");
                return Err(ProviderError::new(ErrorKind::Unsupported, message));
            }
            Source::Base64 { media_type: mime, data }
        }
    };
    Ok(Kind::Image { source }.into())
}

/// The message in its own order of parts: thoughts must stand where they stood.
fn assistant<'a>(message: &'a Message, calls: &'a [WireCall<'a>], own: bool) -> Vec<Block<'a>> {
    let mut calls = calls.iter();
    let block = |part: &'a Part| match part {
        Part::Text { text: said } | Part::Refusal { text: said } => {
            // White space alone is refused, too.
            (!said.trim().is_empty()).then(|| text(&**said))
        }
        Part::Reasoning(reasoning) if own => replayed(reasoning),
        Part::Opaque(Opaque { data, .. }) if own && data.is_object() => Some(Kind::Opaque(data).into()),
        Part::ToolCall(call) if call.complete => calls.next().map(|call| {
            let input = serde_json::from_str(object_text(call.call)).ok();
            Kind::ToolUse { id: &call.id, name: &call.name, input }.into()
        }),
        _ => None,
    };
    message.parts.iter().filter_map(block).collect()
}

/// Thoughts go back as they came, also empty ones; but those whose signature was cut off would be refused.
fn replayed(reasoning: &Reasoning) -> Option<Block<'_>> {
    if reasoning.field.as_deref() == Some("redacted_thinking") {
        return reasoning.data.get("data").map(|data| Kind::RedactedThinking { data }.into());
    }
    let signature = reasoning.data.get("signature")?.as_str()?;
    Some(Kind::Thinking { thinking: &reasoning.text, signature }.into())
}

fn result<'a>(result: &'a WireResult<'a>) -> Result<Block<'a>, ProviderError> {
    let mut content = Vec::new();
    if !result.bare_text().trim().is_empty() {
        content.push(text(result.bare_text()));
    }
    for image in result.images.iter().filter_map(|part| said(part)) {
        content.push(image?);
    }
    Ok(Kind::ToolResult { tool_use_id: &result.id, content, is_error: result.is_error }.into())
}
