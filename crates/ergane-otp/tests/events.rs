//! What `tracing` is told: every start, exit, restart, back-off and quarantine, by names that stay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tracing::field::{Field, Visit};
use tracing::span;

/// Keeps the events of [`TRACING_TARGET`], and the text of all events whatever their target.
#[derive(Clone, Default)]
struct Recorder {
    events: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
    text: Arc<Mutex<String>>,
}

struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(BTreeMap::new());
        event.record(&mut fields);
        self.text.lock().unwrap().push_str(&format!("{:?}\n", fields.0));
        if event.metadata().target() == TRACING_TARGET && fields.0.contains_key("event") {
            fields.0.insert("level".into(), event.metadata().level().to_string());
            self.events.lock().unwrap().push(fields.0);
        }
    }
}

impl Recorder {
    /// The events of one child, as "event key=value …" with the keys asked for.
    fn of(&self, child: &str, keys: &[&str]) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let of_child = events.iter().filter(|event| event.get("child").is_some_and(|name| name == child));
        of_child
            .map(|event| {
                let mut line = event["event"].clone();
                for key in keys {
                    if let Some(value) = event.get(*key) {
                        line.push_str(&format!(" {key}={value}"));
                    }
                }
                line
            })
            .collect()
    }

    fn fields(&self, child: &str, event: &str) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let found = events
            .iter()
            .find(|fields| fields["event"] == event && fields.get("child").is_some_and(|name| name == child));
        found.unwrap().keys().cloned().collect()
    }
}

// One thread each: a subscriber of the thread hears all of its test and nothing else.

#[tokio::test(start_paused = true)]
async fn a_childs_start_exit_restart_back_off_and_quarantine_are_told_in_order() {
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let (namespace, world) = (namespace(), World::new());
    let backoff = Backoff { base: Duration::from_secs(100), max: Duration::from_secs(1000) };
    let budget = RestartBudget { max_restarts: 2, within: Duration::from_secs(1 << 20), backoff };
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(budget)).await;
    let mut cell = soon(pool.start_child(world.child("a"), LONG)).await.unwrap();
    for _ in 0..2 {
        cell.kill();
        let id = cell.get_id();
        eventually(|| namespace.whereis("a").is_none_or(|now| now.get_id() != id)).await;
        cell = soon(namespace.wait_for("a", Duration::from_secs(1 << 20))).await.unwrap();
    }
    order_error(&cell);
    eventually(|| matches!(namespace.status("a"), Some(EntryStatus::Quarantined { .. }))).await;
    let told = recorder.of("a", &["level", "supervisor", "reason", "crash", "restarts"]);
    let quarantine = "quarantine level=WARN supervisor=pool reason=2 restarts within 1048576s; the last end was: error: told to fail";
    assert_eq!(
        told,
        [
            "start level=DEBUG supervisor=pool",
            "exit level=WARN supervisor=pool reason=killed crash=true",
            "restart level=INFO supervisor=pool restarts=1",
            "start level=DEBUG supervisor=pool",
            "exit level=WARN supervisor=pool reason=killed crash=true",
            "backoff level=INFO supervisor=pool restarts=2",
            "restart level=INFO supervisor=pool restarts=2",
            "start level=DEBUG supervisor=pool",
            "exit level=WARN supervisor=pool reason=error: told to fail crash=true",
            quarantine,
        ]
    );
    let all = |kind: &[&'static str]| {
        let mut all = vec!["child", "event", "level", "message", "supervisor"];
        all.extend(kind);
        all.sort_unstable();
        all
    };
    assert_eq!(recorder.fields("a", "start"), all(&["incarnation", "pid"]));
    assert_eq!(recorder.fields("a", "exit"), all(&["crash", "pid", "reason"]));
    assert_eq!(recorder.fields("a", "restart"), all(&["restarts"]));
    assert_eq!(recorder.fields("a", "backoff"), all(&["restarts", "wait_ms"]));
    assert_eq!(recorder.fields("a", "quarantine"), all(&["reason"]));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn an_ordered_end_is_told_and_is_no_crash_and_every_incarnation_has_one_start_and_one_exit() {
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a"), world.child("b").shutdown(Shutdown::BrutalKill)];
    let builder = Supervisor::builder().strategy(Strategy::OneForAll).intensity(plenty()).children(specs);
    let root = soon(builder.start(&namespace, "root")).await.unwrap();
    let a = find(&namespace, "a").await;
    a.stop(None);
    successor(&namespace, "a", &a).await;
    soon(namespace.wait_for("b", LONG)).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
    let lines = |child| recorder.of(child, &["level", "supervisor", "reason", "crash", "restarts"]);
    assert_eq!(
        lines("a"),
        [
            "start level=DEBUG supervisor=root",
            "exit level=DEBUG supervisor=root reason=normal crash=false",
            "restart level=INFO supervisor=root restarts=1",
            "start level=DEBUG supervisor=root",
            "exit level=DEBUG supervisor=root reason=shutdown crash=false",
        ]
    );
    assert_eq!(
        lines("b"),
        [
            "start level=DEBUG supervisor=root",
            "exit level=DEBUG supervisor=root reason=killed crash=false",
            "restart level=INFO supervisor=root restarts=1",
            "start level=DEBUG supervisor=root",
            "exit level=DEBUG supervisor=root reason=killed crash=false",
        ]
    );
    let ends = recorder.of("root", &["supervisor", "reason"]);
    assert_eq!(ends, ["start supervisor=", "exit supervisor= reason=shutdown"]);
}

