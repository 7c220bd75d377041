//! Which call, and which entry of the reasoning, a piece of an answer goes on with. Found in constant time, however many
//! there are.

use std::collections::HashMap;

use serde_json::Value;

use super::chunk::CallDelta;
use crate::wire::assembly::{Assembly, Slot};
use crate::wire::{StreamEvent, loose};

/// Where the calls of a reply stand, the last one of each index and of each id; and the entries of `reasoning_details`.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_index: HashMap<i64, usize>,
    by_id: HashMap<String, usize>,
    details: HashMap<(String, String), usize>,
}

impl Places {
    /// Adds to the call that a delta belongs to. `first_of_delta` is where this delta's new calls begin; `None` for a whole
    /// answer, where every entry is a call of its own.
    pub(super) fn place(
        &mut self,
        reply: &mut Assembly,
        delta: CallDelta,
        first_of_delta: Option<usize>,
        events: &mut Vec<StreamEvent>,
    ) {
        let Some(function) = delta.function.or(delta.custom.map(Into::into)) else { return };
        let id = delta.id.filter(|id| !id.is_empty());
        let name = function.name.filter(|name| !name.is_empty());
        let found = first_of_delta
            .and_then(|first| self.find(&reply.slots, first, delta.index, id.as_deref(), name.is_some()));
        let at = found.unwrap_or_else(|| {
            let at = reply.slot(Slot::default());
            if let Some(index) = delta.index {
                self.by_index.insert(index, at);
            }
            at
        });
        let Some(slot) = reply.slots.get_mut(at) else { return };
        if slot.id.is_none()
            && let Some(id) = id
        {
            let last = self.by_id.entry(id.clone()).or_default();
            *last = at.max(*last);
            slot.id = Some(id);
        }
        if let Some(raw) = function.arguments {
            slot.arguments.push_str(&loose::arguments(&raw));
        }
        slot.extra.extend(delta.extra.into_iter().filter(|(_, value)| !value.is_null()));
        if slot.name.is_empty()
            && let Some(name) = name
        {
            slot.name = name;
            let name = slot.name.clone();
            reply.call_began(&name, events);
        }
    }

    /// Which call a delta goes on with; `None` when it begins one.
    fn find(
        &self,
        slots: &[Slot],
        first_of_delta: usize,
        index: Option<i64>,
        id: Option<&str>,
        named: bool,
    ) -> Option<usize> {
        let differs = |slot: &Slot| matches!((&slot.id, id), (Some(old), Some(new)) if old != new);
        let found = match (index, id) {
            (Some(index), _) => self.by_index.get(&index).copied().filter(|&at| {
                // An index used again for another call: seen on the wire.
                !(named && slots.get(at).is_some_and(differs))
            }),
            (None, Some(id)) => {
                let same = self.by_id.get(id).copied();
                // A call whose id comes late.
                let late = || {
                    let last = slots.len().checked_sub(1);
                    last.filter(|&at| slots.get(at).is_some_and(|slot| slot.id.is_none()))
                };
                same.or_else(|| late().filter(|_| !named))
            }
            (None, None) => {
                let last = slots.len().checked_sub(1)?;
                let begun =
                    slots.get(last).is_some_and(|slot| !slot.name.is_empty() && !slot.arguments.is_empty());
                (!(named && begun)).then_some(last)
            }
        };
        // Two named entries of one delta are two calls, whatever else they have in common.
        found.filter(|&at| !(named && index.is_none() && at >= first_of_delta))
    }

    /// Entries of `reasoning_details` come in pieces: those with the same index and type are one.
    pub(super) fn join_detail(&mut self, reply: &mut Assembly, entry: Value) {
        let list =
            reply.reasoning_data.entry("reasoning_details").or_insert_with(|| Value::Array(Vec::new()));
        let Value::Array(list) = list else { return };
        let word = |field: &str| entry.get(field).map(Value::to_string);
        let key = word("index").map(|index| (index, word("type").unwrap_or_default()));
        let same = key.as_ref().and_then(|key| self.details.get(key)).and_then(|&at| list.get_mut(at));
        let (Some(Value::Object(old)), Value::Object(new)) = (same, &entry) else {
            if let Some(key) = key {
                self.details.insert(key, list.len());
            }
            list.push(entry);
            return reply.piece_began();
        };
        for (name, value) in new {
            match (old.get_mut(name), value) {
                (Some(Value::String(old)), Value::String(new))
                    if matches!(name.as_str(), "text" | "summary" | "data") =>
                {
                    old.push_str(new);
                }
                (_, Value::Null) => {}
                _ => {
                    old.insert(name.clone(), value.clone());
                }
            }
        }
    }
}
