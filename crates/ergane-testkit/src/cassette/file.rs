//! The cassette as data, and the lines it is kept in.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::TestkitError;

/// The version of the format that this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// Recorded exchanges.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cassette {
    /// What was recorded.
    pub header: Header,
    /// In the order in which they ended.
    pub exchanges: Vec<Exchange>,
}

/// What a cassette is a recording of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the format.
    pub version: u32,
    /// What was recorded, for people: the server and its version, the model.
    #[serde(default)]
    pub source: String,
    /// The path of the base URL that was recorded; a [`Replay`](super::Replay)'s URL has it too.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub base_path: String,
    /// Whatever a test wants to keep with it, such as what is expected of it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub notes: Value,
}

impl Default for Header {
    fn default() -> Self {
        Self { version: VERSION, source: String::new(), base_path: String::new(), notes: Value::Null }
    }
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// How the answer began; `None` when the connection was closed without one.
    pub response: Option<Response>,
    /// The body, as it came.
    pub parts: Vec<Part>,
    /// Milliseconds from the last part to the end.
    pub end_after_ms: u64,
    /// Whether the answer came to its end.
    pub complete: bool,
}

/// A request. Of its headers those are kept that say what is spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Those of its headers that say in which version and form the format is spoken, names in lower case. A recording that
    /// has none asks for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Its body.
    #[serde(default, skip_serializing_if = "Body::is_empty")]
    pub body: Body,
}

/// A body: as JSON where it is JSON, so that the order of keys does not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// JSON.
    Json(Value),
    /// Other text; no body is an empty one.
    Text(String),
    /// Bytes that are no text.
    Base64(String),
}

impl Default for Body {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Body {
    /// The body with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(json) => Self::Json(json),
            Err(_) => match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
            },
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Text(text) if text.is_empty())
    }
}

/// How an answer began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Milliseconds from the request to the head of the answer.
    #[serde(default)]
    pub after_ms: u64,
    /// Those of its headers that a client of an API reads.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// A piece of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Milliseconds since the piece before, or since the head.
    pub after_ms: u64,
    /// Its bytes.
    pub bytes: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Cassette(Header),
    Request(Request),
    Response(Response),
    Part {
        after_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    End {
        after_ms: u64,
        complete: bool,
    },
}

impl Cassette {
    /// Reads a file.
    ///
    /// # Errors
    /// [`TestkitError::Cassette`], which names the line; also for a version that is newer than this build.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TestkitError> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| TestkitError::Cassette { place: shown.clone(), reason: error.to_string() })?;
        Self::parse(&text, &shown)
    }

    /// Reads the text of a file. `place` is what errors call it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, place: &str) -> Result<Self, TestkitError> {
        let mut reader = Reader { cassette: None, open: None };
        for (number, line) in (1..).zip(text.lines()) {
            let taken = if line.trim().is_empty() { Ok(()) } else { reader.line(line) };
            taken.map_err(|reason| TestkitError::Cassette { place: format!("{place}:{number}"), reason })?;
        }
        match reader {
            Reader { cassette: Some(cassette), open: None } => Ok(cassette),
            Reader { cassette: None, .. } => {
                Err(TestkitError::Cassette { place: place.to_owned(), reason: "it is empty".into() })
            }
            Reader { open: Some(_), .. } => Err(TestkitError::Cassette {
                place: place.to_owned(),
                reason: "its last exchange has no end; record it again".into(),
            }),
        }
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`TestkitError::Cassette`] with what the system said.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TestkitError> {
        let path = path.as_ref();
        std::fs::write(path, self.to_lines()).map_err(|error| TestkitError::Cassette {
            place: path.display().to_string(),
            reason: error.to_string(),
        })
    }

    /// The text of its file.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        let mut put = |line: &Line| {
            // Values of these types are always JSON.
            let json = serde_json::to_string(line).unwrap_or_default();
            text.push_str(&json);
            text.push('\n');
        };
        put(&Line::Cassette(self.header.clone()));
        for exchange in &self.exchanges {
            put(&Line::Request(exchange.request.clone()));
            if let Some(response) = &exchange.response {
                put(&Line::Response(response.clone()));
            }
            for part in &exchange.parts {
                let text = std::str::from_utf8(&part.bytes).ok().map(str::to_owned);
                let base64 = text.is_none().then(|| BASE64_STANDARD.encode(&part.bytes));
                put(&Line::Part { after_ms: part.after_ms, text, base64 });
            }
            put(&Line::End { after_ms: exchange.end_after_ms, complete: exchange.complete });
        }
        text
    }
}

struct Reader {
    cassette: Option<Cassette>,
    open: Option<Exchange>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if self.cassette.is_none() {
            // The version first: what a newer one looks like is not known.
            let version = serde_json::from_str::<Value>(line)
                .ok()
                .and_then(|line| line.pointer("/cassette/version").and_then(Value::as_u64));
            if version.is_some_and(|version| version > u64::from(VERSION)) {
                let version = version.unwrap_or_default();
                return Err(format!(
                    "it has version {version}, and this ergane-testkit reads up to {VERSION}"
                ));
            }
        }
        let line =
            serde_json::from_str(line).map_err(|error| format!("it is no line of a cassette: {error}"))?;
        match (line, &mut self.cassette, &mut self.open) {
            (Line::Cassette(header), cassette @ None, _) => {
                *cassette = Some(Cassette { header, exchanges: Vec::new() });
            }
            (Line::Request(request), Some(_), open @ None) => {
                *open = Some(Exchange {
                    request,
                    response: None,
                    parts: Vec::new(),
                    end_after_ms: 0,
                    complete: false,
                });
            }
            (Line::Response(response), _, Some(open)) if open.response.is_none() => {
                open.response = Some(response)
            }
            (Line::Part { after_ms, text, base64 }, _, Some(open)) if open.response.is_some() => {
                let bytes = match (text, base64) {
                    (Some(text), None) => Bytes::from(text),
                    (None, Some(base64)) => BASE64_STANDARD
                        .decode(base64)
                        .map_err(|error| format!("its base64 is broken: {error}"))?
                        .into(),
                    _ => return Err("a part has either text or base64".into()),
                };
                open.parts.push(Part { after_ms, bytes });
            }
            (Line::End { after_ms, complete }, Some(cassette), open) => {
                let mut exchange = open.take().ok_or("an end without a request")?;
                (exchange.end_after_ms, exchange.complete) = (after_ms, complete);
                cassette.exchanges.push(exchange);
            }
            _ => return Err("it cannot stand here: cassette, then request, response, parts, end".into()),
        }
        Ok(())
    }
}