#[tokio::test]
async fn casts_to_the_dead_are_dropped_and_a_debug_trace_says_so() {
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let (namespace, world) = (namespace(), World::new());
    let root =
        soon(Supervisor::start(&namespace, "root", plenty(), vec![world.child("a")], None)).await.unwrap();
    let a = find(&namespace, "a").await;
    let (tell, told) = tokio::sync::oneshot::channel();
    let work: Order = Box::new(move |_, _| {
        tell.send(()).unwrap();
        Box::pin(async { Ok(()) })
    });
    cast(&a, Msg::Do(work));
    soon(told).await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    cast_name(&namespace, "a", Msg::Ping(tell.into()));
    assert_eq!(soon(told).await, Ok(1));
    let dropped = || -> Vec<_> {
        let events = recorder.events.lock().unwrap();
        let dropped = events.iter().filter(|event| event["event"] == "dropped_cast");
        dropped.map(|event| (event["level"].clone(), event["to"].clone(), event["reason"].clone())).collect()
    };
    assert_eq!(dropped(), []);
    // An unknown message is logged, and not fatal.
    cast(&a, "of another type".to_owned());
    let (debug, name) = ("DEBUG".to_owned(), namespace.full_name("a"));
    let unknown = (debug.clone(), name.clone(), "it takes messages of another type".to_owned());
    assert_eq!(dropped(), std::slice::from_ref(&unknown));
    assert_eq!(ping(&namespace, "a").await, Ok(1));
    soon(root.shutdown(LONG)).await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    cast(&a, Msg::Ping(tell.into()));
    assert!(soon(told).await.is_err(), "the message is gone");
    let (tell, _) = tokio::sync::oneshot::channel();
    cast_name(&namespace, "a", Msg::Ping(tell.into()));
    let dead = "it is not alive".to_owned();
    assert_eq!(dropped(), [unknown, (debug.clone(), name, dead.clone()), (debug, "a".to_owned(), dead)]);
}

#[tokio::test]
async fn format_status_hides_secrets_since_nothing_ever_shows_a_state_or_a_message() {
    #[derive(Debug)]
    struct Safe(#[allow(dead_code)] String);
    struct Keeper;
    #[derive(Debug)]
    enum Tell {
        Fail(#[allow(dead_code)] Safe),
        Panic(#[allow(dead_code)] Safe),
        Hang(#[allow(dead_code)] Safe),
    }
    impl ractor::Actor for Keeper {
        type Msg = Tell;
        type State = Safe;
        type Arguments = Safe;
        async fn pre_start(
            &self,
            _: ractor::ActorRef<Tell>,
            safe: Safe,
        ) -> Result<Safe, ractor::ActorProcessingErr> {
            Ok(safe)
        }
        async fn handle(
            &self,
            _: ractor::ActorRef<Tell>,
            message: Tell,
            _: &mut Safe,
        ) -> Result<(), ractor::ActorProcessingErr> {
            match message {
                Tell::Fail(_) => Err("told to fail".into()),
                Tell::Panic(_) => panic!("told to panic"),
                Tell::Hang(_) => std::future::pending().await,
            }
        }
    }
    const SECRET: &str = "sesame";
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let namespace = namespace();
    let specs = vec![ChildSpec::actor("a", |_| (Keeper, Safe(SECRET.into())))];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let safe = || Safe(SECRET.into());
    for tell in [Tell::Fail(safe()), Tell::Panic(safe()), Tell::Hang(safe())] {
        let cell = find(&namespace, "a").await;
        let monitor = namespace.monitor("a");
        let hangs = matches!(tell, Tell::Hang(_));
        cell.send_message(tell).unwrap();
        if hangs {
            cell.kill();
        }
        let down = soon(monitor).await;
        assert!(!format!("{down:?} {}", down.reason).contains(SECRET));
        successor(&namespace, "a", &cell).await;
    }
    let tree = soon(tree(&root.cell(), LONG)).await.unwrap();
    assert!(!format!("{tree:?} {root:?} {:?}", namespace.names()).contains(SECRET));
    soon(root.shutdown(LONG)).await.unwrap();
    let text = recorder.text.lock().unwrap();
    assert!(text.contains("told to fail") && !text.contains(SECRET));
}
