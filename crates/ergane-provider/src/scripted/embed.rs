//! Vectors without a model: texts with words in common are near each other, and that is all that is promised.
//!
//! Every word adds to one place of the vector, which its hash chooses; the vector is then made as long as all others. So
//! a program that searches by vectors can be tried and tested without a network, with the same result every time.

use ergane_core::{Digest, Usage};

use crate::models::{EmbedRequest, Embeddings};

const DIMENSIONS: u32 = 64;

const MOST_DIMENSIONS: u32 = 4096;

pub(super) fn embed(request: &EmbedRequest) -> Embeddings {
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS).clamp(1, MOST_DIMENSIONS);
    let mut words = 0;
    let vectors = request
        .input
        .iter()
        .map(|text| {
            let (vector, count) = vector(text, dimensions);
            words += count;
            vector
        })
        .collect();
    let usage = Usage { input_tokens: words, ..Usage::default() };
    Embeddings::new(request.model.clone(), vectors, Some(usage))
}

fn vector(text: &str, dimensions: u32) -> (Vec<f32>, u64) {
    let mut vector = vec![0.0f32; dimensions as usize];
    let mut count = 0;
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        count += 1;
        if let Some(place) = vector.get_mut(place(&word.to_lowercase(), dimensions)) {
            *place += 1.0;
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
    (vector, count)
}

/// Chosen by a digest, which is the same in every process and version.
fn place(word: &str, dimensions: u32) -> usize {
    let digest = Digest::of(word.as_bytes()).to_string();
    let head = digest.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    usize::try_from(head % u64::from(dimensions)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_words_in_common_are_nearer_than_others_and_the_same_text_is_the_same_vector() {
        let request = EmbedRequest::new("scripted", ["the red fox", "A red FOX!", "blue whales sing", ""]);
        let made = embed(&request);
        assert_eq!(made, embed(&request));
        let near = |a: usize, b: usize| -> f32 {
            made.vectors[a].iter().zip(&made.vectors[b]).map(|(a, b)| a * b).sum()
        };
        assert!(near(0, 1) > near(0, 2) + 0.2, "{} {}", near(0, 1), near(0, 2));
        assert!((near(0, 0) - 1.0).abs() < 1e-5);
        assert_eq!(made.vectors[3], vec![0.0; 64]);
        assert_eq!(made.usage.unwrap().input_tokens, 9);
        let mut short = request;
        short.dimensions = Some(3);
        assert!(embed(&short).vectors.iter().all(|vector| vector.len() == 3));
    }
}
