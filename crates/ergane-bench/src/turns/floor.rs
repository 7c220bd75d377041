//! The same turns on bare ractor: what the model says is there at once, or when its time has passed.

use std::time::Duration;

use super::{Run, model};
use crate::Outcome;
use crate::args::TurnsArgs;
use crate::shape::{self, Tools, Work};

/// What one turn does.
#[derive(Debug, Clone, Copy)]
struct Script {
    tools: u32,
    latency: Duration,
}

impl Script {
    async fn model(self) {
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
    }
}

impl Work for Script {
    type Input = u32;

    async fn turn(&self, tools: Tools) -> Outcome<String> {
        if self.tools > 0 {
            self.model().await;
            let mut results = Vec::new();
            for call in 0..self.tools {
                results.push(tools.start::<Self>(call).await?);
            }
            for result in results {
                result.await??;
            }
        }
        self.model().await;
        Ok(model::ANSWER.to_owned())
    }

    async fn tool(left: u32) -> Outcome<String> {
        Ok((left + 1).to_string())
    }
}

pub(super) async fn run(options: &TurnsArgs) -> Outcome<Run> {
    let script = Script { tools: options.turn.tools(), latency: Duration::from_millis(options.latency_ms) };
    shape::run(script, options.sessions, options.turns, options.turns.max(1)).await
}

/// So many sessions have one turn each, and then nothing to do; the seconds that it took to start them. They end with the
/// process.
pub(crate) async fn idle(prefix: &str, sessions: usize) -> Outcome<f64> {
    shape::idle(Script { tools: 0, latency: Duration::ZERO }, prefix, sessions).await
}
