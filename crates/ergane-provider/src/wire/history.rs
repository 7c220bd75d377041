//! What of a history goes on the wire, in the same way for every format.
//!
//! The kernel hands over a valid history. This pass makes it valid *for this provider*: calls get ids that are unique and
//! legal here whoever made them, every call is answered once and in order, and what only another model understands
//! stays at home. It depends on nothing but the history, from the front to the back: so the same history always gives
//! the same bytes, and a longer one begins with the bytes of the shorter. Of what came before, a turn depends on the ids that
//! were used, and on nothing else.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use ergane_core::{CallId, Digest, History, Message, Part, Reasoning, Role, ToolCall, ToolResult};

const LONGEST_ID: usize = 64;
const LONGEST_NAME: usize = 64;

/// One turn on the wire.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    User(&'a Message),
    Assistant {
        text: String,
        /// To be replayed; empty for another model's.
        reasoning: Vec<&'a Reasoning>,
        /// The complete calls of the message, in its order.
        calls: Vec<WireCall<'a>>,
        /// For formats that replay parts in their order.
        message: &'a Message,
        /// Whether it is this model's own, so that what is opaque in it goes back.
        own: bool,
    },
    /// One for every call of the assistant turn before, in its order.
    Results(Vec<WireResult<'a>>),
}

#[derive(Debug)]
pub(crate) struct WireCall<'a> {
    pub(crate) id: String,
    pub(crate) name: Cow<'a, str>,
    pub(crate) call: &'a ToolCall,
    /// Whether the call's opaque fields go back with it.
    pub(crate) own: bool,
    /// Whether the id is the provider's own. Some do not want to see any other.
    pub(crate) given: bool,
}

#[derive(Debug)]
pub(crate) struct WireResult<'a> {
    pub(crate) id: String,
    pub(crate) name: Cow<'a, str>,
    /// Whether the id is the provider's own.
    pub(crate) given: bool,
    /// With `Error: ` before it when the call failed.
    pub(crate) text: String,
    pub(crate) is_error: bool,
    /// Formats whose results are text only put them into a user's turn after the results.
    pub(crate) images: Vec<&'a Part>,
}

/// The texts of a user's message, a line each, for formats that take one string.
pub(crate) fn texts(message: &Message) -> Cow<'_, str> {
    let texts = message.parts.iter().filter_map(|part| match part {
        Part::Text { text } => Some(&**text),
        _ => None,
    });
    let texts: Vec<&str> = texts.collect();
    match texts.as_slice() {
        [one] => Cow::Borrowed(*one),
        several => Cow::Owned(several.join("\n")),
    }
}

/// Before the text of a failed call, for formats that have no other way to say so.
const FAILED: &str = "Error: ";

impl WireResult<'_> {
    /// The text alone, for formats that say beside it whether the call failed.
    pub(crate) fn bare_text(&self) -> &str {
        if self.is_error { self.text.strip_prefix(FAILED).unwrap_or(&self.text) } else { &self.text }
    }

    /// What stands before its images, where they are a turn of their own.
    pub(crate) fn before_its_images(&self) -> String {
        format!("Images from the result of {}:", self.name)
    }
}

/// For whom a history is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// The provider's registered name.
    pub(crate) provider: &'a str,
    /// The format it speaks.
    pub(crate) api: &'static str,
    /// The model that is asked.
    pub(crate) model: &'a str,
    pub(crate) ids: IdRule,
}

/// The ids of calls that were used.
#[derive(Debug)]
pub(crate) struct Ids<'a> {
    before: &'a HashMap<Box<str>, usize>,
    /// Those that came now, each with the position of its message.
    pub(crate) new: HashMap<Box<str>, usize>,
}

impl<'a> Ids<'a> {
    /// Those of `before` were used.
    pub(crate) fn new(before: &'a HashMap<Box<str>, usize>) -> Self {
        Self { before, new: HashMap::new() }
    }

    /// Whether the id was free; it is used now.
    fn take(&mut self, id: &str, at: usize) -> bool {
        let free = !self.before.contains_key(id) && !self.new.contains_key(id);
        if free {
            self.new.insert(id.into(), at);
        }
        free
    }
}

