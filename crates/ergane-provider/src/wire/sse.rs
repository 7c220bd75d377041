//! What every format of server-sent events has in common: the body is an error, one JSON value or a stream; a stream is
//! cut into events; after the terminal event nothing more is taken.

use ergane_core::ProviderError;
use serde_json::Value;

use super::assembly::Assembly;
use super::body::{Body, Plan};
use super::classify::{WireError, no_json, protocol, stream_cut, stream_error};
use super::frame::{SseDecoder, SseItem};
use super::work::looked_at;
use super::{CallInfo, Head, StreamEvent};

/// Whether a piece of an answer was understood; what its JSON is not, when it was not.
pub(crate) type Read = Result<(), serde_json::Error>;

/// What a format makes of the pieces of an answer.
pub(crate) trait Format {
    /// The reply that is being put together.
    fn reply(&mut self) -> &mut Assembly;

    /// The same, to look at.
    fn so_far(&self) -> &Assembly;

    /// An event, with its name (empty when it has none). `Err` says what its data is not.
    fn event(&mut self, name: &str, data: &str, events: &mut Vec<StreamEvent>) -> Read;

    /// `[DONE]` has come. Only one format has such an end; elsewhere it is sent by servers that speak that format too.
    fn done(&mut self, _: &mut Vec<StreamEvent>) {}

    /// An answer in one piece. `Err` says what the JSON is not.
    fn whole(&mut self, body: &[u8], events: &mut Vec<StreamEvent>) -> Read;

    /// The stream is over, and no event has ended the reply: finishes it if it is proved complete.
    fn end_of_stream(&mut self, events: &mut Vec<StreamEvent>);

    /// What it means that nothing came at all: no event, or no body with this status. `None` where that is no more than it looks like.
    fn nothing(&self, _: Option<u16>) -> Option<ProviderError> {
        None
    }

    /// The reply is about to fail: what has come of it and is kept elsewhere is put into it.
    fn before_failure(&mut self) {}
}

/// The decoder of a [`Format`].
#[derive(Debug)]
pub(crate) struct SseReply<F> {
    body: Body<SseDecoder>,
    /// Whether any byte has come.
    begun: bool,
    format: F,
}

impl<F: Format> SseReply<F> {
    pub(crate) fn new(call: &CallInfo, head: Head, format: F) -> Self {
        let plan = match head.media_type().as_str() {
            "text/event-stream" => Plan::Events,
            _ => Plan::Sniff,
        };
        Self { body: Body::new(call, head, plan, SseDecoder::new), begun: false, format }
    }

