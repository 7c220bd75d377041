//! Who decides about a call: the rules, then the system's callback, then a human, who may take days.
//!
//! # Why waiting costs nothing
//!
//! That a call waits is a fact, and so is what was decided. Between the two there is no task, no timer and no actor for
//! it: a session that waits may be passivated, killed or carried to another process, and whoever decides finds it.

use std::sync::Arc;
use std::time::Duration;

use ergane_core::{
    ApprovalCause, CallId, CallPhase, Decision, Digest, Event, OpenCall, Part, Seq, SettingsPatch, Text,
    ToolCall, ToolResult, Verdict,
};
use ergane_otp::Promise;
use ergane_tool::{Gate, Permission, PermissionRequest, Registered, gate};
use ractor::ActorProcessingErr;
use serde_json::{Map, Value};

use crate::actor::{State, tell};
use crate::error::SessionError;
use crate::message::{Decide, Internal, Reply};
use crate::requests::shortened;
use crate::tools::{error_result, is_to_run};
use crate::waiters::answer;

/// How long a callback has to decide.
const CONSULT_DEADLINE: Duration = Duration::from_secs(30);

/// How many bytes a decision may bring.
const DECISION_LIMIT: usize = 1024 * 1024;

/// How many bytes the name of a granted tool may have.
const TOOL_LIMIT: usize = 64;

/// So many tools may be granted one by one.
const GRANT_LIMIT: usize = 1024;

/// A call that may run: the gate's word, kept until it begins.
pub(crate) struct Passed {
    pub(crate) tool: Registered,
    pub(crate) arguments: Map<String, Value>,
}

impl std::fmt::Debug for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passed").field("tool", &self.tool.spec.name).finish_non_exhaustive()
    }
}

impl State {
    /// Brings calls through the gate: error results for those that it refuses (unknown tools, bad arguments, no
    /// permission), a question to the callback or a human for those that need one. True when that made facts.
    pub(crate) fn pass_gate(&mut self, calls: &[OpenCall]) -> Result<bool, ActorProcessingErr> {
        let mut settled = false;
        for open in calls {
            let id = open.call.id;
            match &open.phase {
                CallPhase::Denied { cause: ApprovalCause::CutOff, reason } => {
                    self.facts.record(error_result(&open.call, &given_up(reason), false))?;
                    settled = true;
                }
                CallPhase::Denied { reason, .. } => {
                    self.facts.record(error_result(&open.call, &denial(reason), true))?;
                    settled = true;
                }
                CallPhase::DoneOtherwise { result } => {
                    self.facts.record(done_otherwise(&open.call, result))?;
                    settled = true;
                }
                _ if !is_to_run(open) || self.drive.is_past_the_gate(id) => {}
                _ => settled |= self.ask_gate(open)?,
            }
        }
        Ok(settled)
    }

