//! What every format of server-sent events has in common: the body is an error, one JSON value or a stream; a stream is
//! cut into events; after the terminal event nothing more is taken.

use ergane_core::ProviderError;

use super::assembly::Assembly;
use super::body::{Body, Plan};
use super::classify::{WireError, protocol, stream_cut, stream_error};
use super::frame::{SseDecoder, SseItem};
use super::{CallInfo, Head, StreamEvent};

/// What a format makes of the pieces of an answer.
pub(crate) trait Format {
    /// The reply that is being put together.
    fn reply(&mut self) -> &mut Assembly;

    /// An event, with its name (empty when it has none).
    fn event(&mut self, name: &str, data: &str, events: &mut Vec<StreamEvent>);

    /// An answer in one piece. `Err` says what the JSON is not.
    fn whole(&mut self, body: &[u8], events: &mut Vec<StreamEvent>) -> Result<(), serde_json::Error>;

    /// The stream is over, and no event has ended the reply: finishes it if it is proved complete.
    fn end_of_stream(&mut self, events: &mut Vec<StreamEvent>);

    /// The reply is about to fail: what has come of it and is kept elsewhere is put into it.
    fn before_failure(&mut self) {}
}

/// The decoder of a [`Format`].
#[derive(Debug)]
pub(crate) struct SseReply<F> {
    body: Body<SseDecoder>,
    format: F,
}

impl<F: Format> SseReply<F> {
    pub(crate) fn new(call: &CallInfo, head: Head, format: F) -> Self {
        let plan = match head.media_type().as_str() {
            "text/event-stream" => Plan::Stream,
            _ => Plan::Sniff,
        };
        Self { body: Body::new(call, head, plan, SseDecoder::new), format }
    }

    fn fail(&mut self, error: ProviderError, events: &mut Vec<StreamEvent>) {
        self.format.before_failure();
        self.format.reply().fail(error, events);
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        if self.format.reply().is_over() {
            return;
        }
        let mut items = Vec::new();
        let fed = self.body.feed(bytes, |decoder, bytes| decoder.feed(bytes, &mut items));
        self.take(items, events);
        if let Err(error) = fed {
            self.fail(error, events);
        }
    }

    pub(crate) fn end(&mut self, broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        if self.format.reply().is_over() {
            return;
        }
        let mut items = Vec::new();
        let ended = self.body.end(&broken, |decoder| {
            decoder.end(&mut items);
            Ok(())
        });
        match ended {
            Err(error) => self.fail(error, events),
            Ok(Some(whole)) => self.whole(&whole, broken, events),
            Ok(None) => {
                self.take(items, events);
                self.end_of_stream(broken, events);
            }
        }
    }

    fn take(&mut self, items: Vec<SseItem>, events: &mut Vec<StreamEvent>) {
        for item in items {
            if self.format.reply().is_over() {
                return;
            }
            match item {
                SseItem::Event { name, data } => match data.trim() {
                    "" => {}
                    data => self.format.event(&name, data, events),
                },
                SseItem::Residue(text) => {
                    if let Some(error) =
                        serde_json::from_str(&text).ok().as_ref().and_then(WireError::in_json)
                    {
                        let error = stream_error(&self.format.reply().call, &error);
                        self.fail(error, events);
                    }
                }
            }
        }
    }

    fn whole(&mut self, body: &[u8], broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        let Err(error) = self.format.whole(body, events) else { return };
        let reply = self.format.reply();
        let error = match broken {
            Some(broken) => broken,
            None if error.is_eof() => stream_cut(&reply.call, "the JSON of the answer is not complete"),
            None => protocol(&reply.call, &format!("it is not JSON ({error})")),
        };
        self.fail(error, events);
    }

    fn end_of_stream(&mut self, broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        if self.format.reply().is_over() {
            return;
        }
        self.format.end_of_stream(events);
        let reply = self.format.reply();
        if reply.is_over() {
            return;
        }
        let how = if reply.is_empty() {
            "it ended without any output (some servers do so when the prompt exceeds the context window)"
        } else {
            "the connection ended before the server said why it stopped"
        };
        let error = broken.unwrap_or_else(|| stream_cut(&reply.call, how));
        self.fail(error, events);
    }
}
