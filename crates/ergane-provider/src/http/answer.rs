//! An answer as it comes in: its pieces, how long they may keep one waiting, and what their breaking off means.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use ergane_core::{ModelReply, ProviderError};
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::root_cause;
use crate::provider::Delta;
use crate::wire::{CallInfo, Decoder, StreamEvent};

/// The most that one answer may have on the wire, keep-alives included: 128 MiB.
const MAX_ANSWER: usize = 128 * 1024 * 1024;

/// Where the pieces of a body come from.
pub(super) trait Body: Send {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ProviderError>> + Send;
}

pub(super) struct Answer<'a> {
    pub(super) response: Response,
    pub(super) info: &'a CallInfo,
}

impl Body for Answer<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        self.response.chunk().await.map_err(|error| broke_off(&error, self.info))
    }
}

/// A body that is cut off when it does not end: an answer is built up in memory.
pub(super) struct Bounded<'a, B> {
    pub(super) body: B,
    pub(super) left: usize,
    pub(super) info: &'a CallInfo,
}

impl<'a, B> Bounded<'a, B> {
    pub(super) fn of(body: B, info: &'a CallInfo) -> Self {
        Self { body, left: MAX_ANSWER, info }
    }
}

impl<B: Body> Body for Bounded<'_, B> {
    async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let piece = self.body.next().await?;
        let size = piece.as_ref().map_or(0, Bytes::len);
        match self.left.checked_sub(size) {
            Some(left) => self.left = left,
            None => return Err(crate::wire::protocol_error(self.info, "it does not end")),
        }
        Ok(piece)
    }
}

/// How long nothing may come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Before the first byte of the body, the wait for the head included.
    pub(super) first: Duration,
    /// When the server was asked, until that byte is there.
    pub(super) begun: Option<Instant>,
    /// From then on.
    pub(super) idle: Duration,
}

impl Silence {
    /// How long it may last, and how much longer.
    fn left(&self) -> (Duration, Duration) {
        match self.begun {
            Some(begun) => (self.first, self.first.saturating_sub(begun.elapsed())),
            None => (self.idle, self.idle),
        }
    }
}

/// Decodes a body until its terminal event. Any piece, a keep-alive too, is a sign of life; more silence than there may be
/// is the end.
pub(super) async fn receive(
    mut body: impl Body,
    decoder: &mut impl Decoder,
    mut silence: Silence,
    silent: impl Fn(Duration) -> ProviderError,
    show: impl Fn(Delta),
) -> Result<ModelReply, ProviderError> {
    let mut events = Vec::new();
    loop {
        let (limit, left) = silence.left();
        match timeout(left, body.next()).await {
            Ok(Ok(Some(bytes))) => {
                if !bytes.is_empty() {
                    silence.begun = None;
                }
                decoder.feed(&bytes, &mut events);
            }
            Ok(Ok(None)) => decoder.end(None, &mut events),
            Ok(Err(error)) => decoder.end(Some(error), &mut events),
            Err(_) => decoder.end(Some(silent(limit)), &mut events),
        }
        for event in events.drain(..) {
            match event {
                StreamEvent::Text(text) => show(Delta::Text(text)),
                StreamEvent::Reasoning(text) => show(Delta::Reasoning(text)),
                StreamEvent::ToolCall { name } => show(Delta::ToolCall { name }),
                StreamEvent::Finish(reply) => return Ok(reply),
                StreamEvent::Failed { error, partial: _ } => return Err(error),
            }
        }
    }
}

pub(super) fn broke_off(error: &reqwest::Error, info: &CallInfo) -> ProviderError {
    let cause = root_cause(error);
    if is_nonsense(error) {
        return crate::wire::protocol_error(info, &format!("its compression or framing is broken ({cause})"));
    }
    crate::wire::cut_error(info, &cause)
}

/// Whether the bytes that came were wrong. All else is bytes that did not come.
fn is_nonsense(error: &reqwest::Error) -> bool {
    fn kind_of(error: &(dyn Error + 'static)) -> Option<std::io::ErrorKind> {
        error.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    }
    // A decompressor's own error stands right below; what the connection said stands deeper.
    if let Some(kind) = error.source().and_then(kind_of)
        && error.is_decode()
    {
        return kind != std::io::ErrorKind::UnexpectedEof;
    }
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if matches!(kind_of(error), Some(std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput))
        {
            return true;
        }
        cause = error.source();
    }
    false
}
