//! Whether a call the model made is run, as a function of what there is.

use std::sync::Arc;

use ergane_core::{Effect, Permissions, Text, ToolCall};
use serde_json::{Map, Value};

use crate::nearest::nearest;
use crate::permissions::{Reach, Subject, Verdict, decide};
use crate::registry::ToolRegistry;
use crate::tool::Tool;

/// What becomes of a call.
#[derive(Debug)]
pub enum Gate {
    /// It is run.
    Run {
        /// By this tool.
        tool: Arc<dyn Tool>,
        /// What that does to the world.
        effect: Effect,
        /// With these arguments.
        arguments: Map<String, Value>,
    },
    /// It is run if the system's callback allows it: see [`CanUseTool`](crate::CanUseTool).
    Consult {
        /// By this tool.
        tool: Arc<dyn Tool>,
        /// With these arguments.
        arguments: Map<String, Value>,
    },
    /// It is run if somebody approves it.
    Ask {
        /// By this tool.
        tool: Arc<dyn Tool>,
        /// With these arguments.
        arguments: Map<String, Value>,
        /// Why somebody must be asked.
        why: String,
    },
    /// It is answered with an error result.
    Refuse {
        /// Why, for the model.
        reason: String,
        /// Whether it was a matter of permission.
        denied: bool,
    },
}

/// Decides what becomes of `call`, when the tools named in `offered` (or all) were offered. In this order: a call whose
/// reply was cut is never run; the tool must be there and offered; the arguments must be a JSON object; the permissions
/// must allow it, with a callback to consult when there is one. Whether the arguments fit the tool's schema is found out by the tool.
pub fn gate(
    registry: &ToolRegistry,
    offered: Option<&[Text]>,
    permissions: &Permissions,
    consults: bool,
    call: &ToolCall,
) -> Gate {
    if !call.complete {
        return refuse("the reply was cut off inside this call, so it was not run; make it again".to_owned());
    }
    let is_offered =
        |name: &str| offered.is_none_or(|names| names.iter().any(|offered| offered.as_ref() == name));
    let Some(tool) = registry.get(&call.name).filter(|tool| is_offered(tool.name())) else {
        let names: Vec<&str> = registry.names().map(AsRef::as_ref).filter(|name| is_offered(name)).collect();
        return refuse(unknown(&call.name, &names));
    };
    let arguments = match call.arguments() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(error.to_string()),
    };
    let (effect, reach): (_, Reach) = (tool.effect(), tool.reach());
    match decide(permissions, Subject { tool: tool.name(), effect, reach }, consults) {
        Verdict::Allow => Gate::Run { tool, effect, arguments },
        Verdict::Consult => Gate::Consult { tool, arguments },
        Verdict::Ask { why } => Gate::Ask { tool, arguments, why },
        Verdict::Deny { reason } => Gate::Refuse { reason, denied: true },
    }
}

fn refuse(reason: String) -> Gate {
    Gate::Refuse { reason, denied: false }
}

fn unknown(name: &str, names: &[&str]) -> String {
    let name: String = name.chars().take(64).collect();
    if names.is_empty() {
        return format!("there is no tool named {name:?}; there are no tools in this session");
    }
    let hint = nearest(&name, names.iter().copied())
        .map(|near| format!("; did you mean `{near}`?"))
        .unwrap_or_default();
    format!("there is no tool named {name:?}; the tools are: {}{hint}", names.join(", "))
}
