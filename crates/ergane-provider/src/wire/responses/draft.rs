//! An item of a reply while it is being written.

use serde_json::{Map, Value, json};

use super::items;

/// An item that is being written: what its pieces made of it, and what the server said of it as a whole.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// Its place in the reply.
    pub(super) index: Option<u64>,
    pub(super) id: Option<String>,
    /// What the server said of it last, as a whole.
    pub(super) item: Map<String, Value>,
    /// Whether that was its last word.
    pub(super) done: bool,
    pub(super) text: String,
    pub(super) refusal: String,
    pub(super) reasoning: String,
    pub(super) arguments: String,
    /// Whether the call has been told.
    pub(super) told: bool,
}

/// What is to be shown of an item that is done, because its pieces did not show it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Unshown {
    pub(super) text: String,
    pub(super) reasoning: String,
}

impl Draft {
    /// Whether nothing is known of what it is.
    pub(super) fn is_blank(&self) -> bool {
        let Self { item, text, refusal, reasoning, arguments, .. } = self;
        item.is_empty() && [text, refusal, reasoning, arguments].into_iter().all(String::is_empty)
    }

    /// What it is: as the server said, or as its pieces look when it did not.
    pub(super) fn kind(&self) -> &str {
        match self.item.get("type").and_then(Value::as_str) {
            Some(kind) => kind,
            None if !self.arguments.is_empty() => "function_call",
            None if !self.text.is_empty() || !self.refusal.is_empty() => "message",
            None => "reasoning",
        }
    }

    /// The name of a call that has not been told yet.
    pub(super) fn untold_call(&mut self) -> Option<String> {
        let word = |field: &str| self.item.get(field).and_then(Value::as_str);
        let name = word("name").filter(|name| !name.is_empty() && word("type") == Some("function_call"))?;
        (!std::mem::replace(&mut self.told, true)).then(|| name.to_owned())
    }

    /// The server's last word on it. Says what of it was never shown.
    pub(super) fn finish(&mut self, item: Map<String, Value>) -> Unshown {
        self.item = item;
        self.done = true;
        match self.item.get("type").and_then(Value::as_str) {
            Some("message") => {
                let mut texts = String::new();
                for piece in self.item.get("content").and_then(Value::as_array).into_iter().flatten() {
                    let text = piece.get("text").or(piece.get("refusal")).and_then(Value::as_str);
                    texts.push_str(text.unwrap_or_default());
                }
                // Not put together first: what was shown may be long, and this be said of it often.
                let rest = texts.strip_prefix(&*self.text).and_then(|rest| rest.strip_prefix(&*self.refusal));
                Unshown { text: rest.unwrap_or_default().to_owned(), ..Unshown::default() }
            }
            // A server may show thoughts and sum them up in other words at the end.
            Some("reasoning") if self.reasoning.is_empty() => {
                Unshown { reasoning: items::readable(&self.item), ..Unshown::default() }
            }
            _ => Unshown::default(),
        }
    }

    /// The item: as the server said, or as its pieces make it when it did not.
    pub(super) fn into_item(self) -> Value {
        if self.done {
            return self.item.into();
        }
        let kind = self.kind().to_owned();
        let mut item = self.item;
        // It says that the item is not done, which is known.
        item.remove("status");
        match kind.as_str() {
            "message" => {
                let mut content = Vec::new();
                if !self.text.is_empty() {
                    content.push(json!({"type": "output_text", "text": self.text}));
                }
                if !self.refusal.is_empty() {
                    content.push(json!({"type": "refusal", "refusal": self.refusal}));
                }
                item.insert("content".to_owned(), content.into());
            }
            "reasoning" if !self.reasoning.is_empty() => {
                let summary = json!([{"type": "summary_text", "text": self.reasoning}]);
                item.insert("summary".to_owned(), summary);
            }
            "function_call" if !self.arguments.is_empty() => {
                item.insert("arguments".to_owned(), self.arguments.into());
            }
            _ => {}
        }
        item.insert("type".to_owned(), kind.into());
        item.into()
    }
}
