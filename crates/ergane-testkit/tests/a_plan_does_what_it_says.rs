//! What a plan makes of a store, a provider and a tool; and that it leaves a tool what it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ergane_core::{
    Effect, Envelope, ErrorKind, Event, FORMAT_VERSION, Message, ModelRequest, Seq, SessionName, Timestamp,
};
use ergane_journal::{Append, AppendError, Journal, JournalError, JournalPort, Memory, Opened};
use ergane_otp::{Intensity, Namespace, Supervisor};
use ergane_provider::{DeltaSink, Provider, ProviderCall};
use ergane_testkit::{
    FaultPlan, FaultyJournal, JournalFault, ProviderFault, Rates, Scripted, ScriptedReply, ToolFault, World,
};
use ergane_tool::{Reach, Tool, ToolContext, ToolFuture};
use serde_json::{Map, Value, json};

/// A tool that counts how often it did its work. Everything that it says of itself is not the default.
#[derive(Default)]
struct Counts(Arc<AtomicUsize>);

impl Tool for Counts {
    fn name(&self) -> &str {
        "counts"
    }

    fn description(&self) -> &str {
        "Counts."
    }

    fn parameters(&self) -> Value {
        json!({"type": "object", "properties": {"by": {"type": "integer"}}})
    }

    fn effect(&self) -> Effect {
        Effect::Idempotent
    }

    fn reach(&self) -> Reach {
        Reach::Files
    }

    fn timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }

    fn call(&self, _: ToolContext, _: Map<String, Value>) -> ToolFuture {
        let count = self.0.clone();
        Box::pin(async move { Ok(count.fetch_add(1, Ordering::SeqCst).to_string().into()) })
    }
}

#[test]
fn a_wrapped_tool_says_of_itself_what_the_bare_one_says() {
    let said = |tool: &dyn Tool| {
        let (name, description) = (tool.name().to_owned(), tool.description().to_owned());
        (name, description, tool.parameters(), tool.effect(), tool.reach(), tool.timeout())
    };
    let bare: Arc<dyn Tool> = Arc::new(Counts::default());
    for wrapped in [FaultPlan::none().tool(bare.clone()), World::new().tool(bare.clone())] {
        assert_eq!(said(&*wrapped), said(&*bare));
    }
}

fn session(name: &str) -> SessionName {
    name.parse().unwrap()
}

const NAMES: [&str; 2] = ["alice", "bob"];

/// A store of two sessions, behind a plan.
struct Store {
    bare: Arc<Memory>,
    faulty: FaultyJournal,
    opened: [Opened; 2],
}

impl Store {
    fn new(plan: &FaultPlan) -> Self {
        let bare = Arc::new(Memory::new());
        let faulty = plan.journal(bare.clone());
        let opened = NAMES.map(|name| faulty.open_session(&session(name)).unwrap());
        Self { bare, faulty, opened }
    }

    /// One commit: the next fact of each session. How it went for each, in a word.
    fn append(&self) -> [&'static str; 2] {
        let stored = self.stored();
        let append = |index: usize| {
            let (epoch, seq) = (self.opened[index].epoch, Seq(stored[index] + 1));
            let event = Event::TurnStarted { send: "key".into() };
            let fact = Envelope { v: FORMAT_VERSION, seq, epoch, at: Timestamp(0), event };
            Append { session: session(NAMES[index]), epoch, expected: seq, events: vec![Arc::new(fact)] }
        };
        let outcomes = self.faulty.append(&[append(0), append(1)]);
        let word = |outcome: &Result<(), AppendError>| match outcome {
            Ok(()) => "written",
            Err(AppendError::NotWritten { .. }) => "not written",
            Err(AppendError::Unknown { .. }) => "unknown",
            Err(other) => panic!("{other}"),
        };
        outcomes.iter().map(word).collect::<Vec<_>>().try_into().unwrap()
    }

    /// How many facts the bare store has of each.
    fn stored(&self) -> [u64; 2] {
        NAMES.map(|name| self.bare.position(&session(name)).unwrap().unwrap().next_seq.0 - 1)
    }

    /// How many facts of each can be read through the plan, or which one is damaged.
    fn load(&self) -> [Result<usize, Seq>; 2] {
        NAMES.map(|name| match self.faulty.load(&session(name), Seq(0), Seq(u64::MAX)) {
            Ok(facts) => Ok(facts.len()),
            Err(JournalError::Corrupt { session: of, seq, .. }) if of == session(name) => Err(seq),
            Err(other) => panic!("{other}"),
        })
    }
}

