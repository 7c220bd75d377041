//! A request as it came over the wire.

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most that a request may have, head and body: 64 MiB.
const MAX_REQUEST: usize = 64 << 20;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Received {
    /// `POST` or so.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path with its query, such as `/v1/models?limit=1`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The headers in their order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The bytes of the body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn parse(head: &[u8]) -> Option<Self> {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Some(Self { method, path, headers, body: Bytes::new() })
    }
}

/// Reads one request whose body has a `content-length`. `None` when there is none, or it is nonsense.
pub(crate) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        read_more(stream, &mut bytes).await?;
    };
    let mut request = Received::parse(bytes.get(..end)?)?;
    let length = match request.header("content-length") {
        Some(length) => length.parse::<usize>().ok()?,
        None => 0,
    };
    let body = end.checked_add(4)?;
    let whole = body.checked_add(length).filter(|whole| *whole <= MAX_REQUEST)?;
    while bytes.len() < whole {
        read_more(stream, &mut bytes).await?;
    }
    request.body = Bytes::copy_from_slice(bytes.get(body..whole)?);
    Some(request)
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<()> {
    let room = bytes.len() < MAX_REQUEST;
    (room && stream.read_buf(bytes).await.ok()? > 0).then_some(())
}