    fn ask_gate(&mut self, open: &OpenCall) -> Result<bool, ActorProcessingErr> {
        let call = &open.call;
        // What an earlier incarnation began has passed before.
        let passed = open.phase != CallPhase::Fresh || open.approved;
        match self.gate(call) {
            None => return Ok(false),
            Some(Gate::Refuse { reason, denied }) => {
                self.facts.record(error_result(call, &reason, denied))?;
                return Ok(true);
            }
            Some(Gate::Run { tool, arguments, .. }) => self.drive.pass(call.id, Passed { tool, arguments }),
            Some(Gate::Consult { tool, arguments } | Gate::Ask { tool, arguments, .. }) if passed => {
                self.drive.pass(call.id, Passed { tool, arguments });
            }
            // Until the answer is durable its calls may turn out never to have been made: nobody decides about them yet.
            Some(Gate::Consult { .. }) if self.facts.durable() < self.drive.answer => {}
            Some(Gate::Consult { tool, arguments }) => self.consult(call.id, tool, arguments),
            Some(Gate::Ask { why, .. }) => {
                self.request_approval(call, ApprovalCause::Permission, why.into())?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn gate(&self, call: &ToolCall) -> Option<Gate> {
        let settings = &self.facts.conversation().turn()?.settings;
        let consults = self.context.options().can_use_tool.is_some();
        Some(gate(self.context.tools(), settings.tools.as_deref(), &settings.permissions, consults, call))
    }

    pub(crate) fn request_approval(
        &mut self,
        call: &ToolCall,
        cause: ApprovalCause,
        why: Text,
    ) -> Result<(), ActorProcessingErr> {
        self.facts.record(Event::ApprovalRequested {
            call: call.id,
            arguments: fingerprint(call),
            cause,
            why,
        })?;
        Ok(())
    }

    /// Asks the callback, in a task: it may take long, hang or panic, and none of that is the session's.
    fn consult(&mut self, id: CallId, tool: Registered, arguments: Map<String, Value>) {
        let Some(callback) = self.context.options().can_use_tool.clone() else { return };
        let subject = tool.subject();
        let settings = self.facts.conversation().turn().map(|turn| turn.settings.clone());
        let cwd = settings.map(|settings| settings.cwd.clone()).unwrap_or_default();
        let request = PermissionRequest::new(self.name.clone(), id, subject, arguments.clone()).cwd(cwd);
        let me = self.me.clone();
        let said = Promise::new(move |answer: Option<Result<Permission, &'static str>>| {
            tell(&me, Internal::Consulted(id, answer.unwrap_or(Err("it panicked"))));
        });
        let task = self.scope.spawn("can_use_tool", async move {
            // Not kept when the callback panics: the promise then answers by itself.
            let answer = tokio::time::timeout(CONSULT_DEADLINE, callback.ask(request)).await;
            said.keep(answer.map_err(|_| "it took longer than 30 s"));
        });
        self.drive.consult(id, Passed { tool, arguments }, task);
    }

    /// The callback has said something of a call, which may have been closed since.
    pub(crate) fn on_consulted(
        &mut self,
        id: CallId,
        said: Result<Permission, &'static str>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(passed) = self.drive.consulted(id) else { return Ok(()) };
        let turn = self.facts.conversation().turn().filter(|turn| turn.interrupted.is_none());
        let call = turn
            .and_then(|turn| turn.batch().find(|(call, done)| call.id == id && !done))
            .map(|(call, _)| call.clone());
        let Some(call) = call else { return Ok(()) };
        let deny = |reason: String| error_result(&call, &format!("permission denied: {reason}"), true);
        match said {
            Ok(Permission::Allow) => self.drive.pass(id, passed),
            Ok(Permission::Ask) => {
                let why = format!("the program asks for a decision about `{}`", call.name);
                self.request_approval(&call, ApprovalCause::Permission, why.into())?;
            }
            Ok(Permission::Deny { reason }) => drop(self.facts.record(deny(reason))?),
            Err(why) => {
                tracing::error!(session = %self.name, call = %id, why, "the callback `can_use_tool` failed");
                let reason = format!("the callback that decides about `{}` failed: {why}", call.name);
                self.facts.record(deny(reason))?;
            }
        }
        Ok(())
    }

    pub(crate) fn on_approve(
        &mut self,
        Decide { call, question, arguments, decision, by }: Decide,
        reply: Reply<()>,
    ) -> Result<(), ActorProcessingErr> {
        match self.may_decide(call, question, arguments, &decision) {
            Err(error) => {
                answer(reply, Err(error));
                return Ok(());
            }
            Ok(true) => self.decide(call, decision, shortened(by))?,
            // Decided before, and the same: that it is kept is all there is to wait for.
            Ok(false) => {}
        }
        self.acknowledge(reply, ());
        Ok(())
    }

    /// Whether that decision is to be taken; `false` when it was taken before.
    fn may_decide(
        &self,
        call: CallId,
        question: Option<Seq>,
        arguments: Option<Digest>,
        decision: &Decision,
    ) -> Result<bool, SessionError> {
        let session = self.name.clone();
        let bytes = match decision {
            Decision::Deny { reason: text } | Decision::Done { result: text } => text.len(),
            _ => 0,
        };
        if bytes > DECISION_LIMIT {
            return Err(SessionError::InputTooLarge { bytes, limit: DECISION_LIMIT });
        }
        match self.facts.conversation().verdict(call, question, decision) {
            Verdict::Waits { arguments: asked, .. } if arguments.is_some_and(|seen| seen != asked) => {
                Err(SessionError::OtherArguments { session, call })
            }
            Verdict::Waits { .. } => Ok(true),
            Verdict::Same => Ok(false),
            Verdict::Other(first) => Err(SessionError::AlreadyDecided { session, call, first }),
            Verdict::AskedAgain(question) => Err(SessionError::AskedAgain { session, call, question }),
            _ => Err(SessionError::NotPending { session, call }),
        }
    }

    fn decide(&mut self, call: CallId, decision: Decision, by: Text) -> Result<(), ActorProcessingErr> {
        self.recover_at_last()?;
        self.facts.record(Event::ApprovalDecided { call, decision, by })?;
        Ok(())
    }

    pub(crate) fn on_grant(&mut self, tool: Text, reply: Reply<()>) -> Result<(), ActorProcessingErr> {
        let Some(settings) = self.facts.conversation().settings() else {
            answer(reply, Err(SessionError::NotFound(self.name.clone())));
            return Ok(());
        };
        let mut granted = settings.permissions.granted.clone();
        let is_new = !granted.contains(&tool);
        if is_new {
            let bytes = tool.len();
            if bytes > TOOL_LIMIT {
                answer(reply, Err(SessionError::InputTooLarge { bytes, limit: TOOL_LIMIT }));
                return Ok(());
            }
            if granted.len() >= GRANT_LIMIT {
                answer(
                    reply,
                    Err(SessionError::TooManyGrants { session: self.name.clone(), limit: GRANT_LIMIT }),
                );
                return Ok(());
            }
            granted.push(tool.clone());
        }
        // The send of the open turn may have taken back what the session grants.
        let open = self.facts.conversation().turn();
        if is_new || open.is_some_and(|turn| !turn.settings.permissions.granted.contains(&tool)) {
            let patch = SettingsPatch { granted: Some(granted), ..SettingsPatch::default() };
            self.facts.record(Event::SettingsChanged { patch: patch.into(), tool: Some(tool.clone()) })?;
        }
        let turn = self.facts.conversation().turn().filter(|turn| turn.interrupted.is_none());
        let pending = turn.map(|turn| turn.approvals()).unwrap_or_default();
        for pending in pending.iter().filter(|p| p.tool == tool && p.cause == ApprovalCause::Permission) {
            self.decide(pending.call, Decision::Allow, "user".into())?;
        }
        self.acknowledge(reply, ());
        Ok(())
    }
}

/// What a decision holds for.
pub(crate) fn fingerprint(call: &ToolCall) -> Digest {
    Digest::of(call.arguments.as_bytes())
}

fn denial(reason: &str) -> String {
    match reason.trim() {
        "" => "permission denied: the user said no".to_owned(),
        reason => format!("permission denied: {reason}"),
    }
}

fn given_up(reason: &str) -> String {
    let why = "this call was cut off by a crash after it had begun, and the user gave it up: it may have happened wholly, \
        partly or not at all, and was not run again";
    match reason.trim() {
        "" => why.to_owned(),
        reason => format!("{why}. {reason}"),
    }
}

fn done_otherwise(call: &ToolCall, result: &Text) -> Event {
    let content = vec![Part::Text { text: result.clone() }];
    let result =
        ToolResult { call: call.id, name: call.name.clone(), content, is_error: false, synthetic: true };
    Event::ToolFinished { result: Arc::new(result), denied: false, ui: None }
}