#[test]
fn each_fault_of_a_store_writes_tells_and_shows_what_it_says_until_the_plan_is_healed() {
    let slow = JournalFault::Delay(Duration::from_millis(20));
    // How two commits of two sessions go, what is stored after each, and what can be read in the end.
    let table = [
        (JournalFault::NotWritten, "not written", [[0, 0], [0, 0]], [Ok(0), Ok(0)]),
        (JournalFault::Lost, "unknown", [[0, 0], [0, 0]], [Ok(0), Ok(0)]),
        (JournalFault::Unsure, "unknown", [[1, 1], [2, 2]], [Ok(2), Ok(2)]),
        (JournalFault::Torn, "unknown", [[1, 0], [2, 0]], [Ok(2), Ok(0)]),
        (slow, "written", [[1, 1], [2, 2]], [Ok(2), Ok(2)]),
        (JournalFault::Corrupt, "written", [[1, 1], [2, 2]], [Err(Seq(1)), Err(Seq(1))]),
    ];
    for (fault, told, stored, loaded) in table {
        let plan = FaultPlan::none();
        let store = Store::new(&plan);
        plan.break_journal(fault);
        assert_eq!(store.faulty.is_instant(), fault != slow, "{fault:?}");
        for after in stored {
            let start = Instant::now();
            assert_eq!(store.append(), [told; 2], "{fault:?}");
            assert!(fault != slow || start.elapsed() >= Duration::from_millis(20));
            assert_eq!(store.stored(), after, "{fault:?}");
        }
        assert_eq!(store.load(), loaded, "{fault:?}");
        plan.heal();
        assert_eq!(store.append(), ["written"; 2], "{fault:?}");
        assert_eq!(store.stored(), stored[1].map(|facts| facts + 1), "{fault:?}");
        // What is damaged stays so.
        assert_eq!(store.load(), loaded.map(|read| read.map(|facts| facts + 1)), "{fault:?}");
        assert_eq!(plan.told(), [1, 2].map(|commit| format!("commit {commit}: {fault:?}")));
    }
}

#[test]
fn the_next_commit_goes_as_told_and_no_other() {
    let plan = FaultPlan::none().append_at(2, JournalFault::NotWritten);
    let store = Store::new(&plan);
    assert_eq!(store.append(), ["written"; 2]);
    plan.break_next_append(JournalFault::Lost);
    assert_eq!(store.append(), ["unknown"; 2]);
    assert_eq!(store.append(), ["written"; 2]);
    assert_eq!(store.stored(), [2, 2]);
}

#[test]
fn a_locked_journal_opens_no_session_until_the_plan_is_healed() {
    let plan = FaultPlan::none();
    let store = Store::new(&plan);
    plan.lock_journal();
    let names = NAMES.map(session);
    let refused = |opened: &Result<Opened, JournalError>| matches!(opened, Err(JournalError::Locked { .. }));
    assert!(refused(&store.faulty.open_session(&names[0])));
    let opened = store.faulty.open_sessions(&names);
    assert!(opened.len() == 2 && opened.iter().all(refused), "{opened:?}");
    // What is open is written to.
    assert_eq!(store.append(), ["written"; 2]);
    assert_eq!(plan.told(), ["alice", "alice", "bob"].map(|name| format!("opening of {name}: locked")));
    plan.heal();
    assert!(store.faulty.open_session(&names[0]).is_ok());
    assert!(store.faulty.open_sessions(&names).iter().all(Result::is_ok));
}

#[test]
fn no_facts_are_read_until_the_plan_is_healed_and_each_try_is_told() {
    let plan = FaultPlan::none();
    let store = Store::new(&plan);
    plan.break_reads(JournalError::Locked { path: "j.db".into() });
    let name = session("alice");
    let read = || store.faulty.load(&name, Seq(0), Seq(9));
    assert!(matches!(read(), Err(JournalError::Locked { .. })));
    assert_eq!(store.append(), ["written"; 2], "all else goes on");
    let locked = JournalError::Locked { path: "j.db".into() };
    assert_eq!(plan.told(), [format!("reading of alice: {locked}")]);
    plan.heal();
    assert_eq!(read().unwrap().len(), 1);
}

#[test]
fn no_snapshot_is_made_until_the_plan_is_healed_and_each_that_is_asked_for_is_told() {
    let plan = FaultPlan::none();
    let store = Store::new(&plan);
    let snapshot = |name| store.faulty.snapshot(&session(name));
    plan.break_snapshots();
    assert_eq!(snapshot("alice"), Err(JournalError::Away));
    // All else goes on.
    assert_eq!(store.append(), ["written"; 2]);
    assert_eq!(store.load(), [Ok(1); 2]);
    plan.heal();
    // A store in memory has none to make.
    assert_eq!(snapshot("bob"), Ok(Seq(0)));
    assert_eq!(plan.told(), ["snapshot of alice: none", "snapshot of bob: 0"]);
}

