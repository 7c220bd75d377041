//! Models and vectors: `GET /models`, `POST /embeddings`.

use ergane_core::Usage;
use serde_json::{Value, json};

use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::wire::{HttpRequest, vectors};

/// Asks for the list of models.
pub fn models_request() -> HttpRequest {
    HttpRequest::get("/models")
}

/// The models of a list. OpenAI's own has names only; most others tell the window, each under a name of its own.
///
/// # Errors
/// What is wrong with it, in words.
pub fn models(list: &Value) -> Result<Vec<ModelInfo>, String> {
    Ok(entries(list).ok_or("it is no list of models")?.iter().filter_map(model).collect())
}

/// How much room models have, where a list tells. What a model was made for is not what it was started with, and bounds
/// nothing.
pub(crate) fn rooms(list: &Value) -> impl Iterator<Item = (&str, u64)> {
    let room = |entry| Some((name(entry)?, number(entry, &ROOM)?));
    entries(list).into_iter().flatten().filter_map(room)
}

fn entries(list: &Value) -> Option<&Vec<Value>> {
    list.get("data").and_then(Value::as_array).or(list.as_array())
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("id")?.as_str()
}

/// Where servers tell how many tokens a model has room for.
const ROOM: [&str; 5] = [
    "/max_model_len",      // vLLM
    "/meta/n_ctx",         // llama.cpp: what it was started with
    "/context_length",     // OpenRouter, Together
    "/context_window",     // Groq
    "/max_context_length", // Mistral, LM Studio
];

fn number(entry: &Value, paths: &[&str]) -> Option<u64> {
    paths.iter().find_map(|path| entry.pointer(path).and_then(Value::as_u64).filter(|n| *n > 0))
}

fn model(entry: &Value) -> Option<ModelInfo> {
    let listed = |path: &str, word: &str| {
        let words = entry.pointer(path)?.as_array()?;
        Some(words.iter().any(|known| known.as_str() == Some(word)))
    };
    let flag = |path: &str| entry.pointer(path).and_then(Value::as_bool);
    let mut info = ModelInfo::new(name(entry)?);
    info.display_name = entry.get("name").and_then(Value::as_str).map(Into::into);
    // The last is what llama.cpp tells of what the model was made for.
    info.context_window = number(entry, &ROOM).or_else(|| number(entry, &["/meta/n_ctx_train"]));
    info.max_output = number(entry, &["/top_provider/max_completion_tokens", "/max_completion_tokens"]);
    info.tools = flag("/capabilities/function_calling").or(listed("/supported_parameters", "tools"));
    info.images = flag("/capabilities/vision").or(listed("/architecture/input_modalities", "image"));
    info.reasoning = flag("/capabilities/reasoning").or(listed("/supported_parameters", "reasoning"));
    Some(info)
}

/// Asks llama.cpp what it was started with. That stands beside the base path and not below it.
pub fn props_request() -> HttpRequest {
    HttpRequest::get("/../props")
}

/// The context window that llama.cpp was started with.
///
/// # Errors
/// What is wrong with it, in words.
pub fn window(props: &Value) -> Result<u64, String> {
    let paths = ["/default_generation_settings/n_ctx", "/n_ctx"];
    let found = paths.iter().find_map(|path| props.pointer(path).and_then(Value::as_u64));
    found.filter(|tokens| *tokens > 0).ok_or_else(|| "it tells no window".to_owned())
}

