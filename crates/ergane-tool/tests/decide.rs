//! The registry and the gate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

use std::sync::Arc;

use ergane_core::{CallId, PermissionMode, Permissions, Text, ToolCall, Ungranted};
use ergane_tool::{Effect, Gate, RegistryError, Tool, ToolContext, ToolFuture, ToolRegistry, gate};
use serde_json::{Map, Value, json};

struct Named(&'static str, Value, Effect);

impl Tool for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn description(&self) -> &str {
        "Does nothing."
    }

    fn parameters(&self) -> Value {
        self.1.clone()
    }

    fn effect(&self) -> Effect {
        self.2
    }

    fn call(&self, _: ToolContext, _: Map<String, Value>) -> ToolFuture {
        Box::pin(async { Ok("nothing".into()) })
    }
}

fn named(name: &'static str, effect: Effect) -> Arc<dyn Tool> {
    Arc::new(Named(name, json!({ "type": "object" }), effect))
}

fn registry() -> ToolRegistry {
    let tools =
        [named("read", Effect::Read), named("bash", Effect::Write), named("a-b_C9", Effect::Idempotent)];
    ToolRegistry::new(tools).unwrap()
}

fn texts(names: &[&str]) -> Vec<Text> {
    names.iter().map(|name| Text::from(*name)).collect()
}

#[test]
fn tools_are_found_by_name_and_listed_in_the_order_of_registration() {
    let registry = registry();
    assert_eq!(registry.names().map(AsRef::as_ref).collect::<Vec<_>>(), ["read", "bash", "a-b_C9"]);
    assert_eq!(registry.get("bash").unwrap().effect, Effect::Write);
    assert!(registry.get("Bash").is_none());
    assert_eq!((registry.len(), registry.is_empty()), (3, false));
    assert!(ToolRegistry::default().specs(None).unwrap().is_empty());
}

#[test]
fn a_bad_or_double_name_and_a_bad_schema_are_refused() {
    let twice = ToolRegistry::new([named("a", Effect::Read), named("a", Effect::Write)]);
    assert_eq!(twice.unwrap_err(), RegistryError::Duplicate { name: "a".into() });
    let long: &'static str = Box::leak("x".repeat(65).into_boxed_str());
    for bad in ["", "a b", "é", "a.b", long] {
        let error = ToolRegistry::new([named(bad, Effect::Read)]).unwrap_err();
        assert_eq!(error, RegistryError::IllegalName { name: bad.into() });
    }
    for schema in [json!({}), json!({ "type": "string" }), json!(true)] {
        let tool: Arc<dyn Tool> = Arc::new(Named("a", schema, Effect::Read));
        assert!(matches!(ToolRegistry::new([tool]), Err(RegistryError::BadParameters { .. })));
    }
}

#[test]
fn the_same_set_is_encoded_once_in_one_order_and_missing_names_are_told() {
    let registry = registry();
    let names =
        |specs: &[ergane_core::ToolSpec]| specs.iter().map(|spec| spec.name.to_string()).collect::<Vec<_>>();
    let one = registry.specs(Some(&texts(&["bash", "read"]))).unwrap();
    let other = registry.clone().specs(Some(&texts(&["read", "bash", "read"]))).unwrap();
    assert_eq!(names(&one), ["read", "bash"]);
    assert!(Arc::ptr_eq(&one, &other));
    assert!(Arc::ptr_eq(&registry.specs(None).unwrap(), &registry.specs(None).unwrap()));
    assert_eq!(registry.specs(None).unwrap().len(), 3);
    assert!(registry.specs(Some(&[])).unwrap().is_empty());
    let error = registry.specs(Some(&texts(&["x", "read", "y"]))).unwrap_err();
    assert_eq!(error.to_string(), "no such tool: x, y; there are: read, bash, a-b_C9");
}

fn call(name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: CallId::UNNUMBERED,
        wire_id: None,
        name: name.into(),
        arguments: arguments.into(),
        complete: true,
        extra: Map::new(),
    }
}

