//! The servers that are known by name: where they are, where their keys are, and what they take.

use super::compat::{
    Compat, EffortStyle, ForcedTools, ImageStyle, MaxTokensField, ReasoningReplay, Structure, ToolIds,
};

/// A server that the table knows.
#[derive(Debug)]
pub(crate) struct CompatServer {
    /// Its name, such as `groq`.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) base_url: &'static str,
    /// The environment variable that usually holds its key; empty where none is needed.
    pub(crate) key_env: &'static str,
    /// Parts of the addresses that mean this server: ends of a host's name, or `:port` on this machine.
    addresses: &'static [&'static str],
    /// What it takes.
    pub(crate) flags: fn() -> Compat,
}

/// Every server that is known by name. The first is OpenAI itself, the last stands for all that are not known.
pub(crate) const SERVERS: &[CompatServer] = &[
    CompatServer {
        name: "openai",
        base_url: "https://api.openai.com/v1",
        key_env: "OPENAI_API_KEY",
        addresses: &["api.openai.com"],
        flags: openai,
    },
    CompatServer {
        name: "llama.cpp",
        base_url: "http://localhost:8080/v1",
        key_env: "",
        addresses: &[":8080"],
        flags: llama_cpp,
    },
    CompatServer {
        name: "vllm",
        base_url: "http://localhost:8000/v1",
        key_env: "",
        addresses: &[":8000"],
        flags: vllm,
    },
    CompatServer {
        name: "lmstudio",
        base_url: "http://localhost:1234/v1",
        key_env: "",
        addresses: &[":1234"],
        flags: lmstudio,
    },
    CompatServer {
        name: "groq",
        base_url: "https://api.groq.com/openai/v1",
        key_env: "GROQ_API_KEY",
        addresses: &["groq.com"],
        flags: groq,
    },
    CompatServer {
        name: "openrouter",
        base_url: "https://openrouter.ai/api/v1",
        key_env: "OPENROUTER_API_KEY",
        addresses: &["openrouter.ai"],
        flags: openrouter,
    },
    CompatServer {
        name: "together",
        base_url: "https://api.together.xyz/v1",
        key_env: "TOGETHER_API_KEY",
        addresses: &["together.xyz", "together.ai"],
        flags: together,
    },
    CompatServer {
        name: "deepseek",
        base_url: "https://api.deepseek.com/v1",
        key_env: "DEEPSEEK_API_KEY",
        addresses: &["deepseek.com"],
        flags: deepseek,
    },
    CompatServer {
        name: "mistral",
        base_url: "https://api.mistral.ai/v1",
        key_env: "MISTRAL_API_KEY",
        addresses: &["mistral.ai"],
        flags: mistral,
    },
    CompatServer { name: "compatible", base_url: "", key_env: "", addresses: &[], flags: Compat::default },
];

impl CompatServer {
    /// The server of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SERVERS.iter().find(|server| server.name == name)
    }

    /// The server at an address: its host, and its port when it is on this machine.
    pub(crate) fn at(host: &str, local_port: Option<u16>) -> Option<&'static Self> {
        let port = local_port.map(|port| format!(":{port}"));
        SERVERS.iter().find(|server| {
            server.addresses.iter().any(|address| match address.strip_prefix(':') {
                Some(_) => port.as_deref() == Some(*address),
                None => host.strip_suffix(address).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            })
        })
    }
}

fn openai() -> Compat {
    Compat {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        developer_role: true,
        strict_schemas: true,
        strict_tools: true,
        top_k: false,
        cache_key: true,
        ..Compat::default()
    }
}

fn llama_cpp() -> Compat {
    Compat { parallel_by_request: true, effort: EffortStyle::Template, ..Compat::default() }
}

fn vllm() -> Compat {
    Compat { effort: EffortStyle::Template, ..Compat::default() }
}

fn lmstudio() -> Compat {
    Compat { images: ImageStyle::Bytes, parallel_flag: false, nothing_is_overflow: true, ..Compat::default() }
}

fn groq() -> Compat {
    Compat {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        strict_schemas: true,
        reasoning_replay: ReasoningReplay::SameTurn,
        top_k: false,
        ..Compat::default()
    }
}

fn openrouter() -> Compat {
    Compat { strict_schemas: true, effort: EffortStyle::Object, ..Compat::default() }
}

fn together() -> Compat {
    Compat { reasoning_replay: ReasoningReplay::Never, parallel_flag: false, ..Compat::default() }
}

fn deepseek() -> Compat {
    Compat {
        structure: Structure::JsonObject,
        parallel_flag: false,
        forced_tools: ForcedTools::WithoutThinking,
        effort: EffortStyle::Switch,
        reasoning_replay: ReasoningReplay::Required,
        images: ImageStyle::None,
        top_k: false,
        ..Compat::default()
    }
}

fn mistral() -> Compat {
    Compat {
        stream_usage: false,
        strict_schemas: true,
        required_word: "any".into(),
        effort: EffortStyle::None,
        reasoning_replay: ReasoningReplay::Never,
        result_name: true,
        tool_ids: ToolIds::Nine,
        assistant_after_results: true,
        top_k: false,
        seed_field: "random_seed".into(),
        ..Compat::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_known_by_the_end_of_its_host_or_by_its_port_on_this_machine() {
        let name = |host: &str, port| CompatServer::at(host, port).map(|server| server.name);
        assert_eq!(name("api.groq.com", None), Some("groq"));
        assert_eq!(name("mistral.ai", None), Some("mistral"));
        assert_eq!(name("notgroq.com", None), None);
        assert_eq!(name("localhost", Some(8080)), Some("llama.cpp"));
        assert_eq!(name("localhost", Some(9999)), None);
        assert_eq!(name("gpu-box", None), None);
    }
}
