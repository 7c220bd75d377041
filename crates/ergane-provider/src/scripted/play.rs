//! Plays one reply as a server would: in pieces, with pauses, and with its silence measured.

use std::time::Duration;

use ergane_core::{
    CallId, ErrorKind, Message, ModelReply, Origin, Part, ProviderError, Reasoning, Role, StopReason,
    ToolCall,
};
use serde_json::{Map, Value};

use super::script::ScriptedReply;
use crate::provider::{Delta, ProviderCall};

/// How long a piece of a streamed text is, in characters.
const PIECE: usize = 16;

pub(super) async fn play(
    reply: ScriptedReply,
    attempt: u32,
    call: ProviderCall,
) -> Result<ModelReply, ProviderError> {
    let chunk_delay = Duration::from_millis(reply.chunk_delay_ms);
    pause(Duration::from_millis(reply.delay_ms), &call, false).await?;
    if let Some(error) = reply.error_at(attempt) {
        show(error.after_text.as_deref().unwrap_or_default(), Delta::Text, chunk_delay, &call).await?;
        return Err(error.to_error());
    }
    show(reply.reasoning.as_deref().unwrap_or_default(), Delta::Reasoning, chunk_delay, &call).await?;
    if let Some(partial) = &reply.cut_after {
        show(partial, Delta::Text, chunk_delay, &call).await?;
        let error = ProviderError::new(ErrorKind::StreamCut, "the script cuts the answer off here");
        return Err(ProviderError { after_output: !partial.is_empty(), ..error });
    }
    show(reply.text.as_deref().unwrap_or_default(), Delta::Text, chunk_delay, &call).await?;
    if reply.hang {
        tokio::time::sleep(call.idle_timeout).await;
        return Err(silent(&call, reply.text.is_some()));
    }
    for scripted in &reply.tool_calls {
        send(&call, Delta::ToolCall { name: scripted.name.as_str().into() });
    }
    Ok(finish(reply, &call))
}

fn send(call: &ProviderCall, delta: Delta) {
    if call.request.stream {
        call.deltas.send(delta);
    }
}

async fn show(
    text: &str,
    delta: fn(ergane_core::Text) -> Delta,
    between: Duration,
    call: &ProviderCall,
) -> Result<(), ProviderError> {
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.char_indices().nth(PIECE).map_or(rest.len(), |(at, _)| at);
        let (piece, tail) = rest.split_at(end);
        send(call, delta(piece.into()));
        rest = tail;
        pause(between, call, true).await?;
    }
    Ok(())
}

async fn pause(length: Duration, call: &ProviderCall, after_output: bool) -> Result<(), ProviderError> {
    if length.is_zero() {
        return Ok(());
    }
    tokio::time::sleep(length.min(call.idle_timeout)).await;
    if length > call.idle_timeout { Err(silent(call, after_output)) } else { Ok(()) }
}

fn silent(call: &ProviderCall, after_output: bool) -> ProviderError {
    let message = format!("the script said nothing for {:?}", call.idle_timeout);
    ProviderError { after_output, ..ProviderError::new(ErrorKind::Timeout, message) }
}

fn finish(reply: ScriptedReply, call: &ProviderCall) -> ModelReply {
    let (usage, cost) = (reply.tokens(), reply.cost());
    let stop = match reply.stop {
        Some(stop) => stop,
        None if reply.tool_calls.is_empty() => StopReason::Stop,
        None => StopReason::ToolCalls,
    };
    let complete = matches!(stop, StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls);
    let mut parts = Vec::new();
    if let Some(text) = reply.reasoning {
        let field = Some("reasoning".into());
        parts.push(Part::Reasoning(Reasoning { text: text.into(), field, data: Map::new() }));
    }
    match reply.text {
        Some(text) if stop == StopReason::Refusal => parts.push(Part::Refusal { text: text.into() }),
        Some(text) => parts.push(Part::text(text)),
        None => {}
    }
    for scripted in reply.tool_calls {
        let arguments = match scripted.arguments {
            Value::String(raw) => raw,
            Value::Null => "{}".to_owned(),
            value => value.to_string(),
        };
        parts.push(Part::ToolCall(ToolCall {
            id: CallId::UNNUMBERED,
            wire_id: None,
            name: scripted.name.into(),
            arguments: arguments.into(),
            complete,
            extra: Map::new(),
        }));
    }
    let origin = Origin {
        provider: call.provider.clone(),
        api: "scripted".into(),
        model: if call.request.model.is_empty() { "scripted".into() } else { call.request.model.clone() },
        response_id: None,
        stop,
    };
    ModelReply { message: Message { role: Role::Assistant, parts, origin: Some(origin) }, usage, cost }
}
