//! Models and vectors: `GET /models`, `GET /models/{model}`, `POST /models/{model}:batchEmbedContents`.

use serde_json::{Value, json};

use super::request::resource;
use crate::models::{EmbedRequest, Embeddings, ModelInfo};
use crate::wire::{HttpRequest, query, vectors};

/// How many models a page of the list is to have: the most there may be.
const PAGE: u32 = 1000;

/// Asks for the list of models, from the page that `token` names on.
pub fn models_request(token: Option<&str>) -> HttpRequest {
    let from = token.map(|token| format!("&pageToken={}", query(token))).unwrap_or_default();
    HttpRequest::get(format!("/models?pageSize={PAGE}{from}"))
}

/// What names the next page of the list; `None` on the last one.
pub fn next_page(list: &Value) -> Option<String> {
    list.get("nextPageToken")?.as_str().filter(|token| !token.is_empty()).map(str::to_owned)
}

/// The models of a page of the list.
///
/// # Errors
/// What is wrong with it, in words.
pub fn models(list: &Value) -> Result<Vec<ModelInfo>, String> {
    match list.get("models") {
        Some(Value::Array(list)) => Ok(list.iter().filter_map(model).collect()),
        // A page may be empty, and then says nothing at all.
        None if list.as_object().is_some_and(|list| list.keys().all(|key| key == "nextPageToken")) => {
            Ok(Vec::new())
        }
        _ => Err("it is no list of models".to_owned()),
    }
}

/// Asks for what is known of a model.
pub fn model_info_request(model: &str) -> HttpRequest {
    HttpRequest::get(format!("/{}", resource(model)))
}

/// What is known of a model.
///
/// # Errors
/// What is wrong with it, in words.
pub fn model_info(entry: &Value) -> Result<ModelInfo, String> {
    model(entry).ok_or_else(|| "it says nothing of the model".to_owned())
}

fn model(entry: &Value) -> Option<ModelInfo> {
    let name = entry.get("name")?.as_str()?;
    let number = |field: &str| entry.get(field).and_then(Value::as_u64).filter(|number| *number > 0);
    let mut info = ModelInfo::new(name.strip_prefix("models/").unwrap_or(name));
    info.display_name = entry.get("displayName").and_then(Value::as_str).map(Into::into);
    info.context_window = number("inputTokenLimit");
    info.max_output = number("outputTokenLimit");
    info.reasoning = entry.get("thinking").and_then(Value::as_bool);
    if let Some(methods) = entry.get("supportedGenerationMethods").and_then(Value::as_array) {
        info.embedding = Some(methods.iter().any(|method| method == "embedContent"));
    }
    Some(info)
}

/// Asks for vectors.
pub fn embed_request(request: &EmbedRequest) -> HttpRequest {
    let model = resource(&request.model);
    let requests: Vec<Value> = request
        .input
        .iter()
        .map(|text| {
            let mut one = json!({"model": model, "content": {"parts": [{"text": &**text}]}});
            if let (Some(dimensions), Some(one)) = (request.dimensions, one.as_object_mut()) {
                one.insert("outputDimensionality".to_owned(), dimensions.into());
            }
            one
        })
        .collect();
    HttpRequest::post(format!("/{model}:batchEmbedContents"), &json!({"requests": requests}))
}

/// The vectors of an answer. It does not tell tokens.
///
/// # Errors
/// What is wrong with it, in words.
pub fn embeddings(answer: &Value, request: &EmbedRequest) -> Result<Embeddings, String> {
    let list = answer.get("embeddings").and_then(Value::as_array).ok_or("it has no `embeddings`")?;
    let vectors = list.iter().map(|entry| entry.get("values").and_then(vectors::vector));
    let vectors =
        vectors.collect::<Option<Vec<_>>>().ok_or("one of its `embeddings` has no `values` of numbers")?;
    Ok(Embeddings::new(request.model.clone(), vectors::complete(vectors, request.input.len())?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_models_tells_windows_and_where_the_next_begins() {
        let page = json!({"models": [
            {"name": "models/gemini-3-pro", "displayName": "Gemini 3 Pro", "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
             "supportedGenerationMethods": ["generateContent", "countTokens"], "thinking": true},
            {"name": "models/gemini-embedding-001", "inputTokenLimit": 2048, "supportedGenerationMethods": ["embedContent"]},
            {"displayName": "without a name"},
        ], "nextPageToken": "a+b="});
        let found = models(&page).unwrap();
        let told: Vec<_> =
            found.iter().map(|model| (&*model.id, model.context_window, model.embedding)).collect();
        assert_eq!(
            told,
            [
                ("gemini-3-pro", Some(1_048_576), Some(false)),
                ("gemini-embedding-001", Some(2048), Some(true))
            ]
        );
        assert_eq!((found[0].max_output, found[0].reasoning), (Some(65_536), Some(true)));
        assert_eq!(
            models_request(next_page(&page).as_deref()).path,
            "/models?pageSize=1000&pageToken=a%2Bb%3D"
        );
        assert_eq!(models_request(None).path, "/models?pageSize=1000");
        assert_eq!((models(&json!({})).unwrap(), next_page(&json!({"nextPageToken": ""}))), (vec![], None));
        assert!(models(&json!({"data": []})).is_err());
        assert_eq!(model_info_request("gemini-3-pro").path, "/models/gemini-3-pro");
        assert_eq!(&*model_info(&page["models"][0]).unwrap().id, "gemini-3-pro");
        assert!(model_info(&json!({})).is_err());
    }

    #[test]
    fn one_vector_comes_for_every_text_or_none_at_all() {
        let mut request = EmbedRequest::new("e", ["a", "b"]);
        request.dimensions = Some(2);
        let http = embed_request(&request);
        assert_eq!(http.path, "/models/e:batchEmbedContents");
        assert_eq!(
            serde_json::from_slice::<Value>(&http.body.bytes()).unwrap(),
            json!({"requests": [
                {"model": "models/e", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 2},
                {"model": "models/e", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 2},
            ]})
        );
        let answer = json!({"embeddings": [{"values": [0.5, 1]}, {"values": [0, -1]}]});
        assert_eq!(embeddings(&answer, &request).unwrap().vectors, [vec![0.5, 1.0], vec![0.0, -1.0]]);
        for bad in [json!({}), json!({"embeddings": [{"values": [1]}]}), json!({"embeddings": [{}, {}]})] {
            assert!(embeddings(&bad, &request).is_err(), "{bad}");
        }
    }
}