/// The turns of the messages from position `from` on, each with the position of its message (results with that of their
/// calls). No message at `from` answers a call before it.
pub(crate) fn turns<'a>(
    messages: &'a History,
    from: usize,
    reader: &Reader<'_>,
    ids: &mut Ids<'_>,
) -> Vec<(usize, Turn<'a>)> {
    let mut turns = Vec::with_capacity(messages.len().saturating_sub(from));
    let mut messages = (from..).zip(messages.iter_from(from)).peekable();
    while let Some((at, message)) = messages.next() {
        match message.role {
            Role::User => turns.push((at, Turn::User(message))),
            // Results without their calls, which every strict server refuses.
            Role::Tool => {}
            Role::Assistant => {
                let origin = message.origin.as_ref();
                let own = origin.is_some_and(|o| *o.provider == *reader.provider && *o.api == *reader.api);
                let same_model = own && origin.is_some_and(|o| *o.model == *reader.model);
                let calls: Vec<WireCall> = message
                    .calls()
                    .filter(|call| call.complete)
                    .map(|call| {
                        let id = wire_id(call, own, reader.ids, |id| ids.take(id, at));
                        let given = own && call.wire_id.as_deref() == Some(&id);
                        WireCall { id, name: legal_name(&call.name), call, own: same_model, given }
                    })
                    .collect();
                let mut answers: HashMap<CallId, VecDeque<&ToolResult>> = HashMap::new();
                while let Some((_, results)) = messages.next_if(|(_, next)| next.role == Role::Tool) {
                    for result in results.results() {
                        answers.entry(result.call).or_default().push_back(result);
                    }
                }
                let results: Vec<WireResult> = calls
                    .iter()
                    .map(|call| answer(call, answers.get_mut(&call.call.id).and_then(VecDeque::pop_front)))
                    .collect();
                let text = message.text();
                let opaque = |part: &Part| same_model && matches!(part, Part::Opaque(_));
                if text.is_empty() && calls.is_empty() && !message.parts.iter().any(opaque) {
                    // An answer that was cut off before it said anything; strict servers refuse such turns.
                    continue;
                }
                let reasoning = if same_model { reasoning(message).collect() } else { Vec::new() };
                turns.push((at, Turn::Assistant { text, reasoning, calls, message, own: same_model }));
                if !results.is_empty() {
                    turns.push((at, Turn::Results(results)));
                }
            }
        }
    }
    turns
}

fn reasoning(message: &Message) -> impl Iterator<Item = &Reasoning> {
    message.parts.iter().filter_map(|part| match part {
        Part::Reasoning(reasoning) => Some(reasoning),
        _ => None,
    })
}

fn answer<'a>(call: &WireCall<'a>, result: Option<&'a ToolResult>) -> WireResult<'a> {
    let (id, name, given) = (call.id.clone(), call.name.clone(), call.given);
    let Some(result) = result else {
        let text = format!("{FAILED}no result was recorded for this call");
        return WireResult { id, name, given, text, is_error: true, images: Vec::new() };
    };
    let text = result.text();
    WireResult {
        id,
        name,
        given,
        text: if result.is_error { format!("{FAILED}{text}") } else { text },
        is_error: result.is_error,
        images: result.content.iter().filter(|part| matches!(part, Part::Image { .. })).collect(),
    }
}

/// Which ids of calls a format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IdRule {
    /// Up to 64 printable characters.
    Printable,
    /// Up to 64 letters, digits, hyphens and underscores.
    Word,
    /// Nine letters or digits.
    Nine,
}

impl IdRule {
    fn allows(self, id: &str) -> bool {
        let chars = |legal: fn(char) -> bool| id.chars().all(legal);
        match self {
            Self::Printable => (1..=LONGEST_ID).contains(&id.len()) && chars(|c| c.is_ascii_graphic()),
            Self::Word => {
                (1..=LONGEST_ID).contains(&id.len())
                    && chars(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            }
            Self::Nine => id.len() == 9 && chars(|c| c.is_ascii_alphanumeric()),
        }
    }

    /// An id made of ours; another one for every `n`.
    fn make(self, id: CallId, n: u32) -> String {
        let base = match n {
            1 => format!("call_{}_{}", id.turn, id.index),
            n => format!("call_{}_{}_{n}", id.turn, id.index),
        };
        match self {
            Self::Printable | Self::Word => base,
            Self::Nine => Digest::of(base.as_bytes()).to_string().chars().take(9).collect(),
        }
    }
}

/// The provider's own id when it can be used again, else one made of ours. Ids that a server gave twice, left out, or
/// that another server gave become ids that are unique in the request.
fn wire_id(call: &ToolCall, own: bool, ids: IdRule, mut take: impl FnMut(&str) -> bool) -> String {
    if let Some(id) = &call.wire_id
        && own
        && ids.allows(id)
        && take(id)
    {
        return id.to_string();
    }
    // Calls that were never numbered share an id. There are fewer of them than numbers.
    let mut made = (1u32..).map(|n| ids.make(call.id, n));
    made.find(|id| take(id)).unwrap_or_else(|| ids.make(call.id, 1))
}

/// The name of a tool or of a structure as every format allows it. Of a tool only a name that a model made up ever changes.
pub(crate) fn legal_name(name: &str) -> Cow<'_, str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() {
        return Cow::Borrowed("unnamed");
    }
    if name.len() <= LONGEST_NAME && name.chars().all(legal) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().take(LONGEST_NAME).map(|c| if legal(c) { c } else { '_' }).collect())
}

/// The arguments of a call as the text of a JSON object: the model's own bytes when they are one, else `{}`, because
/// strict servers refuse a whole history for one bad call. What was wrong is told in the call's result.
pub(crate) fn object_text(call: &ToolCall) -> &str {
    let text = call.arguments.trim();
    match call.arguments() {
        Ok(_) if text.starts_with('{') => text,
        _ => "{}",
    }
}

#[cfg(test)]
mod tests;
