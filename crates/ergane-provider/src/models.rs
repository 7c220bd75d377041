//! What a server says of the models it has, and vectors of texts: the questions to a provider that are no model calls.

use ergane_core::{Text, Usage};

/// A model of a server, as far as the server tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Its name, as a request names it.
    pub id: Text,
    /// Its name for people.
    pub display_name: Option<Text>,
    /// How many tokens prompt and answer may have together.
    pub context_window: Option<u64>,
    /// How many tokens one answer may have.
    pub max_output: Option<u64>,
    /// Whether it can call tools.
    pub tools: Option<bool>,
    /// Whether it sees images.
    pub images: Option<bool>,
    /// Whether it can reason before it answers.
    pub reasoning: Option<bool>,
    /// Whether it makes vectors of texts.
    pub embedding: Option<bool>,
}

impl ModelInfo {
    /// A model of which only the name is known.
    pub fn new(id: impl Into<Text>) -> Self {
        Self {
            id: id.into(),
            display_name: None,
            context_window: None,
            max_output: None,
            tools: None,
            images: None,
            reasoning: None,
            embedding: None,
        }
    }
}

/// Texts to be made vectors of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The model at the provider. It must be named: vectors of two models cannot be compared, so there is no default.
    pub model: Text,
    /// The texts. Servers have limits of their own for their number.
    pub input: Vec<Text>,
    /// How many numbers a vector is to have, for models that can be asked for fewer than they have.
    pub dimensions: Option<u32>,
}

impl EmbedRequest {
    /// These texts, at the model's own number of dimensions.
    pub fn new<T: Into<Text>>(model: impl Into<Text>, input: impl IntoIterator<Item = T>) -> Self {
        Self { model: model.into(), input: input.into_iter().map(Into::into).collect(), dimensions: None }
    }
}

/// Vectors of texts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Embeddings {
    /// The model that made them.
    pub model: Text,
    /// One for every text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens, when the provider told them.
    pub usage: Option<Usage>,
}

impl Embeddings {
    /// Vectors that `model` made.
    pub fn new(model: impl Into<Text>, vectors: Vec<Vec<f32>>, usage: Option<Usage>) -> Self {
        Self { model: model.into(), vectors, usage }
    }
}
