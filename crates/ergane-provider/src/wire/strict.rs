//! Schemas for the mode in which a server lets a model write nothing that does not match: the strict mode of OpenAI, and that of
//! Anthropic.
//!
//! Both take a part of JSON Schema: every object closed, and at OpenAI every property required. There a property that may be left
//! out is made one that may be null instead, and what a model says by that null is left out again before a tool sees it
//! ([`ToolSpec::arguments`](ergane_core::ToolSpec::arguments)). A request with a schema that the mode does not take is refused as a
//! whole. So this is a list of what it takes: what is not on it, and what could not be said without another meaning, does not
//! fit, and such a schema goes as it is, without the mode. A map of any keys is one, an optional argument that may be null of its
//! own accord another: what it would be if it were left out, only the tool knows. Where its schema says that null is the default, it
//! is the same, and such an argument is required as it stands.
//!
//! The structure of an answer is nobody's arguments: what it leaves out and what it says to be null are the same to who reads it.
//! There such a property is required as it stands.

use std::sync::Arc;

use ergane_core::{OutputSchema, ToolSpec};
use serde_json::Value;

use crate::wire::recast::{Aim, Recast, once};
use made::Strict;

mod made;
mod words;

/// The parameters of a tool as they go to OpenAI's `model`, and whether in the strict mode: so when it is `wanted` and they fit,
/// else as they are.
pub(crate) fn parameters(tool: &ToolSpec, wanted: bool, model: &str) -> (Arc<Value>, bool) {
    if !wanted {
        return (tool.parameters.clone(), false);
    }
    let recast = open_ai(&tool.parameters, is_tuned(model), false, || {
        tracing::debug!(tool = %tool.name, "the strict mode does not take the tool's schema; it goes without");
    });
    (recast.schema, recast.fits)
}

/// The schema of a structure, as [`parameters`].
pub(crate) fn structure(output: &OutputSchema, model: &str) -> (Arc<Value>, bool) {
    if !output.strict {
        return (output.schema.clone(), false);
    }
    let recast = open_ai(&output.schema, is_tuned(model), true, || {
        tracing::warn!(
            structure = %output.name,
            "the strict mode does not take the structure's schema; it goes without, and an answer may not match it"
        );
    });
    (recast.schema, recast.fits)
}

/// `say` tells that it does not fit, once.
fn open_ai(schema: &Arc<Value>, tuned: bool, output: bool, say: impl FnOnce()) -> Recast {
    once(schema, Aim::OpenAi { tuned, output }, || {
        let made = Strict::open_ai(schema, tuned, output).whole();
        made.map_or_else(
            || {
                say();
                Recast::none(schema)
            },
            Recast::new,
        )
    })
}

fn anthropic(schema: &Arc<Value>) -> Recast {
    once(schema, Aim::Anthropic, || {
        let mut strict = Strict::anthropic(schema);
        match strict.whole() {
            Some(made) => Recast { optional: strict.optional, unions: strict.unions, ..Recast::new(made) },
            None => Recast::none(schema),
        }
    })
}

/// Whether it is a model that was tuned for somebody; the mode of such a one takes less.
fn is_tuned(model: &str) -> bool {
    model.rsplit('/').next().is_some_and(|name| name.starts_with("ft:"))
}

/// What may still come of strict tools in one request to Anthropic: its server makes one grammar of them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    tools: usize,
    /// Properties that may be left out.
    optional: usize,
    /// Properties with more than one type.
    unions: usize,
}

impl Room {
    pub(crate) const ALL: Self = Self { tools: 20, optional: 24, unions: 16 };
    pub(crate) const NONE: Self = Self { tools: 0, optional: 0, unions: 0 };

    /// What is left beside the structure of the answer, which is in the same grammar.
    pub(crate) fn beside(self, structure: &Recast) -> Self {
        self.less(structure).unwrap_or(Self::NONE)
    }

    /// Whether so many properties may be left out, and be of more than one type.
    pub(crate) fn has_room_for(self, optional: usize, unions: usize) -> bool {
        optional <= self.optional && unions <= self.unions
    }

    /// As [`parameters`], for Anthropic, where there is room for the tool too.
    pub(crate) fn where_it_fits(&mut self, schema: &Arc<Value>) -> (Arc<Value>, bool) {
        let fit = || {
            let tools = self.tools.checked_sub(1)?;
            let recast = anthropic(schema);
            Some((Self { tools, ..self.less(&recast)? }, recast.schema))
        };
        let Some((left, schema)) = fit() else { return (schema.clone(), false) };
        *self = left;
        (schema, true)
    }

    fn less(self, recast: &Recast) -> Option<Self> {
        let optional = self.optional.checked_sub(recast.optional)?;
        let unions = self.unions.checked_sub(recast.unions)?;
        recast.fits.then_some(Self { optional, unions, ..self })
    }
}

#[cfg(test)]
mod tests;
