//! What must hold for every decoder, whatever bytes it is fed: for the tests of this crate, for fuzzers, and for decoders
//! that others write.

use std::sync::Arc;
use std::time::SystemTime;

use ergane_core::{Message, ModelReply, Origin, Part, ProviderError, Role, StopReason, ToolSpec};

use super::dialect::Dialect;
use super::{CallInfo, Decoder, Head, Redactor, StreamEvent};

/// How much more than it was fed an answer may hold: quotes of errors, names, and escapes.
const ROOM: usize = 64 * 1024;

/// JSON may write one byte as six.
const GROWTH: usize = 8;

/// Decodes `input`, which is taken apart into the head of an answer, the sizes of its pieces, and its body; and checks
/// what must hold: it yields exactly one terminal event, the last; in whatever pieces the body comes, the events are the
/// same; the calls of an answer are all whole when it stopped for them, and else none is; and what it yields is in proportion to what it was fed. That it does not panic is the caller's to see.
///
/// # Errors
/// What did not hold.
pub fn decoder<D: Decoder>(new: impl Fn(CallInfo, Head) -> D, input: &[u8]) -> Result<(), String> {
    let Some((&[kind, cut], body)) = input.split_first_chunk::<2>() else { return Ok(()) };
    let whole = run(&new, kind, std::iter::once(body))?;
    // Pieces of growing and shrinking size, from 1 byte on.
    let mut sizes = (0usize..).map(|n| 1 + (n.wrapping_mul(usize::from(cut)) + usize::from(cut >> 4)) % 61);
    let mut rest = body;
    let pieces = std::iter::from_fn(|| {
        let (piece, tail) = rest.split_at_checked(sizes.next()?.min(rest.len()))?;
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    });
    if run(&new, kind, pieces)? != whole {
        return Err("the events depend on the pieces in which the bytes came".to_owned());
    }
    if run(&new, kind, body.chunks(1))? != whole {
        return Err("byte by byte the events are others".to_owned());
    }
    if let Some(StreamEvent::Finish(reply)) = whole.last() {
        calls_are_whole(&reply.message)?;
    }
    let yielded: usize = whole.iter().map(size).sum();
    if yielded > ROOM + GROWTH * body.len() {
        return Err(format!("{} bytes became {yielded}", body.len()));
    }
    Ok(())
}

/// An answer that stopped for its calls has some, and all of them may be carried out; of any other none may.
fn calls_are_whole(message: &Message) -> Result<(), String> {
    let for_calls = message.origin.as_ref().is_some_and(|origin| origin.stop == StopReason::ToolCalls);
    let (all, whole) = (message.calls().count(), message.calls().filter(|call| call.complete).count());
    match for_calls {
        true if all == 0 => Err("it stopped for calls, of which there are none".to_owned()),
        true if whole < all => Err(format!("it stopped for {all} calls, of which {whole} are whole")),
        false if whole > 0 => Err(format!("{whole} calls are whole of an answer that did not stop for them")),
        _ => Ok(()),
    }
}

fn run<'a, D: Decoder>(
    new: impl Fn(CallInfo, Head) -> D,
    kind: u8,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<StreamEvent>, String> {
    let mut decoder = new(call(), head(kind));
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut events);
    }
    decoder.end(None, &mut events);
    decoder.feed(b"data: {}\n\n", &mut events);
    decoder.end(None, &mut events);
    match events.iter().position(StreamEvent::is_terminal) {
        None => Err("it did not end".to_owned()),
        Some(at) if at + 1 == events.len() => Ok(events),
        Some(_) => Err("something came after the end".to_owned()),
    }
}