#[test]
fn what_is_drawn_is_drawn_at_the_rates() {
    let always = Rates { provider: 0.0, tool: 0.0, journal: 1.0 };
    let plan = FaultPlan::seeded(7).rates(always);
    let store = Store::new(&plan);
    for _ in 0..100 {
        assert!(!store.append().contains(&"written"), "{:?}", plan.told());
    }
    // Drawn are these and no others.
    for fault in ["NotWritten", "Lost", "Unsure", "Torn"] {
        assert!(plan.told().iter().any(|told| told.ends_with(fault)), "{fault}: {:?}", plan.told());
    }
    let never = FaultPlan::seeded(7).rates(Rates { journal: 0.0, ..always });
    let store = Store::new(&never);
    for _ in 0..100 {
        assert_eq!(store.append(), ["written"; 2]);
    }
    assert_eq!(never.told(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_takes_a_drawn_time_by_a_clock_that_stands_still_and_appends_gather_meanwhile() {
    let most = Duration::from_millis(50);
    let times = async || {
        let plan = FaultPlan::seeded(7).rates(Rates { provider: 0.0, tool: 0.0, journal: 0.0 });
        plan.slow_journal(most);
        let port = JournalPort::new(Arc::new(plan.journal(Arc::new(Memory::new()))));
        let names = Namespace::new("slow");
        let specs = vec![port.child_spec()];
        let root = Supervisor::start(&names, "root", Intensity::default(), specs, None).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..20 {
            let start = tokio::time::Instant::now();
            port.open(&session("alice")).await.unwrap();
            port.position(&session("alice")).await.unwrap();
            times.push(start.elapsed());
        }
        // Of many at once the first has a commit to itself, and the others share the next.
        let start = tokio::time::Instant::now();
        let opening: Vec<_> = (0..100)
            .map(|n| {
                let port = port.clone();
                tokio::spawn(async move { port.open(&session(&format!("s{n}"))).await })
            })
            .collect();
        for opening in opening {
            opening.await.unwrap().unwrap();
        }
        assert!(start.elapsed() <= 2 * most, "{:?}", start.elapsed());
        root.shutdown(Duration::from_secs(60)).await.unwrap();
        times
    };
    let first = times().await;
    assert!(first.iter().all(|time| (Duration::from_millis(2)..=2 * most).contains(time)), "{first:?}");
    assert!(first.iter().any(|time| *time != first[0]), "{first:?}");
    assert_eq!(times().await, first, "the same seed, the same times");
}

#[tokio::test(start_paused = true)]
async fn a_call_of_a_tool_goes_as_planned_for_its_number() {
    for (fault, works, ends) in [
        (ToolFault::Fail, 0, "failed"),
        (ToolFault::Panic, 0, "panicked"),
        (ToolFault::PanicAfter, 1, "panicked"),
        (ToolFault::Hang, 0, "hung"),
        (ToolFault::HangAfter, 1, "hung"),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let tool = FaultPlan::none().tool_at(2, fault).tool(Arc::new(Counts(count.clone())));
        let call = async || {
            let call = tokio::spawn(tool.call(ToolContext::for_test("/"), Map::new()));
            match tokio::time::timeout(Duration::from_secs(3600), call).await {
                Err(_) => "hung",
                Ok(Err(panic)) => {
                    assert!(panic.is_panic());
                    "panicked"
                }
                Ok(Ok(Err(_))) => "failed",
                Ok(Ok(Ok(_))) => "done",
            }
        };
        assert_eq!([call().await, call().await, call().await], ["done", ends, "done"], "{fault:?}");
        assert_eq!(count.load(Ordering::SeqCst), 2 + works, "{fault:?}");
    }
}

#[tokio::test]
async fn a_provider_that_refuses_was_not_asked_and_is_not_to_be_asked_again() {
    let plan = FaultPlan::none().provider_at(1, ProviderFault::Refused);
    let provider = plan.provider(Scripted::replies([ScriptedReply::text("hello")]));
    let ask = || {
        let messages = [Arc::new(Message::user_text("hi"))].into_iter().collect();
        let request = ModelRequest::new("m", messages);
        let (idle_timeout, deltas) = (Duration::from_secs(60), DeltaSink::none());
        provider.call(ProviderCall { provider: "test".into(), request, idle_timeout, deltas })
    };
    let refused = ask().await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.retryable, refused.status),
        (ErrorKind::InvalidRequest, false, Some(400))
    );
    assert_eq!(ask().await.unwrap().message.text(), "hello");
}
