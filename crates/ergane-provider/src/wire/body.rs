//! What every answer has in common before its format begins: it may be an error, a web page, one JSON value although a
//! stream was asked for, or a stream.

use ergane_core::ProviderError;

use super::classify::{http_error, protocol, web_page};
use super::frame::FrameError;
use super::work::looked_at;
use super::{CallInfo, Head, MAX_ERROR_BODY, MAX_EVENT};

/// How a successful body is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// A stream.
    Stream,
    /// A stream of events, the server says, which is believed unless JSON or a web page begins.
    Events,
    /// A stream of events or one JSON value, as the first bytes show.
    Sniff,
}

impl Plan {
    /// Whether `begin`, the first bytes behind white space, begins a stream of events; `None` while more must come.
    fn is_stream(self, begin: &[u8]) -> Option<bool> {
        const FIELDS: [&[u8]; 4] = [b"data", b"event", b"id", b"retry"];
        let first = begin.first()?;
        match self {
            Self::Stream => Some(true),
            Self::Events => Some(!matches!(first, b'{' | b'[' | b'<')),
            Self::Sniff if *first == b':' => Some(true),
            Self::Sniff => {
                let behind = |field: &&[u8]| begin.strip_prefix(*field).map(|rest| rest.first());
                match FIELDS.iter().find_map(behind) {
                    Some(end) => end.map(|end| matches!(end, b':' | b'\n' | b'\r')),
                    None if FIELDS.iter().any(|field| field.starts_with(begin)) => None,
                    None => Some(false),
                }
            }
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What may stand before the first byte of a body: keep-alives, and the mark of UTF-8. `None` while that mark may be begun.
fn begin(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.trim_ascii_start();
    match bytes.strip_prefix(BOM) {
        Some(rest) => Some(rest.trim_ascii_start()),
        None if !bytes.is_empty() && BOM.starts_with(bytes) => None,
        None => Some(bytes),
    }
}

/// The body of one answer, with `D` to cut a stream.
#[derive(Debug)]
pub(crate) struct Body<D> {
    call: CallInfo,
    head: Head,
    mode: Mode<D>,
    new_decoder: fn() -> D,
}

#[derive(Debug)]
enum Mode<D> {
    Refused(ProviderError),
    Error(Vec<u8>),
    /// With what has come before it is known.
    Sniff(Plan, Vec<u8>),
    Whole(Vec<u8>),
    Stream(D),
}

impl<D> Body<D> {
    pub(crate) fn new(call: &CallInfo, head: Head, plan: Plan, new_decoder: fn() -> D) -> Self {
        let mode = match head.header("content-encoding").map(str::trim) {
            // What the client can undo it has undone, and the header is gone.
            Some(encoding) if !matches!(encoding, "" | "identity") => Mode::Refused(protocol(
                call,
                &format!("its encoding is {encoding:?}, which was not asked for"),
            )),
            _ if !head.is_success() => Mode::Error(Vec::new()),
            _ if matches!(head.media_type().as_str(), "text/html" | "application/xhtml+xml") => {
                Mode::Refused(web_page(call))
            }
            _ if plan == Plan::Stream => Mode::Stream(new_decoder()),
            _ => Mode::Sniff(plan, Vec::new()),
        };
        Self { call: call.clone(), head, mode, new_decoder }
    }

    /// Takes bytes; those of a stream go to `stream`. An error is final.
    pub(crate) fn feed(
        &mut self,
        bytes: &[u8],
        stream: impl FnOnce(&mut D, &[u8]) -> Result<(), FrameError>,
    ) -> Result<(), ProviderError> {
        let seen;
        let mut bytes = bytes;
        if let Mode::Sniff(plan, before) = &mut self.mode {
            before.extend_from_slice(bytes);
            looked_at(before.len());
            let Some(known) = begin(before) else { return Ok(()) };
            let Some(is_stream) = plan.is_stream(known) else {
                // Keep-alives are not kept.
                *before = known.to_vec();
                return Ok(());
            };
            let is_page = known.first() == Some(&b'<');
            seen = known.to_vec();
            bytes = &seen;
            self.mode = match is_stream {
                true => Mode::Stream((self.new_decoder)()),
                false if is_page => Mode::Refused(web_page(&self.call)),
                false => Mode::Whole(Vec::new()),
            };
        }
        looked_at(bytes.len());
        match &mut self.mode {
            Mode::Refused(error) => Err(error.clone()),
            Mode::Error(body) => {
                let room = MAX_ERROR_BODY.saturating_sub(body.len());
                body.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
                if body.len() >= MAX_ERROR_BODY {
                    Err(http_error(&self.call, &self.head, body))
                } else {
                    Ok(())
                }
            }
            Mode::Sniff(..) => Ok(()),
            Mode::Whole(body) if body.len() + bytes.len() > MAX_EVENT => {
                Err(protocol(&self.call, &FrameError::TooLarge.to_string()))
            }
            Mode::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Mode::Stream(decoder) => {
                stream(decoder, bytes).map_err(|error| protocol(&self.call, &error.to_string()))
            }
        }
    }

    /// The body is over. Gives back a whole one; `None` says that it was a stream (or empty), whose rest `stream` takes.
    pub(crate) fn end(
        &mut self,
        broken: &Option<ProviderError>,
        stream: impl FnOnce(&mut D) -> Result<(), FrameError>,
    ) -> Result<Option<Vec<u8>>, ProviderError> {
        match &mut self.mode {
            Mode::Refused(error) => Err(error.clone()),
            // What has come of an error says more than that it did not come whole.
            Mode::Error(body) => Err(http_error(&self.call, &self.head, body)),
            Mode::Sniff(_, begun) if !begun.is_empty() => Ok(Some(std::mem::take(begun))),
            Mode::Sniff(..) if broken.is_none() && self.head.media_type() == "application/json" => {
                Err(protocol(&self.call, "it is empty"))
            }
            Mode::Sniff(..) => Ok(None),
            Mode::Whole(body) => Ok(Some(std::mem::take(body))),
            Mode::Stream(decoder) => {
                stream(decoder).map_err(|error| protocol(&self.call, &error.to_string()))?;
                Ok(None)
            }
        }
    }
}