/// Reads the rest of `input` as what a model without native calls said, its first byte as whether it was cut short, its
/// second as the sizes of the pieces; and checks what must hold of a [`Dialect`]: the same is shown and the same is called
/// in whatever pieces the text comes, a text without a call is shown as it is, and every call that was told is in the
/// reply. That it does not panic is the caller's to see.
///
/// # Errors
/// What did not hold.
pub fn dialect(input: &[u8]) -> Result<(), String> {
    let Some((&[cut, sizes], body)) = input.split_first_chunk::<2>() else { return Ok(()) };
    let text = String::from_utf8_lossy(body);
    let is_cut = cut % 2 == 1;
    let whole = heard(std::iter::once(&*text), is_cut)?;
    let mut rest = &*text;
    let pieces = std::iter::from_fn(|| {
        let at = rest.ceil_char_boundary(1 + usize::from(sizes) % 61);
        let (piece, tail) = rest.split_at_checked(at.min(rest.len()))?;
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    });
    if heard(pieces, is_cut)? != whole || heard(text.split_inclusive(|_| true), is_cut)? != whole {
        return Err("what is shown or called depends on the pieces in which the text came".to_owned());
    }
    let in_reply = whole.message.calls().count();
    if in_reply != whole.told {
        return Err(format!("{} calls were told, and {in_reply} are in the reply", whole.told));
    }
    if whole.told == 0 && whole.shown != text {
        return Err("a text without a call was shown otherwise".to_owned());
    }
    Ok(())
}

/// What came out of a [`Dialect`].
#[derive(Debug, PartialEq)]
struct Heard {
    shown: String,
    told: usize,
    message: Message,
}

fn heard<'a>(pieces: impl Iterator<Item = &'a str>, is_cut: bool) -> Result<Heard, String> {
    let parameters = Arc::new(serde_json::json!({ "type": "object" }));
    let tools = [ToolSpec { name: "get".into(), description: "".into(), parameters }].into();
    let mut decoder = Dialect::new(Spoken { text: String::new(), is_cut, is_over: false }, &tools);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece.as_bytes(), &mut events);
    }
    decoder.end(None, &mut events);
    decoder.end(None, &mut events);
    let (mut shown, mut told, mut message) = (String::new(), 0, None);
    for event in events {
        match event {
            _ if message.is_some() => return Err("something came after the end".to_owned()),
            StreamEvent::Text(text) => shown.push_str(&text),
            StreamEvent::ToolCall { .. } => told += 1,
            StreamEvent::Finish(reply) => message = Some(reply.message),
            other => return Err(format!("{other:?} came of plain text")),
        }
    }
    message.map(|message| Heard { shown, told, message }).ok_or_else(|| "it did not end".to_owned())
}

/// A format in which an answer is its text.
struct Spoken {
    text: String,
    is_cut: bool,
    is_over: bool,
}

impl Decoder for Spoken {
    fn feed(&mut self, bytes: &[u8], events: &mut Vec<StreamEvent>) {
        let text = String::from_utf8_lossy(bytes);
        self.text.push_str(&text);
        events.push(StreamEvent::Text(text.into()));
    }

    fn end(&mut self, _: Option<ProviderError>, events: &mut Vec<StreamEvent>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let origin = Origin {
            provider: "p".into(),
            api: "text".into(),
            model: "m".into(),
            response_id: None,
            stop: if self.is_cut { StopReason::Length } else { StopReason::Stop },
        };
        let parts = vec![Part::text(std::mem::take(&mut self.text))];
        let message = Message { role: Role::Assistant, parts, origin: Some(origin) };
        events.push(StreamEvent::Finish(ModelReply { message, usage: None, cost: None }));
    }
}

fn call() -> CallInfo {
    CallInfo {
        provider: "p".into(),
        model: "m".into(),
        endpoint: "http://host".into(),
        key_hint: "set KEY".into(),
        redactor: Redactor::default(),
    }
}

/// One of the heads that make a difference.
fn head(kind: u8) -> Head {
    const HEADS: [(u16, &str); 8] = [
        (200, "text/event-stream"),
        (200, "application/x-ndjson"),
        (200, "application/json"),
        (200, ""),
        (200, "text/html"),
        (500, "application/json"),
        (429, "text/plain"),
        (200, "text/event-stream"),
    ];
    let (status, media_type) = HEADS.get(usize::from(kind) % HEADS.len()).copied().unwrap_or((200, ""));
    Head {
        status,
        headers: vec![("content-type".to_owned(), media_type.to_owned())],
        at: SystemTime::UNIX_EPOCH,
    }
}

fn size(event: &StreamEvent) -> usize {
    let json = |message| serde_json::to_string(message).map_or(0, |text| text.len());
    match event {
        StreamEvent::Text(text) | StreamEvent::Reasoning(text) => text.len(),
        StreamEvent::ToolCall { name } => name.len(),
        StreamEvent::Finish(reply) => json(&reply.message),
        StreamEvent::Failed { error, partial } => error.message.len() + json(partial),
    }
}
