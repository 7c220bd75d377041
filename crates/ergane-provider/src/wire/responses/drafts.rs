//! The items of a reply while they are being written, and which of them an event is about. Found in constant time, however
//! many there are.
//!
//! An event names its item by its place in the reply, by its id, by both, or by neither: then it is about the item that is
//! being written. Servers that speak this format as a second language do not always name it in the same way twice.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::draft::Draft;

/// What an event says of the item that it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    /// Its place in the reply.
    pub(super) index: Option<u64>,
    pub(super) id: Option<&'a str>,
    /// What it is, as far as the event says: `message`, `function_call`, and so on.
    pub(super) kind: Option<&'a str>,
}

/// The items, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    list: Vec<Draft>,
    by_index: HashMap<u64, usize>,
    by_id: HashMap<String, usize>,
}

impl Drafts {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn are_done(&self) -> bool {
        self.list.iter().all(|draft| draft.done)
    }

    pub(super) fn get(&mut self, at: usize) -> Option<&mut Draft> {
        self.list.get_mut(at)
    }

    pub(super) fn is_done(&self, at: usize) -> bool {
        self.list.get(at).is_some_and(|draft| draft.done)
    }

    /// All items, by their place in the reply.
    pub(super) fn take(&mut self) -> Vec<Draft> {
        let mut list = std::mem::take(self).list;
        list.sort_by_key(|draft| draft.index.unwrap_or(u64::MAX));
        list
    }

    /// The item that begins.
    pub(super) fn begun(&mut self, named: Named<'_>) -> usize {
        // Pieces of it may have come before.
        let is_new = |at: &usize| self.list.get(*at).is_some_and(|draft| draft.item.is_empty());
        let found = self.find(named).or_else(|| self.open(named).filter(is_new));
        self.place(found, named)
    }

    /// The item that goes on, or ends.
    pub(super) fn going_on(&mut self, named: Named<'_>) -> usize {
        let found = self.find(named).or_else(|| self.open(named));
        self.place(found, named)
    }

    /// For each item of the reply as a whole: which of these it is.
    pub(super) fn claims(&self, whole: &[Value]) -> Vec<Option<usize>> {
        let mut free = vec![true; self.list.len()];
        let mut claim = |at: usize| free.get_mut(at).is_some_and(std::mem::take).then_some(at);
        let word = |item: &Value, field: &str| item.get(field).and_then(Value::as_str).map(str::to_owned);
        let mut claims: Vec<Option<usize>> = (0u64..)
            .zip(whole)
            .map(|(index, item)| {
                let by_id = word(item, "id").and_then(|id| self.by_id.get(&id).copied());
                by_id.or_else(|| self.by_index.get(&index).copied()).and_then(&mut claim)
            })
            .collect();
        // Those that were never told their place are, of each kind, the next ones.
        let mut waiting: HashMap<String, VecDeque<usize>> = HashMap::new();
        for (at, draft) in self.list.iter().enumerate() {
            if draft.index.is_none() && free.get(at).is_some_and(|free| *free) {
                waiting.entry(draft.kind().to_owned()).or_default().push_back(at);
            }
        }
        for (item, claim) in whole.iter().zip(&mut claims) {
            if claim.is_none() {
                *claim = word(item, "type").and_then(|kind| waiting.get_mut(&kind)?.pop_front());
            }
        }
        claims
    }

    /// The item that was found, or a new one; from here on it is known by what the event calls it.
    pub(super) fn place(&mut self, claim: Option<usize>, named: Named<'_>) -> usize {
        match claim {
            Some(at) => self.name(at, named),
            None => self.add(named),
        }
    }

    /// The item of that place, else of that id: what was told a place is what stands there.
    fn find(&self, named: Named<'_>) -> Option<usize> {
        let by_id = || named.id.and_then(|id| self.by_id.get(id).copied());
        match named.index {
            Some(index) => {
                self.by_index.get(&index).copied().or_else(|| by_id().filter(|&at| !self.is_placed(at)))
            }
            None => by_id(),
        }
    }

    fn is_placed(&self, at: usize) -> bool {
        self.list.get(at).is_some_and(|draft| draft.index.is_some())
    }

    /// The item that is being written, if the event may be about it.
    fn open(&self, named: Named<'_>) -> Option<usize> {
        let (at, last) = self.list.iter().enumerate().next_back()?;
        // Both have a place, or an id, and not the same one: it would have been found.
        let differs =
            (named.index.is_some() && last.index.is_some()) || (named.id.is_some() && last.id.is_some());
        let fits = named.kind.is_none_or(|kind| last.is_blank() || last.kind() == kind);
        (!last.done && !differs && fits).then_some(at)
    }

    fn add(&mut self, named: Named<'_>) -> usize {
        let at = self.list.len();
        self.list.push(Draft::default());
        self.name(at, named)
    }

    /// Remembers what the event calls the item.
    fn name(&mut self, at: usize, named: Named<'_>) -> usize {
        if let Some(draft) = self.list.get_mut(at) {
            if let (None, Some(index)) = (draft.index, named.index) {
                draft.index = Some(index);
                self.by_index.insert(index, at);
            }
            if let (None, Some(id)) = (&draft.id, named.id) {
                draft.id = Some(id.to_owned());
                self.by_id.insert(id.to_owned(), at);
            }
        }
        at
    }
}
