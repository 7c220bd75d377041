//! Models and vectors: `GET /api/tags`, `POST /api/show`, `POST /api/embed`.

use ergane_core::Usage;
use serde_json::{Value, json};

use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::wire::{HttpRequest, vectors};

/// Asks for the list of models.
pub fn models_request() -> HttpRequest {
    HttpRequest::get("/api/tags")
}

/// The models of a list.
///
/// # Errors
/// What is wrong with it, in words.
pub fn models(list: &Value) -> Result<Vec<ModelInfo>, String> {
    match list.get("models") {
        Some(Value::Array(list)) => Ok(list
            .iter()
            .filter_map(|entry| {
                let name = entry.get("name").or(entry.get("model"))?.as_str()?;
                Some(with_capabilities(ModelInfo::new(name), entry))
            })
            .collect()),
        Some(Value::Null) => Ok(Vec::new()),
        _ => Err("it is no list of models".to_owned()),
    }
}

/// Asks for what is known of a model.
pub fn show_request(model: &str) -> HttpRequest {
    HttpRequest::post("/api/show", &json!({"model": model}))
}

/// What is known of `model`. Its window is the one it was made for.
///
/// # Errors
/// What is wrong with it, in words.
pub fn model_info(shown: &Value, model: &str) -> Result<ModelInfo, String> {
    let details = shown.get("model_info").and_then(Value::as_object);
    if details.is_none() && shown.get("details").is_none() {
        return Err("it says nothing of the model".to_owned());
    }
    let mut info = with_capabilities(ModelInfo::new(model), shown);
    info.context_window = details.and_then(|details| {
        let architecture = details.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
        let own = details.get(&format!("{architecture}.context_length"));
        let any = || details.iter().find(|(key, _)| key.ends_with(".context_length")).map(|(_, value)| value);
        own.or_else(any).and_then(Value::as_u64).filter(|tokens| *tokens > 0)
    });
    Ok(info)
}

fn with_capabilities(mut info: ModelInfo, entry: &Value) -> ModelInfo {
    if let Some(capabilities) = entry.get("capabilities").and_then(Value::as_array) {
        let can = |what: &str| Some(capabilities.iter().any(|capability| capability.as_str() == Some(what)));
        info.tools = can("tools");
        info.images = can("vision");
        info.reasoning = can("thinking");
        info.embedding = can("embedding");
    }
    info
}

/// Asks for vectors. A text that is too long is an error, and not cut in silence.
pub fn embed_request(request: &EmbedRequest) -> HttpRequest {
    let mut body = json!({"model": &*request.model, "input": &request.input, "truncate": false});
    if let (Some(dimensions), Some(body)) = (request.dimensions, body.as_object_mut()) {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    HttpRequest::post("/api/embed", &body)
}

/// The vectors of an answer.
///
/// # Errors
/// What is wrong with it, in words.
pub fn embeddings(answer: &Value, request: &EmbedRequest) -> Result<Embeddings, String> {
    let list = answer.get("embeddings").and_then(Value::as_array).ok_or("it has no `embeddings`")?;
    let vectors = list.iter().map(vectors::vector).collect::<Option<Vec<_>>>();
    let vectors = vectors.ok_or("one of its `embeddings` is not a list of numbers")?;
    let tokens = answer.get("prompt_eval_count").and_then(Value::as_u64);
    let usage = tokens.map(|input_tokens| Usage { input_tokens, ..Usage::default() });
    Ok(Embeddings::new(request.model.clone(), vectors::complete(vectors, request.input.len())?, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_may_be_null_and_tells_what_models_can_do() {
        assert_eq!(models(&json!({"models": null})).unwrap(), []);
        assert!(models(&json!({"data": []})).is_err());
        let list = json!({"models": [{"name": "a:1b", "model": "a:1b", "capabilities": ["completion", "tools"]},
                                     {"model": "b"}, {"size": 1}]});
        let models = models(&list).unwrap();
        let told: Vec<_> = models.iter().map(|model| (&*model.id, model.tools, model.images)).collect();
        assert_eq!(told, [("a:1b", Some(true), Some(false)), ("b", None, None)]);
    }

    #[test]
    fn the_window_is_that_of_the_models_own_architecture() {
        let shown = json!({"capabilities": ["completion", "vision", "thinking"], "model_info":
            {"general.architecture": "qwen3", "a.context_length": 1, "qwen3.context_length": 40960}});
        let info = model_info(&shown, "m").unwrap();
        assert_eq!((info.context_window, info.images, info.reasoning), (Some(40960), Some(true), Some(true)));
        let other = json!({"model_info": {"general.architecture": "x", "y.context_length": 512}});
        assert_eq!(model_info(&other, "m").unwrap().context_window, Some(512));
        assert_eq!(model_info(&json!({"details": {}}), "m").unwrap().context_window, None);
        assert!(model_info(&json!({"license": "x"}), "m").is_err());
    }

    #[test]
    fn one_vector_comes_for_every_text_or_none_at_all() {
        let request = EmbedRequest::new("e", ["a", "b"]);
        let body: Value = serde_json::from_slice(&embed_request(&request).body.bytes()).unwrap();
        assert_eq!(body, json!({"model": "e", "input": ["a", "b"], "truncate": false}));
        let answer = json!({"model": "e", "embeddings": [[0.25], [1]], "prompt_eval_count": 4});
        let embeddings = embeddings(&answer, &request).unwrap();
        assert_eq!(
            (embeddings.vectors, embeddings.usage.unwrap().input_tokens),
            (vec![vec![0.25], vec![1.0]], 4)
        );
        for bad in [json!({}), json!({"embeddings": [[1]]}), json!({"embeddings": [[1], ["x"]]})] {
            assert!(super::embeddings(&bad, &request).is_err(), "{bad}");
        }
    }
}
