//! What the generations of models can do: they differ, and refuse what they do not know.

/// How a model is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all.
    None,
    /// With a budget of tokens.
    Budget,
    /// By its own measure, with a word for the effort.
    Adaptive,
}

/// What a model can do, as far as requests depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) thinking: Thinking,
    /// Whether it takes `temperature` and its like.
    pub(super) sampling: bool,
    /// Whether it knows the efforts `xhigh` and `max`.
    pub(super) high_efforts: bool,
    /// Whether it is held to the structure of an answer.
    pub(super) structures: bool,
    /// The limit of an answer when nobody names one: the API insists on one.
    pub(super) max_tokens: u32,
}

/// The abilities of the model of that name. A name that is not one of Anthropic's is another server's model, which
/// speaks the format as it was for most of its life; one of Anthropic's whose number is not known is a new one.
pub(super) fn abilities(name: &str) -> Abilities {
    let Some((_, rest)) = name.split_once("claude") else {
        return Abilities {
            thinking: Thinking::Budget,
            sampling: true,
            high_efforts: false,
            structures: true,
            max_tokens: 8192,
        };
    };
    // A number of more than two digits is a date.
    let mut numbers = rest
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter_map(|word| word.parse::<u32>().ok())
        .take_while(|number| *number < 100);
    let version = numbers.next().map(|major| (major, numbers.next().unwrap_or_default()));
    let (thinking, sampling, max_tokens) = match version {
        Some(old) if old < (3, 5) => (Thinking::None, true, 4096),
        Some(old) if old < (3, 7) => (Thinking::None, true, 8192),
        Some(old) if old < (4, 6) => (Thinking::Budget, true, 32_000),
        Some((4, 6)) => (Thinking::Adaptive, true, 32_000),
        _ => (Thinking::Adaptive, false, 32_000),
    };
    Abilities {
        thinking,
        sampling,
        high_efforts: version.is_none_or(|version| version > (4, 6)),
        structures: version.is_none_or(|version| version >= (4, 5)),
        max_tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_read_from_every_way_to_write_a_models_name() {
        let table = [
            ("claude-3-haiku-20240307", Thinking::None, true),
            ("claude-3-5-haiku-latest", Thinking::None, true),
            ("claude-3-7-sonnet-20250219", Thinking::Budget, true),
            ("claude-opus-4-20250514", Thinking::Budget, true),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Thinking::Budget, true),
            ("anthropic/claude-sonnet-4.5", Thinking::Budget, true),
            ("claude-sonnet-4-6", Thinking::Adaptive, true),
            ("claude-opus-4-7", Thinking::Adaptive, false),
            ("claude-opus-5", Thinking::Adaptive, false),
            ("claude-something-new", Thinking::Adaptive, false),
            ("qwen3:8b", Thinking::Budget, true),
        ];
        for (name, thinking, sampling) in table {
            let abilities = abilities(name);
            assert_eq!((abilities.thinking, abilities.sampling), (thinking, sampling), "{name}");
        }
        assert_eq!(abilities("claude-3-opus-20240229").max_tokens, 4096);
        let known = [
            "claude-3-7-sonnet-20250219",
            "claude-opus-4-1",
            "claude-haiku-4-5",
            "claude-opus-5",
            "qwen3:8b",
        ];
        assert_eq!(known.map(|name| abilities(name).structures), [false, false, true, true, true]);
    }
}
