//! Context windows that are known, and answers that tell that a prompt did not fit one although nobody said so.
//!
//! Some servers cut a prompt that is too long and answer what is left of it, or find no room for an answer and call that one
//! that reached its limit. Both are told by the tokens that they counted. Nobody is asked for a window because of it: what
//! was told in a list of models, or asked for with the call, is what is known.

use ergane_core::{ErrorKind, ModelReply, ProviderError, Spent, StopReason};

use crate::learned::Learned;

/// How many tokens a model has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// The server says so.
    Told(u64),
    /// So many were asked for; the server may have given more.
    Asked(u64),
}

/// The windows of a server's models.
pub(crate) type Windows = Learned<Window>;

impl Window {
    /// Whether an answer tells that its prompt did not fit: more went in than there is room for, or nothing came out of what
    /// filled it.
    fn overflowed(self, reply: &ModelReply) -> bool {
        let Some((usage, origin)) = reply.usage.zip(reply.message.origin.as_ref()) else { return false };
        let (Self::Told(room) | Self::Asked(room)) = self;
        let fills = usage.input_tokens >= room.saturating_sub(room / 100);
        match origin.stop {
            StopReason::Length if usage.output_tokens == 0 && fills => true,
            StopReason::Stop | StopReason::StopSequence | StopReason::ToolCalls | StopReason::Length => {
                matches!(self, Self::Told(_)) && usage.input_tokens > room
            }
            _ => false,
        }
    }

    /// The answer, unless it is one to a part of what was asked.
    pub(crate) fn judge(
        self,
        reply: ModelReply,
        (provider, endpoint, model): (&str, &str, &str),
    ) -> Result<ModelReply, ProviderError> {
        if !self.overflowed(&reply) {
            return Ok(reply);
        }
        let tokens = reply.usage.unwrap_or_default().input_tokens;
        let (Self::Told(room) | Self::Asked(room)) = self;
        let message = format!(
            "{provider} at {endpoint} said nothing of it, but the prompt, of {tokens} tokens, does not fit {model}, which has \
             room for {room}"
        );
        Err(ProviderError {
            after_output: !reply.message.text().is_empty(),
            spent: Some(Box::new(Spent::of(reply.usage, reply.cost))),
            ..ProviderError::new(ErrorKind::ContextOverflow, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use ergane_core::{Message, Origin, Part, Role, Usage};

    use super::*;

    fn reply(stop: StopReason, input_tokens: u64, output_tokens: u64) -> ModelReply {
        let (provider, api, model) = ("p".into(), "a".into(), "m".into());
        let origin = Origin { provider, api, model, response_id: None, stop };
        let parts = if output_tokens > 0 { vec![Part::text("Yes.")] } else { vec![] };
        let usage = Some(Usage { input_tokens, output_tokens, ..Usage::default() });
        ModelReply {
            message: Message { role: Role::Assistant, parts, origin: Some(origin) },
            usage,
            cost: None,
        }
    }

    #[test]
    fn the_table_of_overflows_that_nobody_tells_holds() {
        use StopReason::{ContentFilter, Length, Stop, ToolCalls};
        use Window::{Asked, Told};
        let table = [
            (Told(1000), Stop, 1000, 5, false),
            (Told(1000), Stop, 1001, 5, true),
            (Told(1000), ToolCalls, 1001, 5, true),
            (Told(1000), ContentFilter, 1001, 5, false),
            (Asked(1000), Stop, 1001, 5, false),
            (Told(1000), Length, 990, 0, true),
            (Asked(1000), Length, 990, 0, true),
            (Told(1000), Length, 989, 0, false),
            (Told(1000), Length, 999, 1, false),
            (Told(1000), Stop, 990, 0, false),
        ];
        for (window, stop, input, output, expected) in table {
            let judged = window.judge(reply(stop.clone(), input, output), ("p", "http://host", "m"));
            assert_eq!(judged.is_err(), expected, "{window:?} {stop:?} {input} {output}");
            let Err(error) = judged else { continue };
            assert_eq!((error.kind, error.after_output), (ErrorKind::ContextOverflow, output > 0), "{error}");
            let spent = error.spent.unwrap().usage.unwrap();
            assert_eq!((spent.input_tokens, spent.output_tokens), (input, output), "what it took is told");
        }
        let silent = ModelReply { usage: None, ..reply(Length, 0, 0) };
        assert!(!Told(1).overflowed(&silent), "what was not counted is not known");
    }
}
