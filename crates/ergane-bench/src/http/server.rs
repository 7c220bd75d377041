//! A server that speaks Chat Completions and thinks of nothing: what it answers was written before it was asked.
//!
//! It is a process of its own, so that what it uses is nobody else's, and ends when its parent has gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::turns::model::ANSWER;
use crate::{Outcome, out};

/// The running server; it ends with this.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    child: Child,
}

impl Server {
    pub(super) fn start() -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut url = String::new();
        let output = child.stdout.take().ok_or("the server has no output")?;
        BufReader::new(output).read_line(&mut url)?;
        Ok(Self { url: url.trim().to_owned(), child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("ergane-bench: the server did not end: {error}");
        }
    }
}

/// Serves until standard input is closed.
pub(crate) fn serve() -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    out::line(format_args!("http://{}/v1", listener.local_addr()?))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that has gone is no reason to end.
            thread::spawn(move || drop(answer_all(stream)));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn answer_all(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let answers = Answers::new();
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let field = line.trim_end().to_ascii_lowercase();
            if field.is_empty() {
                break;
            }
            if let Some(value) = field.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        stream.write_all(answers.to(&body))?;
    }
}

struct Answers {
    text: Vec<u8>,
    text_stream: Vec<u8>,
    call: Vec<u8>,
    call_stream: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        let usage = r#""usage":{"prompt_tokens":20,"completion_tokens":15,"total_tokens":35}"#;
        let head = r#""id":"c","object":"chat.completion","created":1,"model":"m""#;
        let call = r#"{"id":"call_1","type":"function","function":{"name":"add","arguments":"{\"left\":1,\"right\":1}"}}"#;
        let whole = |message: &str, finish: &str| {
            let body = format!(
                r#"{{{head},"choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":"{finish}"}}],{usage}}}"#
            );
            response("application/json", &body)
        };
        let chunk = |delta: &str, finish: &str| {
            format!(
                "data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
            )
        };
        let end = |finish: &str| {
            chunk("", &format!("\"{finish}\""))
                + &format!("data: {{{head},\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n")
        };
        let (mut said, mut rest) = (chunk(r#""role":"assistant","content":"""#, "null"), ANSWER);
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(rest.len().min(14));
            said.push_str(&chunk(&format!("\"content\":\"{piece}\""), "null"));
            rest = tail;
        }
        let called = chunk(
            &format!(r#""role":"assistant","tool_calls":[{}]"#, call.replacen('{', "{\"index\":0,", 1)),
            "null",
        );
        Self {
            text: whole(&format!("\"content\":\"{ANSWER}\""), "stop"),
            text_stream: response("text/event-stream", &(said + &end("stop"))),
            call: whole(&format!("\"content\":null,\"tool_calls\":[{call}]"), "tool_calls"),
            call_stream: response("text/event-stream", &(called + &end("tool_calls"))),
        }
    }

    /// The last message tells whether the tool has been called. It stands near the end, however long the rest.
    fn to(&self, body: &[u8]) -> &[u8] {
        let has = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
        let last_role = body.windows(8).rposition(|window| window == b"\"role\":\"");
        let was_called =
            last_role.is_some_and(|at| body.get(at + 8..).is_some_and(|rest| rest.starts_with(b"tool\"")));
        let start = body.get(..200.min(body.len())).unwrap_or_default();
        let with_tool = start.windows(14).any(|window| window == b"\"model\":\"tool\"");
        match (with_tool && !was_called, has_stream(body, has)) {
            (true, true) => &self.call_stream,
            (true, false) => &self.call,
            (false, true) => &self.text_stream,
            (false, false) => &self.text,
        }
    }
}

/// Looked for at both ends first: a body may be long.
fn has_stream(body: &[u8], has: impl Fn(&[u8]) -> bool) -> bool {
    const FIELD: &[u8] = b"\"stream\":true";
    let near = |part: Option<&[u8]>| {
        part.is_some_and(|part| part.windows(FIELD.len()).any(|window| window == FIELD))
    };
    let tail = body.len().saturating_sub(2000);
    near(body.get(..200.min(body.len()))) || near(body.get(tail..)) || (body.len() < 20_000 && has(FIELD))
}

fn response(kind: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> &'static str {
        let answers = Answers::new();
        let answer = String::from_utf8_lossy(answers.to(body.as_bytes())).into_owned();
        match (answer.contains("text/event-stream"), answer.contains("tool_calls\":[")) {
            (true, true) => "call, streamed",
            (false, true) => "call",
            (true, false) => "text, streamed",
            (false, false) => "text",
        }
    }

    #[test]
    fn what_is_answered_depends_on_the_model_the_last_message_and_the_stream() {
        let asked = r#"{"model":"tool","messages":[{"role":"user","content":"x"}],"stream":true}"#;
        let called =
            r#"{"model":"tool","messages":[{"role":"user"},{"role":"tool","content":"2"}],"stream":false}"#;
        assert_eq!(kind(asked), "call, streamed");
        assert_eq!(kind(called), "text");
        assert_eq!(kind(&asked.replace("\"tool\"", "\"text\"")), "text, streamed");
        assert_eq!(kind(&asked.replace("true", "false")), "call");
    }
}
