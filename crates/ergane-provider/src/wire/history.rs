//! What of a history goes on the wire, in the same way for every format.
//!
//! The kernel hands over a valid history. This pass makes it valid *for this provider*: calls get ids that are unique and
//! legal here whoever made them, every call is answered once and in order, and what only another model understands
//! stays at home. It depends on nothing but the history, from the front to the back: so the same history always gives
//! the same bytes, and a longer one begins with the bytes of the shorter.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};

use ergane_core::{CallId, Message, ModelRequest, Part, Reasoning, Role, ToolCall, ToolResult};

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
        #[expect(dead_code, reason = "for the formats that come next")]
        message: &'a Message,
        /// Whether it is this model's own, so that what is opaque in it goes back.
        #[expect(dead_code, reason = "for the formats that come next")]
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
    #[expect(dead_code, reason = "for the formats that come next")]
    pub(crate) given: bool,
    /// With `Error: ` before it when the call failed.
    pub(crate) text: String,
    pub(crate) is_error: bool,
    /// Formats whose results are text only put them into a user's turn after the results.
    pub(crate) images: Vec<&'a Part>,
}

/// Before the text of a failed call, for formats that have no other way to say so.
const FAILED: &str = "Error: ";

impl WireResult<'_> {
    /// The text alone, for formats that say beside it whether the call failed.
    #[expect(dead_code, reason = "for the formats that come next")]
    pub(crate) fn bare_text(&self) -> &str {
        if self.is_error { self.text.strip_prefix(FAILED).unwrap_or(&self.text) } else { &self.text }
    }
}

/// The turns of `request` for the provider registered as `provider`, which speaks `api`.
pub(crate) fn turns<'a>(request: &'a ModelRequest, provider: &str, api: &str) -> Vec<Turn<'a>> {
    let mut turns = Vec::with_capacity(request.messages.len());
    let mut used = HashSet::new();
    let mut messages = request.messages.iter().peekable();
    while let Some(message) = messages.next() {
        match message.role {
            Role::User => turns.push(Turn::User(message)),
            // Results without their calls, which every strict server refuses.
            Role::Tool => {}
            Role::Assistant => {
                let own = message.origin.as_ref().is_some_and(|o| *o.provider == *provider && *o.api == *api);
                let same_model = own && message.origin.as_ref().is_some_and(|o| o.model == request.model);
                let calls: Vec<WireCall> = message
                    .calls()
                    .filter(|call| call.complete)
                    .map(|call| {
                        let id = wire_id(call, own, &mut used);
                        let given = own && call.wire_id.as_deref() == Some(&id);
                        WireCall { id, name: legal_name(&call.name), call, own: same_model, given }
                    })
                    .collect();
                let mut answers: HashMap<CallId, VecDeque<&ToolResult>> = HashMap::new();
                while let Some(results) = messages.next_if(|next| next.role == Role::Tool) {
                    for result in results.results() {
                        answers.entry(result.call).or_default().push_back(result);
                    }
                }
                let results: Vec<WireResult> = calls
                    .iter()
                    .map(|call| answer(call, answers.get_mut(&call.call.id).and_then(VecDeque::pop_front)))
                    .collect();
                turns.push(Turn::Assistant {
                    text: message.text(),
                    reasoning: if same_model { reasoning(message).collect() } else { Vec::new() },
                    calls,
                    message,
                    own: same_model,
                });
                if !results.is_empty() {
                    turns.push(Turn::Results(results));
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

/// The provider's own id when it can be used again, else one made of ours. Ids that a server gave twice, left out, or
/// that another server gave become ids that are unique in the request.
fn wire_id(call: &ToolCall, own: bool, used: &mut HashSet<String>) -> String {
    if let Some(id) = &call.wire_id
        && own
        && (1..=LONGEST_ID).contains(&id.len())
        && id.chars().all(|c| c.is_ascii_graphic())
        && used.insert(id.to_string())
    {
        return id.to_string();
    }
    let base = format!("call_{}_{}", call.id.turn, call.id.index);
    if used.insert(base.clone()) {
        return base;
    }
    // Calls that were never numbered share an id. There are fewer of them than numbers.
    (2u32..).map(|n| format!("{base}_{n}")).find(|id| used.insert(id.clone())).unwrap_or(base)
}

/// A tool's name as every format allows it. Only a name that a model made up ever changes.
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
