//! What a plan makes of a store, a provider and a tool; and that it leaves a tool what it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may fail

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ergane_core::Effect;
use ergane_testkit::{FaultPlan, World};
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
