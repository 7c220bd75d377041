//! How two requests differ, in words.

use serde_json::Value;

use super::file::{Body, Request};

/// So many differences are told; they are enough to see what is wrong.
const TOLD: usize = 20;

/// How much of a value is shown, in characters.
const SHOWN: usize = 120;

/// What differs between a recorded request and one that was asked; nothing when they are the same. What stands at one of the
/// pointers of `ignored`, such as `/user`, does not count.
pub(super) fn differences(recorded: &Request, asked: &Request, ignored: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let words = [("method", &recorded.method, &asked.method), ("path", &recorded.path, &asked.path)];
    for (what, recorded, asked) in words {
        if recorded != asked {
            found.push(format!("{what}: recorded {recorded}, asked {asked}"));
        }
    }
    for (name, value) in &recorded.headers {
        let other = asked.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        match other {
            Some(other) if other == value => {}
            Some(other) => found.push(format!("header {name}: recorded {value}, asked {other}")),
            None => found.push(format!("header {name}: recorded {value}, not asked")),
        }
    }
    match (&recorded.body, &asked.body) {
        (Body::Json(recorded), Body::Json(asked)) => values(recorded, asked, "", ignored, &mut found),
        (recorded, asked) if recorded == asked => {}
        (recorded, asked) => {
            found.push(format!("body: recorded {}, asked {}", short(recorded), short(asked)))
        }
    }
    if found.len() > TOLD {
        let more = found.len() - TOLD;
        found.truncate(TOLD);
        found.push(format!("and {more} more"));
    }
    found
}

fn short(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn values(recorded: &Value, asked: &Value, at: &str, ignored: &[String], found: &mut Vec<String>) {
    if recorded == asked || ignored.iter().any(|pointer| pointer == at) {
        return;
    }
    match (recorded, asked) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match theirs.get(key) {
                    Some(other) => values(value, other, &at, ignored, found),
                    None if ignored.contains(&at) => {}
                    None => found.push(format!("{at}: recorded {}, not asked", short(value))),
                }
            }
            for (key, value) in theirs.iter().filter(|(key, _)| !ours.contains_key(*key)) {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                if !ignored.contains(&at) {
                    found.push(format!("{at}: not recorded, asked {}", short(value)));
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for index in 0..ours.len().max(theirs.len()) {
                let at = format!("{at}/{index}");
                match (ours.get(index), theirs.get(index)) {
                    (Some(ours), Some(theirs)) => values(ours, theirs, &at, ignored, found),
                    (Some(ours), None) => found.push(format!("{at}: recorded {}, not asked", short(ours))),
                    (None, Some(theirs)) => {
                        found.push(format!("{at}: not recorded, asked {}", short(theirs)))
                    }
                    (None, None) => {}
                }
            }
        }
        _ => found.push(format!("{at}: recorded {}, asked {}", short(recorded), short(asked))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(body: Value) -> Request {
        Request { method: "POST".into(), path: "/v1/x".into(), headers: Vec::new(), body: Body::Json(body) }
    }

    #[test]
    fn a_difference_is_told_with_its_place_and_the_order_of_keys_is_none() {
        let recorded = request(json!({"a": 1, "list": [1, {"b/c": "x"}], "gone": true}));
        assert_eq!(differences(&recorded, &recorded, &[]), Vec::<String>::new());
        let same: Value = serde_json::from_str(r#"{"gone":true,"list":[1,{"b/c":"x"}],"a":1}"#).unwrap();
        assert!(differences(&recorded, &request(same), &[]).is_empty());
        let asked = request(json!({"a": 2, "list": [1, {"b/c": "y"}, 3], "new": null}));
        assert_eq!(
            differences(&recorded, &asked, &[]),
            [
                "/a: recorded 1, asked 2",
                "/gone: recorded true, not asked",
                "/list/1/b~1c: recorded \"x\", asked \"y\"",
                "/list/2: not recorded, asked 3",
                "/new: not recorded, asked null",
            ]
        );
        let ignored = ["/a", "/gone", "/list", "/new"].map(str::to_owned);
        assert!(differences(&recorded, &asked, &ignored).is_empty());
        let header = |value: &str| vec![("anthropic-version".to_owned(), value.to_owned())];
        let versioned = Request { headers: header("1"), ..recorded.clone() };
        assert_eq!(differences(&recorded, &versioned, &[]), Vec::<String>::new(), "it asks for no header");
        let told = |asked: &Request| differences(&versioned, asked, &[]);
        assert_eq!(told(&versioned), Vec::<String>::new());
        assert_eq!(told(&recorded), ["header anthropic-version: recorded 1, not asked"]);
        let newer = Request { headers: header("2"), ..recorded.clone() };
        assert_eq!(told(&newer), ["header anthropic-version: recorded 1, asked 2"]);
        let elsewhere = Request { path: "/v2/x".into(), ..recorded.clone() };
        assert_eq!(differences(&recorded, &elsewhere, &[]), ["path: recorded /v1/x, asked /v2/x"]);
    }
}
