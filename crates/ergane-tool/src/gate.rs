//! Whether a call the model made is run, as a function of what there is.

use ergane_core::{Permissions, Text, ToolCall};
use serde_json::{Map, Value};

use crate::nearest::nearest;
use crate::permissions::{Verdict, decide};
use crate::registry::{Registered, ToolRegistry};

/// What becomes of a call.
#[derive(Debug)]
pub enum Gate {
    /// It is run.
    Run {
        /// By this tool.
        tool: Registered,
        /// With these arguments.
        arguments: Map<String, Value>,
    },
    /// It is run if the system's callback allows it: see [`CanUseTool`](crate::CanUseTool).
    Consult {
        /// By this tool.
        tool: Registered,
        /// With these arguments.
        arguments: Map<String, Value>,
    },
    /// It is run if somebody approves it.
    Ask {
        /// By this tool.
        tool: Registered,
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
/// must allow it, with a callback to consult when there is one. Whether the arguments fit the tool's schema is found out by the tool;
/// what the model left out by null is left out of them, see [`ToolSpec::arguments`](ergane_core::ToolSpec::arguments).
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
    let Some(tool) = registry.get(&call.name).filter(|tool| is_offered(&tool.spec.name)) else {
        let names: Vec<&str> = registry.names().map(AsRef::as_ref).filter(|name| is_offered(name)).collect();
        return refuse(unknown(&call.name, &names));
    };
    let arguments = match tool.spec.arguments(call) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(error.to_string()),
    };
    match decide(permissions, tool.subject(), consults) {
        Verdict::Allow => Gate::Run { tool: tool.clone(), arguments },
        Verdict::Consult => Gate::Consult { tool: tool.clone(), arguments },
        Verdict::Ask { why } => Gate::Ask { tool: tool.clone(), arguments, why },
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