    fn fail(&mut self, error: ProviderError, events: &mut Vec<StreamEvent>) {
        self.format.before_failure();
        self.format.reply().fail(error, events);
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        if self.format.reply().is_over() {
            return;
        }
        self.begun |= !bytes.is_empty();
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
            Err(error) => {
                let nothing = error.status.filter(|_| !self.begun && broken.is_none());
                let means = nothing.and_then(|status| self.format.nothing(Some(status)));
                self.fail(means.unwrap_or(error), events);
            }
            Ok(Some(whole)) => self.whole(&whole, broken, events),
            Ok(None) => {
                self.take(items, events);
                self.end_of_stream(broken, events);
            }
        }
    }

    pub(crate) fn model(&self) -> Option<&str> {
        self.format.so_far().model()
    }

    fn take(&mut self, items: Vec<SseItem>, events: &mut Vec<StreamEvent>) {
        for item in items {
            if self.format.reply().is_over() {
                return;
            }
            match item {
                SseItem::Event { name, data } => match data.trim() {
                    "" => {}
                    "[DONE]" => self.format.done(events),
                    data => self.event(&name, data, events),
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

    fn event(&mut self, name: &str, data: &str, events: &mut Vec<StreamEvent>) {
        looked_at(data.len());
        if let Some(error) = listed(data) {
            let error = stream_error(&self.format.reply().call, &error);
            return self.fail(error, events);
        }
        let Err(error) = self.format.event(name, data, events) else {
            let reply = self.format.reply();
            if let Some(error) = reply.excess() {
                self.fail(error, events);
            }
            return;
        };
        let call = &self.format.reply().call;
        let error = match name {
            "error" => stream_error(call, &WireError::in_body(data.as_bytes(), &call.redactor)),
            _ => protocol(call, &format!("an event is not what it should be ({error})")),
        };
        self.fail(error, events);
    }

    fn whole(&mut self, body: &[u8], broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        looked_at(body.len());
        let Err(error) = self.format.whole(body, events) else { return };
        let reply = self.format.reply();
        let error = match broken {
            Some(broken) => broken,
            None if error.is_eof() => stream_cut(&reply.call, "the JSON of the answer is not complete"),
            None => no_json(&reply.call, &error, body),
        };
        self.fail(error, events);
    }

    fn end_of_stream(&mut self, broken: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        if self.format.reply().is_over() {
            return;
        }
        self.format.end_of_stream(events);
        let reply = self.format.so_far();
        if reply.is_over() {
            return;
        }
        let nothing = reply.is_empty() && broken.is_none();
        if let Some(error) = nothing.then(|| self.format.nothing(None)).flatten() {
            return self.fail(error, events);
        }
        let reply = self.format.reply();
        let how = if reply.is_empty() {
            "it ended without any output (some servers do so when the prompt exceeds the context window)"
        } else {
            "the connection ended before the server said why it stopped"
        };
        let error = broken.unwrap_or_else(|| stream_cut(&reply.call, how));
        self.fail(error, events);
    }
}

/// The error that a list holds: no event of any format is a list, but Google wraps errors so.
fn listed(data: &str) -> Option<WireError> {
    let list = data.starts_with('[').then(|| serde_json::from_str::<Value>(data).ok())??;
    WireError::in_json(&list)
}

/// Makes a decoder of the [`SseReply`] that it holds and hides.
macro_rules! forward_decoder {
    ($decoder:ty) => {
        impl crate::wire::Decoder for $decoder {
            fn feed(&mut self, bytes: &[u8], events: &mut Vec<crate::wire::StreamEvent>) {
                self.0.feed(bytes, events);
            }

            fn end(
                &mut self,
                broken: Option<ergane_core::ProviderError>,
                events: &mut Vec<crate::wire::StreamEvent>,
            ) {
                self.0.end(broken, events);
            }

            fn model(&self) -> Option<&str> {
                self.0.model()
            }
        }
    };
}

pub(crate) use forward_decoder;

#[cfg(test)]
mod tests {
    use ergane_core::{ErrorKind, ProviderError};

    use crate::wire::testing::{failure, run, run_every_way};
    use crate::wire::{CallInfo, Decoder, Head, Redactor, anthropic, gemini, ollama, openai, responses};

    /// What each format makes of the same stream.
    fn failures(body: &str) -> [(ErrorKind, String); 4] {
        let head = Head::new(200, "text/event-stream");
        let told = |events: Vec<_>| {
            let (error, _) = failure(&events);
            (error.kind, error.message.to_string())
        };
        [
            told(run_every_way(anthropic::Decoder::new, &head, body.as_bytes())),
            told(run_every_way(gemini::Decoder::new, &head, body.as_bytes())),
            told(run_every_way(openai::Decoder::new, &head, body.as_bytes())),
            told(run_every_way(responses::Decoder::new, &head, body.as_bytes())),
        ]
    }

    #[test]
    fn an_event_that_is_an_error_says_its_words_in_every_format() {
        for (kind, message) in failures("event: error\ndata: upstream is overloaded\n\n") {
            assert_eq!(kind, ErrorKind::Overloaded, "{message}");
            assert!(message.contains("upstream is overloaded"), "{message}");
        }
        for (kind, message) in failures("event: error\ndata: {\"error\":{\"message\":\"slow_down\"}}\n\n") {
            assert_eq!(kind, ErrorKind::RateLimited, "{message}");
        }
    }

    #[test]
    fn an_event_that_cannot_be_read_is_nonsense_and_done_alone_proves_nothing() {
        for (kind, message) in failures("data: {nonsense\n\n") {
            assert_eq!(kind, ErrorKind::Protocol, "{message}");
        }
        for (kind, message) in failures("data: [DONE]\n\n") {
            assert_eq!(kind, ErrorKind::StreamCut, "{message}");
        }
    }

    /// How a call fails whose answer is `body`, with the key that it was made with.
    fn failure_of<D: Decoder>(new: fn(CallInfo, Head) -> D, body: &str) -> ProviderError {
        let head = Head::new(200, "text/event-stream");
        let redactor = Redactor::new([secrecy::SecretString::from(KEY)]);
        let new = |call: CallInfo, head| new(CallInfo { redactor: redactor.clone(), ..call }, head);
        failure(&run(new, &head, &[body.as_bytes()])).0.clone()
    }

    const KEY: &str = "sk-planted-key";

    #[test]
    fn neither_an_error_nor_what_cannot_be_read_tells_a_key_or_is_quoted_at_length() {
        let (x, long) = ("x", "x".repeat(30_000));
        let of_wrong_type = ["choices", "candidates", "delta", "message", "error"]
            .map(|field| format!("\"{field}\":\"{KEY}{long}\""));
        for body in [
            format!("data: \"Authorization: Bearer {KEY}\"\n\n"),
            format!("data: {{\"type\":\"error\",{}}}\n\n", of_wrong_type.join(",")),
            format!("event: error\ndata: {}{KEY} and more\n\n", x.repeat(490)),
            format!(
                "event: error\ndata: {{\"error\":{{\"message\":\"{}{KEY}{long}\"}}}}\n\n",
                x.repeat(1990)
            ),
            format!("{{\"error\":{{\"message\":\"{KEY}\",\"code\":\"{}{KEY}{long}\"}}}}\n\n", x.repeat(190)),
        ] {
            for error in [
                failure_of(anthropic::Decoder::new, &body),
                failure_of(gemini::Decoder::new, &body),
                failure_of(openai::Decoder::new, &body),
                failure_of(responses::Decoder::new, &body),
                failure_of(
                    ollama::Decoder::new,
                    body.trim_start_matches("event: error\n").trim_start_matches("data: "),
                ),
            ] {
                let told = format!("{error} {error:?}");
                assert!(!told.contains("sk-pl") && told.len() < 8000, "{} {told:.300}", told.len());
            }
        }
    }
}
