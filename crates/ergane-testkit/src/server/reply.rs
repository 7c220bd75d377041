//! What a server does with a request: acts, one after the other, and then the end of the connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

/// One act of a server.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes.
    Send(Bytes),
    /// Sends these bytes again and again until the client has gone; nothing after it is done.
    SendForever(Bytes),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Waits a time: for pace, never to synchronise.
    Pause(Duration),
    /// Is silent until the client has gone; nothing after it is done.
    Stall,
    /// Resets the connection, as the crash of a server does; nothing after it is done.
    Reset,
}

/// Holds a [`Reply`] back until the test opens it. Clones are the same gate; once open it stays open.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Opens it, for all who wait and all who will come.
    pub fn open(&self) {
        self.0.close();
    }

    /// Returns once it is open.
    pub async fn passed(&self) {
        // There are no permits: this returns when the semaphore is closed, and then with an error.
        drop(self.0.acquire().await);
    }
}

/// What a server does with one request. Without anything, it closes the connection unanswered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(super) acts: Vec<Act>,
}

impl From<Vec<Act>> for Reply {
    fn from(acts: Vec<Act>) -> Self {
        Self { acts }
    }
}

impl From<Act> for Reply {
    fn from(act: Act) -> Self {
        Self { acts: vec![act] }
    }
}

impl Reply {
    /// A whole answer. Its end is the end of the connection, unless a header says its length. `status` is such as
    /// `404 Not Found`, a header such as `content-type: application/json`.
    pub fn answer(status: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Self {
        Self::head(status, headers).send(body.as_ref().to_vec())
    }

    /// The head of an answer, whole.
    pub fn head(status: &str, headers: &[&str]) -> Self {
        let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        Self::default().send(head)
    }

    /// Then sends bytes as they are.
    #[must_use]
    pub fn send(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Act::Send(bytes.into()))
    }

    /// Then sends a body in pieces of `size` bytes, each in a write of its own.
    #[must_use]
    pub fn send_in_pieces(self, bytes: impl AsRef<[u8]>, size: usize) -> Self {
        bytes.as_ref().chunks(size.max(1)).fold(self, |reply, piece| reply.send(piece.to_vec()))
    }

    /// Then sends one chunk of a body with `transfer-encoding: chunked`. An empty one ends the body, see
    /// [`last_chunk`](Self::last_chunk).
    #[must_use]
    pub fn chunk(self, data: impl AsRef<[u8]>) -> Self {
        let data = data.as_ref();
        let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"\r\n");
        self.send(bytes)
    }

    /// Then ends a chunked body.
    #[must_use]
    pub fn last_chunk(self) -> Self {
        self.chunk([])
    }

    /// Then waits at a gate.
    #[must_use]
    pub fn wait(self, gate: &Gate) -> Self {
        self.then(Act::Wait(gate.clone()))
    }

    /// Then waits a time.
    #[must_use]
    pub fn pause(self, time: Duration) -> Self {
        self.then(Act::Pause(time))
    }

    /// Then sends the same bytes until the client has gone.
    #[must_use]
    pub fn send_forever(self, bytes: impl Into<Bytes>) -> Self {
        self.then(Act::SendForever(bytes.into()))
    }

    /// Then is silent until the client has gone.
    #[must_use]
    pub fn stall(self) -> Self {
        self.then(Act::Stall)
    }

    /// Then resets the connection.
    #[must_use]
    pub fn reset(self) -> Self {
        self.then(Act::Reset)
    }

    /// Then does this.
    #[must_use]
    pub fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }
}

/// `data` in the gzip format, for a body with `content-encoding: gzip`. It is packed, not compressed, which every reader of
/// gzip takes.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    // Stored blocks of deflate: a flag for the last one, then the length and its complement.
    let mut blocks = data.chunks(usize::from(u16::MAX)).peekable();
    if blocks.peek().is_none() {
        packed.extend_from_slice(&[1, 0, 0, 0xff, 0xff]);
    }
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend_from_slice(&length.to_le_bytes());
        packed.extend_from_slice(&(!length).to_le_bytes());
        packed.extend_from_slice(block);
    }
    packed.extend_from_slice(&crc32fast::hash(data).to_le_bytes());
    // By the format, the length modulo 2³².
    packed.extend_from_slice(&(data.len() as u32).to_le_bytes());
    packed
}