/// Asks for vectors.
pub fn embed_request(request: &EmbedRequest) -> HttpRequest {
    let mut body = json!({"model": &*request.model, "input": &request.input, "encoding_format": "float"});
    if let (Some(dimensions), Some(body)) = (request.dimensions, body.as_object_mut()) {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    HttpRequest::post("/embeddings", &body)
}

/// The vectors of an answer, in the order of their `index`.
///
/// # Errors
/// What is wrong with it, in words.
pub fn embeddings(answer: &Value, request: &EmbedRequest) -> Result<Embeddings, String> {
    let data = answer.get("data").and_then(Value::as_array).ok_or("it has no `data`")?;
    let mut indexed = data
        .iter()
        .enumerate()
        .map(|(place, entry)| {
            let index = entry.get("index").and_then(Value::as_u64).unwrap_or(place as u64);
            entry.get("embedding").and_then(vectors::vector).map(|vector| (index, vector))
        })
        .collect::<Option<Vec<_>>>()
        .ok_or("one of its entries has no `embedding` of numbers")?;
    indexed.sort_by_key(|(index, _)| *index);
    let vectors = indexed.into_iter().map(|(_, vector)| vector).collect();
    let tokens = answer.pointer("/usage/prompt_tokens").and_then(Value::as_u64);
    let usage = tokens.map(|input_tokens| Usage { input_tokens, ..Usage::default() });
    Ok(Embeddings::new(request.model.clone(), vectors::complete(vectors, request.input.len())?, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_a_model_is_found_under_every_servers_name_for_it() {
        let list = json!({"object": "list", "data": [
            {"id": "openai", "object": "model", "created": 1, "owned_by": "openai"},
            {"id": "vllm", "max_model_len": 32768},
            {"id": "llama", "meta": {"n_ctx_train": 131072, "n_params": 1}},
            {"id": "started", "meta": {"n_ctx_train": 131072, "n_ctx": 4096}},
            {"id": "router", "name": "A Router", "context_length": 200000, "supported_parameters": ["tools"],
             "architecture": {"input_modalities": ["text", "image"]}, "top_provider": {"max_completion_tokens": 8192}},
            {"id": "groq", "context_window": 8192},
            {"id": "mistral", "max_context_length": 128000, "capabilities": {"function_calling": true, "vision": false}},
            {"object": "model"},
        ]});
        let models = models(&list).unwrap();
        let windows: Vec<_> = models.iter().map(|model| (&*model.id, model.context_window)).collect();
        assert_eq!(
            windows,
            [
                ("openai", None),
                ("vllm", Some(32768)),
                ("llama", Some(131_072)),
                ("started", Some(4096)),
                ("router", Some(200_000)),
                ("groq", Some(8192)),
                ("mistral", Some(128_000)),
            ]
        );
        let router = &models[4];
        assert_eq!((router.max_output, router.tools, router.images), (Some(8192), Some(true), Some(true)));
        assert_eq!((models[6].tools, models[6].images, models[0].tools), (Some(true), Some(false), None));
        assert!(super::models(&json!({"models": []})).is_err());
        let rooms: Vec<_> = rooms(&list).map(|(id, tokens)| (id, Some(tokens))).collect();
        let told = |(id, window): &(&str, Option<u64>)| window.is_some() && *id != "llama";
        let told: Vec<_> = windows.into_iter().filter(told).collect();
        assert_eq!(rooms, told, "what a model was made for is no room");
    }

    #[test]
    fn the_window_that_a_llama_was_started_with_is_among_its_properties() {
        assert_eq!(window(&json!({"default_generation_settings": {"n_ctx": 4096}})), Ok(4096));
        assert!(window(&json!({"error": "x"})).is_err());
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts_whatever_the_order_of_the_answer() {
        let mut request = EmbedRequest::new("e", ["a", "b"]);
        request.dimensions = Some(2);
        let body: Value = serde_json::from_slice(&embed_request(&request).body.bytes()).unwrap();
        assert_eq!(
            body,
            json!({"model": "e", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2})
        );
        let answer = json!({"data": [{"index": 1, "embedding": [0.5, 1]}, {"index": 0, "embedding": [0, -1]}],
                            "usage": {"prompt_tokens": 3, "total_tokens": 3}});
        let embeddings = embeddings(&answer, &request).unwrap();
        assert_eq!(embeddings.vectors, [vec![0.0, -1.0], vec![0.5, 1.0]]);
        assert_eq!(embeddings.usage.unwrap().input_tokens, 3);
        for bad in [json!({}), json!({"data": []}), json!({"data": [{"embedding": "x"}, {"embedding": [1]}]})]
        {
            assert!(super::embeddings(&bad, &request).is_err(), "{bad}");
        }
    }
}