fn refusal(offered: Option<&[Text]>, permissions: &Permissions, call: &ToolCall) -> (String, bool) {
    match gate(&registry(), offered, permissions, false, call) {
        Gate::Refuse { reason, denied } => (reason, denied),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_may_run_comes_with_its_tool_effect_and_arguments() {
    let gated = gate(&registry(), None, &Permissions::default(), false, &call("bash", r#"{"command":"ls"}"#));
    let Gate::Run { tool, arguments } = gated else { panic!("{gated:?}") };
    assert_eq!((&*tool.spec.name, tool.effect), ("bash", Effect::Write));
    assert_eq!(arguments["command"], "ls");
}

#[test]
fn what_the_model_left_out_by_null_comes_to_nobody() {
    let parameters = json!({"type": "object", "required": ["path"], "properties": {
        "path": {"type": "string"}, "limit": {"type": "integer"}}});
    let registry = ToolRegistry::new([Arc::new(Named("read", parameters, Effect::Write)) as _]).unwrap();
    let call = call("read", r#"{"path":"a","limit":null}"#);
    for (consults, ungranted) in [(false, Ungranted::Allow), (true, Ungranted::Ask), (false, Ungranted::Ask)]
    {
        let permissions = Permissions { ungranted, ..Default::default() };
        match gate(&registry, None, &permissions, consults, &call) {
            Gate::Run { arguments, .. } | Gate::Consult { arguments, .. } | Gate::Ask { arguments, .. } => {
                assert_eq!(Value::from(arguments), json!({"path": "a"}));
            }
            refused => panic!("{refused:?}"),
        }
    }
    assert_eq!(&*call.arguments, r#"{"path":"a","limit":null}"#, "and what it said stays as it said it");
}

#[test]
fn an_unknown_tool_is_refused_with_the_names_there_are_and_the_nearest() {
    let open = Permissions::default();
    let (reason, denied) = refusal(None, &open, &call("Raed", "{}"));
    assert_eq!(
        reason,
        "there is no tool named \"Raed\"; the tools are: read, bash, a-b_C9; did you mean `read`?"
    );
    assert!(!denied);
    let offered = texts(&["read"]);
    let (reason, _) = refusal(Some(&offered), &open, &call("bash", "{}"));
    assert_eq!(reason, "there is no tool named \"bash\"; the tools are: read");
    let (reason, _) = refusal(Some(&[]), &open, &call("bash", "{}"));
    assert!(reason.ends_with("there are no tools in this session"), "{reason}");
}

#[test]
fn arguments_that_are_no_object_are_refused_with_what_was_wrong() {
    let open = Permissions::default();
    for (arguments, words) in [("{\"a\":", "not valid JSON"), ("[1]", "an array"), ("\"x\"", "a string")] {
        let (reason, denied) = refusal(None, &open, &call("read", arguments));
        assert!(reason.contains(words) && !denied, "{reason}");
    }
}

#[test]
fn a_denial_comes_last_and_is_marked_as_one() {
    let plan = Permissions { mode: PermissionMode::Plan, ..Default::default() };
    let (reason, denied) = refusal(None, &plan, &call("bash", "{}"));
    assert!(denied && reason.starts_with("permission denied: "), "{reason}");
    // What is wrong with the call itself is said first: nobody needs permission for what cannot be run.
    assert!(!refusal(None, &plan, &call("bash", "[]")).1);
    assert!(!refusal(None, &plan, &call("bsh", "{}")).1);
}

#[test]
fn a_call_that_needs_a_yes_comes_with_what_it_would_run_with() {
    let careful = Permissions { ungranted: Ungranted::Ask, ..Default::default() };
    let call = call("bash", r#"{"command":"ls"}"#);
    match gate(&registry(), None, &careful, false, &call) {
        Gate::Ask { tool, arguments, why } => {
            assert_eq!((&*tool.spec.name, arguments["command"].as_str()), ("bash", Some("ls")));
            assert_eq!(why, "`bash` changes things");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(gate(&registry(), None, &careful, true, &call), Gate::Consult { .. }));
}

#[test]
fn a_call_cut_off_with_its_reply_is_never_run() {
    let mut cut = call("read", "{}");
    cut.complete = false;
    let (reason, denied) = refusal(None, &Permissions::default(), &cut);
    assert!(reason.contains("cut off") && !denied);
}
