//! How servers differ that speak Chat Completions: flags, which the address chooses from a table of servers, laid over by the
//! user.
//!
//! Why flags and not one adapter each: the differences are small, known, and change from month to month; as data they
//! can be read in one place, and a program can describe a server that nobody here knows, by
//! [`OpenAi::compat`](crate::OpenAi::compat), from a file of its own if it likes: the flags are read from JSON, and the
//! command's configuration file has a table for them.

use ergane_core::Text;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::servers::{CompatServer, SERVERS};
use crate::tool_calls::ToolCalls;

/// What a server that speaks Chat Completions takes, and how. Each flag is a row in `docs/configuration.md` too, whose test
/// asks for it.
///
/// As JSON it is an object of what differs from a server of the table, which `like` names (`compatible` by default):
///
/// ```
/// use ergane_provider::Compat;
///
/// let flags: Compat = serde_json::from_str(r#"{"like": "vllm", "parallel_flag": false}"#)?;
/// assert!(!flags.parallel_flag);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
#[non_exhaustive]
pub struct Compat {
    /// The name of the limit of an answer.
    pub max_tokens_field: MaxTokensField,
    /// Whether the system prompt goes as role `developer`.
    pub developer_role: bool,
    /// How structure is asked for.
    pub structure: Structure,
    /// Whether the schema of a structure is made strict: every object closed, every property required.
    pub strict_schemas: bool,
    /// Whether tools are offered in the server's strict mode (`"strict": true`), in which a model cannot write arguments
    /// that do not match. A tool whose schema the mode does not take goes without.
    pub strict_tools: bool,
    /// Whether the usage of a stream must be asked for, by `stream_options`.
    pub stream_usage: bool,
    /// Whether it knows `parallel_tool_calls`.
    pub parallel_flag: bool,
    /// Whether it calls several tools at once only when it is told to.
    pub parallel_by_request: bool,
    /// When it can be told which tool to call.
    pub forced_tools: ForcedTools,
    /// Its word for "some tool": `required` nearly everywhere.
    pub required_word: Text,
    /// How it is told how much to think.
    pub effort: EffortStyle,
    /// Which of its thoughts it wants back.
    pub reasoning_replay: ReasoningReplay,
    /// Whether the result of a call carries the tool's name.
    pub result_name: bool,
    /// Which ids of calls it takes.
    pub tool_ids: ToolIds,
    /// How models are told of tools, [`ToolCalls::Auto`] of every server in the table. A provider's own
    /// [`tool_calls`](crate::OpenAi::tool_calls), called after [`compat`](crate::OpenAi::compat), overrules it.
    pub tool_calls: ToolCalls,
    /// Whether something of the assistant must stand between results and a user's message.
    pub assistant_after_results: bool,
    /// Which images it takes.
    pub images: ImageStyle,
    /// Whether it knows `top_k`.
    pub top_k: bool,
    /// The name of the seed.
    pub seed_field: Text,
    /// Whether it knows `prompt_cache_key`.
    pub cache_key: bool,
    /// Whether nothing at all in the place of an answer means that the prompt did not fit: a stream that ends without an event (LM
    /// Studio), or a 400 or 413 without a body (Cerebras).
    pub nothing_is_overflow: bool,
}

/// The name of the limit of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_tokens`, the only name that many know.
    MaxTokens,
    /// `max_completion_tokens`, as reasoning models insist.
    MaxCompletionTokens,
}

/// How structure is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Structure {
    /// By its schema, `response_format.json_schema`.
    JsonSchema,
    /// As any JSON object; the schema is told in the system prompt.
    JsonObject,
    /// In the system prompt only.
    Prompt,
}

/// When a server can be told which tool to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForcedTools {
    /// Always.
    Always,
    /// Only when it does not think, so it is told not to.
    WithoutThinking,
    /// Never: only the tool that is meant is offered.
    Never,
}

/// How a server is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffortStyle {
    /// `"reasoning_effort": "low"`.
    Word,
    /// `"reasoning": {"effort": "low"}`, or `{"max_tokens": 2000}`, or `{"enabled": false}`.
    Object,
    /// `"thinking": {"type": "enabled"}`: on or off.
    Switch,
    /// `"chat_template_kwargs": {"enable_thinking": true, "reasoning_effort": "low"}`: it is the template's matter.
    Template,
    /// Not at all.
    None,
}

/// Which thoughts go back to the model that had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningReplay {
    /// None.
    Never,
    /// Those since the last message of the user.
    SameTurn,
    /// All.
    Always,
    /// All, and in a conversation with calls an empty one where there was none.
    Required,
}

