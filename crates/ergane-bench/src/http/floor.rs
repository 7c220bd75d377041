//! The same requests by hand: with reqwest alone, and with the smallest shape of actors that deserves the name.

use std::sync::Arc;
use std::time::Instant;

use ergane::ractor::{
    Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, call_t,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::server::ANSWER;
use crate::Outcome;
use crate::args::{HttpArgs, TurnKind};
use crate::laps::Laps;
use crate::process::Stopwatch;
use crate::turns::{Run, collect};

/// What is asked, and where.
#[derive(Debug)]
pub(super) struct Plain {
    client: reqwest::Client,
    url: String,
    kind: TurnKind,
    stream: bool,
    /// What was said before, as it stands in a body: a history that is frozen.
    before: String,
}

#[derive(Debug, Default)]
struct Reply {
    text: String,
    call: Option<String>,
}

impl Plain {
    pub(super) fn new(url: &str, options: &HttpArgs) -> Outcome<Self> {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let pair = format!(
            r#"{{"role":"user","content":"{}"}},{{"role":"assistant","content":"{ANSWER}"}},"#,
            options.turn.as_str()
        );
        let before = pair.repeat(options.history.div_ceil(2));
        let url = format!("{}/chat/completions", url.trim_end_matches('/'));
        Ok(Self { client, url, kind: options.turn, stream: !options.no_stream, before })
    }

    async fn turn(&self, add: impl AsyncFnOnce(String) -> Outcome<String>) -> Outcome<()> {
        let user = json!({"role": "user", "content": self.kind.as_str()}).to_string();
        let mut reply = self.ask(&user).await?;
        if let Some(arguments) = reply.call.take() {
            let result = add(arguments.clone()).await?;
            let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "add", "arguments": arguments}}]});
            let result = json!({"role": "tool", "tool_call_id": "call_1", "content": result});
            reply = self.ask(&format!("{user},{call},{result}")).await?;
        }
        if reply.text == ANSWER { Ok(()) } else { Err(format!("the answer was {reply:?}").into()) }
    }

    async fn ask(&self, messages: &str) -> Outcome<Reply> {
        let tools = match self.kind {
            TurnKind::Text => String::new(),
            _ => format!(",\"tools\":[{}]", tool()),
        };
        let model = self.kind.as_str();
        let (before, stream) = (&self.before, self.stream);
        let body =
            format!(r#"{{"model":"{model}","messages":[{before}{messages}],"stream":{stream}{tools}}}"#);
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let mut response = request.send().await?;
        let (mut reply, mut bytes) = (Reply::default(), Vec::new());
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        if !self.stream {
            reply.take(serde_json::from_slice::<Value>(&bytes)?.pointer("/choices/0/message"));
            return Ok(reply);
        }
        for line in bytes.split(|byte| *byte == b'\n') {
            match line.strip_prefix(b"data: ") {
                Some(b"[DONE]") | None => {}
                Some(data) => reply.take(serde_json::from_slice::<Value>(data)?.pointer("/choices/0/delta")),
            }
        }
        Ok(reply)
    }
}

impl Reply {
    fn take(&mut self, message: Option<&Value>) {
        let Some(message) = message else { return };
        self.text.push_str(message["content"].as_str().unwrap_or_default());
        if let Some(arguments) = message.pointer("/tool_calls/0/function/arguments").and_then(Value::as_str) {
            self.call.get_or_insert_default().push_str(arguments);
        }
    }
}

fn tool() -> Value {
    let number = json!({"type": "integer"});
    let parameters = json!({"type": "object", "properties": {"left": number, "right": number}});
    let function = json!({"name": "add", "description": "Adds two whole numbers.", "parameters": parameters});
    json!({"type": "function", "function": function})
}

async fn add(arguments: String) -> Outcome<String> {
    let arguments: Value = serde_json::from_str(&arguments)?;
    let of = |name: &str| arguments.get(name).and_then(Value::as_i64).unwrap_or_default();
    Ok((of("left") + of("right")).to_string())
}

