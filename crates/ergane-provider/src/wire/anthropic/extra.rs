//! The models: `GET /v1/models`, in pages, and `GET /v1/models/{model}`.

use serde_json::Value;

use super::VERSION;
use crate::models::ModelInfo;
use crate::wire::{HttpRequest, query};

/// Asks for a page of the list: the first, or the one after a model.
pub fn models_request(after: Option<&str>) -> HttpRequest {
    let after = after.map(|after| format!("&after_id={}", query(after))).unwrap_or_default();
    HttpRequest::get(format!("/v1/models?limit=1000{after}")).header("anthropic-version", VERSION)
}

/// Asks for one model, which may be named by an alias.
pub fn model_info_request(model: &str) -> HttpRequest {
    HttpRequest::get(format!("/v1/models/{}", query(model))).header("anthropic-version", VERSION)
}

/// What is known of a model, under its own name.
///
/// # Errors
/// What is wrong with it, in words.
pub fn model_info(entry: &Value) -> Result<ModelInfo, String> {
    model(entry).ok_or_else(|| "it says nothing of the model".to_owned())
}

/// The models of a page, and after which of them the next page begins; `None` at the last one.
///
/// # Errors
/// What is wrong with it, in words.
pub fn models(page: &Value) -> Result<(Vec<ModelInfo>, Option<String>), String> {
    let data = page.get("data").and_then(Value::as_array).ok_or("it is no list of models")?;
    let models = data.iter().filter_map(model).collect();
    let more = page.get("has_more").and_then(Value::as_bool) == Some(true);
    let last = page.get("last_id").and_then(Value::as_str).filter(|id| more && !id.is_empty());
    Ok((models, last.map(str::to_owned)))
}

fn model(entry: &Value) -> Option<ModelInfo> {
    let mut info = ModelInfo::new(entry.get("id")?.as_str()?);
    let number = |name: &str| entry.get(name).and_then(Value::as_u64).filter(|tokens| *tokens > 0);
    // A capability is told as a word of a list, as a flag, or as an object that says whether it is supported.
    let can = |name: &str| match entry.get("capabilities")? {
        Value::Array(words) => Some(words.iter().any(|word| word.as_str() == Some(name))),
        Value::Object(flags) => {
            let flag = flags.get(name)?;
            flag.as_bool().or_else(|| flag.get("supported")?.as_bool())
        }
        _ => None,
    };
    info.display_name = entry.get("display_name").and_then(Value::as_str).map(Into::into);
    info.context_window = number("max_input_tokens");
    info.max_output = number("max_tokens");
    info.images = can("image_input").or_else(|| can("vision"));
    info.reasoning = can("thinking");
    Some(info)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let page = json!({"data": [
            {"id": "claude-x", "display_name": "Claude X", "max_input_tokens": 200_000, "max_tokens": 64_000,
             "capabilities": {"thinking": {"supported": true}, "image_input": {"supported": false}}},
            {"id": "claude-y"}, {"type": "model"}], "has_more": true, "last_id": "claude-y"});
        let (models, next) = models(&page).unwrap();
        assert_eq!(models.iter().map(|model| &*model.id).collect::<Vec<_>>(), ["claude-x", "claude-y"]);
        let first = &models[0];
        assert_eq!((first.context_window, first.max_output), (Some(200_000), Some(64_000)));
        assert_eq!((first.reasoning, first.images, models[1].images), (Some(true), Some(false), None));
        assert_eq!(next.as_deref(), Some("claude-y"));
        assert_eq!(models_request(Some("a b")).path, "/v1/models?limit=1000&after_id=a%20b");
        let last = json!({"data": [], "has_more": false, "last_id": "claude-y"});
        assert_eq!(super::models(&last).unwrap(), (vec![], None));
        assert!(super::models(&json!({})).is_err());
        assert_eq!(model_info_request("vendor/a b").path, "/v1/models/vendor%2Fa%20b");
        assert_eq!(model_info(&page["data"][0]).as_ref(), Ok(first));
        assert!(model_info(&json!({"type": "model"})).is_err());
    }
}
