//! What a server says of the models it has, and vectors of texts: the questions to a provider that are no model calls.

use ergane_core::{Text, Usage};

/// A model of a server, as far as the server tells.
///
/// ```
/// use ergane_provider::ModelInfo;
///
/// // What a server does not tell is `None`, which is not "no".
/// let info = ModelInfo::new("qwen3:8b");
/// let may_call_tools = info.tools.unwrap_or(true);
/// assert!(may_call_tools && info.context_window.is_none());
/// ```
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
    ///
    /// ```
    /// assert_eq!(&*ergane_provider::ModelInfo::new("qwen3:8b").id, "qwen3:8b");
    /// ```
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
///
/// ```
/// use ergane_provider::EmbedRequest;
///
/// let short = EmbedRequest { dimensions: Some(256), ..EmbedRequest::new("text-embedding-3-small", ["a red fox"]) };
/// assert_eq!(short.input.len(), 1);
/// ```
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
    ///
    /// ```
    /// use ergane_provider::EmbedRequest;
    ///
    /// let request = EmbedRequest::new("nomic-embed-text", ["a red fox", "a blue whale"]);
    /// assert_eq!((request.input.len(), request.dimensions), (2, None));
    /// ```
    pub fn new<T: Into<Text>>(model: impl Into<Text>, input: impl IntoIterator<Item = T>) -> Self {
        Self { model: model.into(), input: input.into_iter().map(Into::into).collect(), dimensions: None }
    }
}

/// Vectors of texts.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ergane_provider::{EmbedRequest, Provider, Scripted};
///
/// let made = Scripted::builtin().embed(EmbedRequest::new("scripted", ["a red fox", "A red FOX!"])).await?;
/// assert_eq!(made.vectors.len(), 2);
/// let near: f32 = made.vectors[0].iter().zip(&made.vectors[1]).map(|(a, b)| a * b).sum();
/// assert!(near > 0.99, "the same words are the same vector");
/// # Ok(())
/// # }
/// ```
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
    ///
    /// ```
    /// use ergane_provider::Embeddings;
    ///
    /// let made = Embeddings::new("nomic-embed-text", vec![vec![0.6, 0.8]], None);
    /// assert_eq!(made.vectors[0].len(), 2);
    /// ```
    pub fn new(model: impl Into<Text>, vectors: Vec<Vec<f32>>, usage: Option<Usage>) -> Self {
        Self { model: model.into(), vectors, usage }
    }
}