/// Which ids of calls a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolIds {
    /// Any.
    Any,
    /// Nine letters and digits.
    Nine,
}

/// Which images a server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageStyle {
    /// Bytes and links.
    Any,
    /// Bytes only.
    Bytes,
    /// None.
    None,
}

impl Default for Compat {
    /// A server of which nothing is known: what nearly all of them take.
    fn default() -> Self {
        Self {
            max_tokens_field: MaxTokensField::MaxTokens,
            developer_role: false,
            structure: Structure::JsonSchema,
            strict_schemas: false,
            strict_tools: false,
            stream_usage: true,
            parallel_flag: true,
            parallel_by_request: false,
            forced_tools: ForcedTools::Always,
            required_word: "required".into(),
            effort: EffortStyle::Word,
            reasoning_replay: ReasoningReplay::Always,
            result_name: false,
            tool_ids: ToolIds::Any,
            tool_calls: ToolCalls::Auto,
            assistant_after_results: false,
            images: ImageStyle::Any,
            top_k: true,
            seed_field: "seed".into(),
            cache_key: false,
            nothing_is_overflow: false,
        }
    }
}

impl TryFrom<Map<String, Value>> for Compat {
    type Error = String;

    fn try_from(mut given: Map<String, Value>) -> Result<Self, String> {
        let like = match given.remove("like") {
            None => "compatible".to_owned(),
            Some(Value::String(name)) => name,
            Some(other) => return Err(format!("`like` must be the name of a server, not {other}")),
        };
        let server = CompatServer::named(&like).ok_or_else(|| {
            let known: Vec<_> = SERVERS.iter().map(|server| server.name).collect();
            format!("there is no server {like:?} to be like; known are: {}", known.join(", "))
        })?;
        let Ok(Value::Object(mut flags)) = serde_json::to_value((server.flags)()) else {
            return Err("the flags of the table are no object".to_owned());
        };
        for (name, value) in given {
            match flags.get_mut(&name) {
                Some(flag) => *flag = value,
                None => {
                    let known: Vec<_> = flags.keys().map(String::as_str).collect();
                    return Err(format!("there is no flag {name:?}; known are: like, {}", known.join(", ")));
                }
            }
        }
        let plain = serde_json::from_value::<Plain>(Value::Object(flags));
        plain.map(Self::from).map_err(|error| error.to_string())
    }
}

macro_rules! plain {
    ($($field:ident: $kind:ty,)*) => {
        /// The flags field by field, without the table.
        #[derive(Deserialize)]
        struct Plain { $($field: $kind,)* }

        impl From<Plain> for Compat {
            fn from(plain: Plain) -> Self {
                Self { $($field: plain.$field,)* }
            }
        }
    };
}

plain! {
    max_tokens_field: MaxTokensField,
    developer_role: bool,
    structure: Structure,
    strict_schemas: bool,
    strict_tools: bool,
    stream_usage: bool,
    parallel_flag: bool,
    parallel_by_request: bool,
    forced_tools: ForcedTools,
    required_word: Text,
    effort: EffortStyle,
    reasoning_replay: ReasoningReplay,
    result_name: bool,
    tool_ids: ToolIds,
    tool_calls: ToolCalls,
    assistant_after_results: bool,
    images: ImageStyle,
    top_k: bool,
    seed_field: Text,
    cache_key: bool,
    nothing_is_overflow: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_a_user_are_laid_over_a_server_of_the_table_and_mistakes_are_told() {
        for server in SERVERS {
            let flags: Compat = serde_json::from_value(serde_json::json!({"like": server.name})).unwrap();
            assert_eq!(flags, (server.flags)(), "{}", server.name);
            let whole = serde_json::to_value(&flags).unwrap();
            assert_eq!(serde_json::from_value::<Compat>(whole).unwrap(), flags, "and as JSON it comes back");
        }
        let own: Compat = serde_json::from_str(
            r#"{"like":"mistral","tool_ids":"any","seed_field":"s","tool_calls":"text"}"#,
        )
        .unwrap();
        assert_eq!((own.tool_ids, &*own.seed_field, own.result_name), (ToolIds::Any, "s", true));
        assert_eq!(own.tool_calls, ToolCalls::Text);
        let told = |json: &str| serde_json::from_str::<Compat>(json).unwrap_err().to_string();
        assert!(told(r#"{"like":"grok"}"#).contains("groq"));
        assert!(told(r#"{"paralel_flag":true}"#).contains("parallel_flag"));
        assert!(told(r#"{"images":"some"}"#).contains("bytes"));
    }
}
