//! How much to think, in words: for all formats that take words and not numbers.

use ergane_core::ReasoningEffort;

/// The word nearest to a number of tokens; whatever is a word already stays it.
pub(crate) fn level(asked: ReasoningEffort) -> ReasoningEffort {
    match asked {
        ReasoningEffort::Tokens(0..4096) => ReasoningEffort::Low,
        ReasoningEffort::Tokens(4096..12_288) => ReasoningEffort::Medium,
        ReasoningEffort::Tokens(_) => ReasoningEffort::High,
        word => word,
    }
}

/// OpenAI's words, the same in both of its formats.
pub(crate) fn word(asked: ReasoningEffort) -> &'static str {
    match level(asked) {
        ReasoningEffort::Off => "none",
        ReasoningEffort::Minimal => "minimal",
        ReasoningEffort::Low => "low",
        ReasoningEffort::Medium => "medium",
        ReasoningEffort::High => "high",
        ReasoningEffort::XHigh => "xhigh",
        _ => "max",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_tokens_is_the_word_nearest_to_it() {
        use ReasoningEffort::*;
        let numbers = [0, 4095, 4096, 12_287, 12_288, u32::MAX].map(|tokens| level(Tokens(tokens)));
        assert_eq!(numbers, [Low, Low, Medium, Medium, High, High]);
        let words = [Off, Minimal, Low, Medium, High, XHigh, Max];
        assert_eq!(words.map(level), words);
        assert_eq!(words.map(word), ["none", "minimal", "low", "medium", "high", "xhigh", "max"]);
        assert_eq!(word(Tokens(5000)), "medium");
    }
}