/// reqwest and nothing else.
pub(super) async fn bare(plain: &Arc<Plain>, options: &HttpArgs) -> Outcome<Run> {
    plain.turn(add).await?;
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let (watch, turns) = (Stopwatch::start(), options.turns);
    for _ in 0..options.inflight {
        let plain = plain.clone();
        running.spawn(async move {
            let mut laps = Laps::default();
            for _ in 0..turns {
                let start = Instant::now();
                plain.turn(add).await?;
                laps.lap(start.elapsed());
            }
            Ok(laps)
        });
    }
    collect(running, watch, options.inflight * turns).await
}

type Answer = RpcReplyPort<()>;

struct Parent;
struct Session;
struct Turn;
struct Tool;

struct Never;
struct Ask(Answer);
struct Go(Answer);
struct Add(String, oneshot::Sender<Outcome<String>>);

/// Children come and go; nobody looks.
macro_rules! childless {
    ($msg:ty, $state:ty) => {
        async fn handle_supervisor_evt(
            &self,
            _: ActorRef<$msg>,
            _: SupervisionEvent,
            _: &mut $state,
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    };
}

impl Actor for Parent {
    type Msg = Never;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Never>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    childless!(Never, ());
}

impl Actor for Session {
    type Msg = Ask;
    type State = Arc<Plain>;
    type Arguments = Arc<Plain>;

    async fn pre_start(&self, _: ActorRef<Ask>, plain: Arc<Plain>) -> Result<Arc<Plain>, ActorProcessingErr> {
        Ok(plain)
    }

    async fn handle(
        &self,
        me: ActorRef<Ask>,
        Ask(reply): Ask,
        plain: &mut Arc<Plain>,
    ) -> Result<(), ActorProcessingErr> {
        let (turn, _) = Actor::spawn_linked(None, Turn, plain.clone(), me.get_cell()).await?;
        Ok(turn.cast(Go(reply))?)
    }

    childless!(Ask, Arc<Plain>);
}

impl Actor for Turn {
    type Msg = Go;
    type State = Arc<Plain>;
    type Arguments = Arc<Plain>;

    async fn pre_start(&self, _: ActorRef<Go>, plain: Arc<Plain>) -> Result<Arc<Plain>, ActorProcessingErr> {
        Ok(plain)
    }

    async fn handle(
        &self,
        me: ActorRef<Go>,
        Go(reply): Go,
        plain: &mut Arc<Plain>,
    ) -> Result<(), ActorProcessingErr> {
        let parent = me.get_cell();
        plain.turn(async |arguments| in_a_tool(arguments, parent).await).await?;
        // A caller that gave up is no reason to fail.
        reply.send(()).ok();
        me.stop(None);
        Ok(())
    }

    childless!(Go, Arc<Plain>);
}

async fn in_a_tool(arguments: String, turn: ActorCell) -> Outcome<String> {
    let (reply, result) = oneshot::channel();
    let (tool, _) = Actor::spawn_linked(None, Tool, (), turn).await?;
    tool.cast(Add(arguments, reply)).map_err(|error| error.to_string())?;
    result.await?
}

impl Actor for Tool {
    type Msg = Add;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Add>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        me: ActorRef<Add>,
        Add(arguments, reply): Add,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // A turn that ended meanwhile does not want to know.
        reply.send(add(arguments).await).ok();
        me.stop(None);
        Ok(())
    }

    childless!(Add, ());
}

/// A supervisor, sessions, an actor for each turn and one for each tool call; nothing is kept or decided.
pub(super) async fn actors(plain: &Arc<Plain>, options: &HttpArgs) -> Outcome<Run> {
    let (parent, _) = Actor::spawn(None, Parent, ()).await?;
    let mut sessions = Vec::new();
    for _ in 0..options.inflight {
        let (session, _) = Actor::spawn_linked(None, Session, plain.clone(), parent.get_cell()).await?;
        call_t!(session, Ask, 60_000)?;
        sessions.push(session);
    }
    let mut running: JoinSet<Outcome<Laps>> = JoinSet::new();
    let (watch, turns) = (Stopwatch::start(), options.turns);
    for session in sessions {
        running.spawn(async move {
            let mut laps = Laps::default();
            for _ in 0..turns {
                let start = Instant::now();
                call_t!(session, Ask, 60_000)?;
                laps.lap(start.elapsed());
            }
            Ok(laps)
        });
    }
    let run = collect(running, watch, options.inflight * turns).await?;
    parent.stop(None);
    Ok(run)
}
