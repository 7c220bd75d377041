//! What must hold for every decoder, whatever bytes it is fed: for the tests of this crate, for fuzzers, and for decoders
//! that others write.

use std::time::SystemTime;

use super::{CallInfo, Decoder, Head, Redactor, StreamEvent};

/// How much more than it was fed an answer may hold: quotes of errors, names, and escapes.
const ROOM: usize = 64 * 1024;

/// JSON may write one byte as six.
const GROWTH: usize = 8;

/// Decodes `input`, which is taken apart into the head of an answer, the sizes of its pieces, and its body; and checks
/// what must hold: it yields exactly one terminal event, the last; in whatever pieces the body comes, the events are the
/// same; and what it yields is in proportion to what it was fed. That it does not panic is the caller's to see.
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
    let yielded: usize = whole.iter().map(size).sum();
    if yielded > ROOM + GROWTH * body.len() {
        return Err(format!("{} bytes became {yielded}", body.len()));
    }
    Ok(())
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
