//! A tool whose calls fail by plan.

use std::sync::Arc;
use std::time::Duration;

use ergane_core::Effect;
use ergane_tool::{Reach, Tool, ToolContext, ToolError, ToolFuture};
use serde_json::{Map, Value};

use super::plan::{FaultPlan, ToolFault};

pub(super) struct FaultyTool {
    tool: Arc<dyn Tool>,
    plan: FaultPlan,
}

impl FaultyTool {
    pub(super) fn new(tool: Arc<dyn Tool>, plan: FaultPlan) -> Self {
        Self { tool, plan }
    }
}

impl Tool for FaultyTool {
    fn name(&self) -> &str {
        self.tool.name()
    }

    fn description(&self) -> &str {
        self.tool.description()
    }

    fn parameters(&self) -> Value {
        self.tool.parameters()
    }

    fn effect(&self) -> Effect {
        self.tool.effect()
    }

    fn reach(&self) -> Reach {
        self.tool.reach()
    }

    fn timeout(&self) -> Option<Duration> {
        self.tool.timeout()
    }

    fn call(&self, ctx: ToolContext, arguments: Map<String, Value>) -> ToolFuture {
        let (tool, plan) = (Arc::clone(&self.tool), self.plan.clone());
        Box::pin(async move {
            let fault = plan.next_tool(tool.name());
            match fault {
                Some(ToolFault::Fail) => return Err(ToolError::failed("the fault plan says failure here")),
                #[allow(clippy::panic, reason = "it is what was planned")]
                Some(ToolFault::Panic) => panic!("the fault plan says panic here"),
                Some(ToolFault::Hang) => return std::future::pending().await,
                Some(ToolFault::PanicAfter | ToolFault::HangAfter) | None => {}
            }
            let output = tool.call(ctx, arguments).await;
            match fault {
                #[allow(clippy::panic, reason = "it is what was planned")]
                Some(ToolFault::PanicAfter) => panic!("the fault plan says panic here, when all was done"),
                Some(ToolFault::HangAfter) => std::future::pending().await,
                _ => output,
            }
        })
    }
}
