//! One turn with a tool that changes the world, as it happens on a real file: what is written when, and who waits for it.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ergane::core::{Effect, EventKind};
use ergane::prelude::*;
use ergane_testkit::{EffectLog, Step, World};
use serde_json::json;

use crate::script::Hand;

/// The page shows what this test sees.
const PAGE: &str = include_str!("../../../../docs/guarantees.md");

/// How often the model was asked.
#[derive(Default)]
struct Asked(Mutex<u32>, Condvar);

impl Asked {
    fn count(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    /// Waits for so many, and says whether they came.
    fn reaches(&self, count: u32) -> bool {
        let asked = self.0.lock().unwrap();
        !self
            .1
            .wait_timeout_while(asked, Duration::from_secs(30), |asked| *asked < count)
            .unwrap()
            .1
            .timed_out()
    }
}

fn line(step: &Step) -> Option<String> {
    Some(match step {
        Step::Writing(facts) => {
            let kinds: Vec<_> = facts.iter().map(|(_, kind)| format!("{kind:?}")).collect();
            format!("the disk is asked to keep {}", kinds.join(" and "))
        }
        Step::Written(_) => "  it has".into(),
        Step::Asking => "the model is asked".into(),
        Step::Answered => "  it has answered".into(),
        Step::Doing { tool, .. } => format!("`{tool}` begins"),
        Step::Done { .. } => "  it is done".into(),
        _ => return None,
    })
}

#[tokio::test]
async fn a_turn_waits_for_the_disk_where_the_page_says_and_nowhere_else() {
    let (asked, kept_too_soon) = (Arc::<Asked>::default(), Arc::<Mutex<bool>>::default());
    let late = Arc::clone(&kept_too_soon);
    let result_is_on_its_way =
        |facts: &[(SessionName, EventKind)]| facts.iter().any(|(_, kind)| *kind == EventKind::ToolFinished);
    let world = World::with_hook(None, move |_, step| match step {
        Step::Asking => asked.count(),
        // The disk takes as long as the model needs to be asked: who waits for it first will wait in vain.
        Step::Writing(facts) if result_is_on_its_way(facts) => *late.lock().unwrap() = !asked.reaches(2),
        _ => {}
    });
    let hand = Hand {
        name: "save",
        effect: Effect::Write,
        effects: EffectLog::in_memory(),
        interrupt: Arc::default(),
    };
    let replies = [ScriptedReply::call("save", json!({"n": 1})), ScriptedReply::text("It is done.")];
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path().join("j.db")).unwrap();
    let system = System::builder()
        .provider("test", world.provider(Scripted::replies(replies)))
        .tools([world.tool(Arc::new(hand))])
        .journal(world.journal(Arc::new(store)))
        .start()
        .await
        .unwrap();
    let alice = system.session("alice").start().await.unwrap();
    let before = world.steps().len();
    alice.send_message("save one").await.unwrap();
    assert!(!*kept_too_soon.lock().unwrap(), "the model is not asked before the result of the tool is kept");

    let mut steps = world.steps().split_off(before);
    // Between the tool and the last commit the disk and the model are at work at the same time; on the page, in this order.
    let done = steps.iter().position(|step| matches!(step, Step::Done { .. })).unwrap();
    let place = |step: &Step| match step {
        Step::Writing(facts) if result_is_on_its_way(facts) => 0,
        Step::Asking => 1,
        Step::Written(_) => 2,
        _ => 3,
    };
    steps[done + 1..done + 5].sort_by_key(place);
    let mut lines: Vec<String> = steps.iter().filter_map(line).collect();
    lines.push("the caller has the result".into());
    let trace = lines.join("\n");
    assert!(PAGE.contains(&trace), "docs/guarantees.md does not show what happens:\n{trace}");
    assert_eq!(trace.matches("  it has\n").count(), 4);
    system.shutdown(Duration::from_secs(30)).await.unwrap();
}
