//! A tool as Chat Completions offers it, and Ollama, which took that over.

use std::sync::Arc;

use ergane_core::ToolSpec;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub(crate) struct FunctionTool<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Arc<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

impl<'a> FunctionTool<'a> {
    /// The tool with its `parameters` as they are told, and whether in a strict mode.
    pub(crate) fn new(tool: &'a ToolSpec, (parameters, strict): (Arc<Value>, bool)) -> Self {
        let function = Function { name: &tool.name, description: &tool.description, parameters, strict };
        Self { r#type: "function", function }
    }
}
