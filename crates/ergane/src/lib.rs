#![doc = include_str!("../README.md")]

mod beside;
mod builder;
mod drain;
mod errands;
mod error;
mod one_shot;
#[cfg(unix)]
mod reached;
mod recovery;
mod sessions;
mod system;
mod tree;

pub use builder::SystemBuilder;
pub use ergane_core as core;
pub use ergane_journal as journal;
pub use ergane_otp as otp;
pub use ergane_provider as provider;
pub use ergane_session as session;
#[cfg(unix)]
pub use ergane_socket as socket;
/// What tools are made of beside the prelude: [`ToolFuture`](tool_support::ToolFuture) for an `impl Tool`,
/// [`Json`](tool_support::Json) for a result, [`AtWork`](tool_support::AtWork), the policy that decides about a call.
#[doc(inline)]
pub use ergane_tool as tool_support;
pub use ergane_tool::tool;
pub use ergane_tools as tools;
pub use errands::{Embed, ListModels};
pub use error::SystemError;
pub use one_shot::{OneShot, OneShotStream};
pub use ractor;
pub use recovery::Recovery;
pub use serde_json;
pub use sessions::SessionInfo;
pub use system::System;
pub use tree::Node;

/// Everything that most programs need.
pub mod prelude {
    pub use ergane_core::{
        CallId, Decision, Durability, Effect, ErrorKind, FinishReason, Message, MicroUsd, ModelRequest,
        OnUnknown, OutputSchema, Part, PendingApproval, PermissionMode, Point, PromptCache, ReasoningEffort,
        Role, Sampling, Seq, SessionName, SettingsPatch, ToolChoice, TurnId, Ungranted,
    };
    pub use ergane_journal::{Memory, Sqlite};
    pub use ergane_otp::{Down, ExitReason, Incarnation};
    pub use ergane_provider::{Anthropic, Gemini, Ollama, OpenAi, OpenAiResponses, Scripted, ScriptedReply};
    pub use ergane_session::{
        Activity, Session, SessionBuilder, SessionError, SessionEvent, SessionMsg, Status, Steered,
        TurnResult, WhenBusy,
    };
    pub use ergane_tool::{
        Extension, Extensions, Json, Permission, PermissionRequest, Reach, Tool, ToolContext, ToolError,
        ToolFuture, ToolOutput, tool,
    };
    pub use ergane_tools::Tools;
    pub use serde_json::json;

    pub use crate::{Recovery, System, SystemError};
}

/// What the documentation says is compiled, and run.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../README.md")]
    struct TheReadme;
    #[doc = include_str!("../../../docs/getting-started.md")]
    struct GettingStarted;
    #[doc = include_str!("../../../docs/sessions.md")]
    struct Sessions;
    #[doc = include_str!("../../../docs/tools.md")]
    struct Tools;
    #[doc = include_str!("../../../docs/permissions.md")]
    struct Permissions;
    #[doc = include_str!("../../../docs/server.md")]
    struct Server;
    #[doc = include_str!("../../../docs/testing.md")]
    struct Testing;
}
