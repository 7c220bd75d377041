//! Calls as some models were taught to write them: `[get(city="Oslo", days=3)]`.

use serde_json::{Map, Value};

use crate::wire::balance::MAX_DEPTH;

/// The calls of a list of calls, with their arguments by name; `None` when it is none.
pub(super) fn calls(text: &str) -> Option<Vec<(String, Map<String, Value>)>> {
    let mut reader = Reader { rest: text.trim(), depth: 0 };
    let mut calls = Vec::new();
    reader.expect('[')?;
    while !reader.accept(']') {
        let name = reader.name()?;
        reader.expect('(')?;
        let mut arguments = Map::new();
        while !reader.accept(')') {
            let key = reader.name()?;
            reader.expect('=')?;
            arguments.insert(key, reader.value()?);
            reader.accept(',');
        }
        calls.push((name, arguments));
        reader.accept(',');
    }
    reader.rest.trim().is_empty().then_some(calls)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn accept(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.accept(c).then_some(())
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> Option<String> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!word.is_empty()).then(|| word.to_owned())
    }

    fn name(&mut self) -> Option<String> {
        self.take(super::block::is_name)
    }

    fn value(&mut self) -> Option<Value> {
        self.rest = self.rest.trim_start();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = match self.rest.chars().next()? {
            quote @ ('"' | '\'') => Value::String(self.string(quote)?),
            '[' | '(' => self.list()?,
            '{' => self.map()?,
            _ => match self.take(|c| c.is_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'))?.as_str() {
                "True" | "true" => true.into(),
                "False" | "false" => false.into(),
                "None" | "null" => Value::Null,
                number => serde_json::from_str::<serde_json::Number>(number).ok()?.into(),
            },
        };
        self.depth -= 1;
        Some(value)
    }

    fn list(&mut self) -> Option<Value> {
        let close = if self.accept('[') { ']' } else { ')' };
        if close == ')' {
            self.expect('(')?;
        }
        let mut list = Vec::new();
        while !self.accept(close) {
            list.push(self.value()?);
            self.accept(',');
        }
        Some(list.into())
    }

    fn map(&mut self) -> Option<Value> {
        self.expect('{')?;
        let mut map = Map::new();
        while !self.accept('}') {
            let Value::String(key) = self.value()? else { return None };
            self.expect(':')?;
            map.insert(key, self.value()?);
            self.accept(',');
        }
        Some(map.into())
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                }),
                c if c == quote => {
                    self.rest = self.rest.get(at + 1..)?;
                    return Some(text);
                }
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_read_with_all_kinds_of_values() {
        let text = r#"[get(city="O'slo \"x\"", days=3, deep={'a': [1, -2.5, True], "b": None}), now(), a.b(x=(1,))]"#;
        let found: Vec<_> =
            calls(text).unwrap().into_iter().map(|(name, map)| (name, Value::Object(map))).collect();
        assert_eq!(
            found,
            [
                (
                    "get".to_owned(),
                    json!({"city": "O'slo \"x\"", "days": 3, "deep": {"a": [1, -2.5, true], "b": null}})
                ),
                ("now".to_owned(), json!({})),
                ("a.b".to_owned(), json!({"x": [1]})),
            ]
        );
        for bad in
            ["[get(3)]", "[get(x=)]", "[get(x=1)", "get(x=1)", "[get(x=\"1)]", "[get(x=1)] and more", "[1]"]
        {
            assert_eq!(calls(bad), None, "{bad}");
        }
    }
}
