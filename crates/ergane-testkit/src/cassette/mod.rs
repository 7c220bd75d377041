//! Recorded exchanges with a real server, and a server that plays them again.
//!
//! A [`Recorder`] stands between a provider and the server it speaks to and writes down every byte that passes, with its
//! time. A [`Replay`] is that server again, without it: it answers only the requests that were recorded. So a test runs
//! against what a real server really said, in milliseconds and without a network, and notices when the client asks for
//! something else than it did.
//!
//! Why a proxy and not a hook in the client: what goes through a socket is what counts, and no client has to be prepared
//! for it. A provider is recorded by pointing its base URL at the recorder.
//!
//! # Format
//!
//! JSON lines, made to be read and reviewed. The first line names the version of the format, which is 1; an older version
//! stays readable, a newer one is refused.
//!
//! ```json
//! {"cassette":{"version":1,"source":"llama.cpp b7123, SmolLM2-135M-Instruct Q4_1","base_path":"/v1"}}
//! {"request":{"method":"POST","path":"/v1/chat/completions","body":{"json":{"model":"smol"}}}}
//! {"response":{"status":200,"after_ms":812,"headers":[["content-type","text/event-stream"]]}}
//! {"part":{"after_ms":0,"text":"data: {\"choices\":[]}\n\n"}}
//! {"part":{"after_ms":97,"base64":"8J+m"}}
//! {"end":{"after_ms":1,"complete":true}}
//! ```
//!
//! The lines of one exchange stand together, in the order in which exchanges ended. `after_ms` counts from the line before.
//! A `part` is what one read brought: `text` where it is UTF-8, `base64` where it is not, as in the middle of a character.
//! `complete` is false when the server broke the answer off; the replay does so too. Without a `response`, the server
//! closed the connection unanswered.
//!
//! # Secrets
//!
//! Of a request's headers those are kept that say what is spoken: `anthropic-version` and `anthropic-beta`; a replay
//! wants them again. Of a response's headers, those are that an API client reads. What was sent as `authorization`,
//! `x-api-key`, `api-key` or `x-goog-api-key`, the values in the query of a base URL, and what [`Recorder::secret`] was told, is
//! replaced by `[redacted]` wherever it occurs: in paths, bodies and answers, also where it was split over two reads.

mod compare;
mod file;
mod record;
mod replay;
mod scrub;

pub use file::{Body, Cassette, Exchange, Header, Part, Request, Response};
pub use record::Recorder;
pub use replay::{Pace, Replay, ReplayOptions};
