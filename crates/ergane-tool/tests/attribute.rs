//! What `#[tool]` makes of functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test may

use std::fmt;
use std::time::Duration;

use ergane_tool::{
    ContextFn, ContextParts, Effect, Extension, Extensions, Json, Tool, ToolContext, ToolError, ToolOutput,
    tool,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Celsius,
    Fahrenheit,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Place {
    /// Its name.
    city: String,
    days: Vec<u8>,
}

/// What the weather is like.
///
/// In *one* place:
///     indented.
#[tool(crate = "::ergane_tool", effect = "read", timeout = "30s", name = "get-weather")]
pub async fn weather(
    /// Where.
    place: Place,
    ctx: &ToolContext,
    /// In which unit.
    unit: Option<Unit>,
    #[serde(default = "three")] times: u8,
    days: Option<u16>,
    where_else: Option<Place>,
) -> Result<String, ToolError> {
    assert!(days.is_none() && where_else.is_none());
    Ok(format!("{} {:?} {unit:?} {times} {}", place.city, place.days, ctx.call_id()))
}

fn three() -> u8 {
    3
}

/// Does something.
#[tool(crate = "ergane_tool")]
async fn act() {}

/// Fails.
#[tool(crate = "ergane_tool", effect = "idempotent", timeout = "1500ms")]
async fn fail(mut r#type: String) -> Result<Json<Vec<u8>>, Broken> {
    r#type.push('!');
    if r#type == "json!" { Ok(Json(vec![1, 2])) } else { Err(Broken) }
}

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if f.alternate() { "broken: the spring" } else { "broken" })
    }
}

/// Gives up.
#[tool(crate = "ergane_tool")]
async fn give_up(ctx: ToolContext) -> Result<ToolOutput, ToolError> {
    if ctx.is_cancelled() { Err(ToolError::Cancelled) } else { Ok(ToolOutput::error("half").with_ui("k", 1)) }
}

/// Who asks.
#[tool(crate = "ergane_tool")]
async fn who(name: Extension<String>, greeting: String, age: Extension<u8>) -> String {
    format!("{greeting} {}, {}", *name, *age)
}

async fn call(tool: &dyn Tool, arguments: Value) -> Result<ToolOutput, ToolError> {
    let Value::Object(arguments) = arguments else { panic!("{arguments}") };
    tool.call(ToolContext::for_test("/"), arguments).await
}

#[test]
fn name_description_effect_and_timeout_come_from_the_function() {
    let tool: &dyn Tool = &weather;
    assert_eq!((tool.name(), tool.effect()), ("get-weather", Effect::Read));
    assert_eq!(tool.description(), "What the weather is like.\n\nIn *one* place:\n    indented.");
    assert_eq!(tool.timeout(), Some(Duration::from_secs(30)));
    assert_eq!((act.name(), act.effect(), act.timeout()), ("act", Effect::Write, None));
    assert_eq!((fail.effect(), fail.timeout()), (Effect::Idempotent, Some(Duration::from_millis(1500))));
}

#[test]
fn the_schema_describes_the_arguments_and_not_the_context() {
    let schema = weather.parameters();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["required"], json!(["place"]));
    assert_eq!(schema["additionalProperties"], false);
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["days", "place", "times", "unit", "where_else"]);
    assert_eq!(
        (&properties["days"]["type"], &properties["where_else"]["type"]),
        (&json!("integer"), &json!("object"))
    );
    assert_eq!(properties["place"]["description"], "Where.");
    assert_eq!(properties["place"]["properties"]["city"]["description"], "Its name.");
    assert_eq!(properties["unit"]["description"], "In which unit.");
    assert_eq!(properties["times"]["default"], 3);
    // What may be left out is not offered as null, too, whatever its type is.
    assert_eq!(properties["unit"]["enum"], json!(["celsius", "fahrenheit"]));
    assert!(!schema.to_string().contains("null"), "{schema}");
    // Self-contained, and nothing of Rust's names.
    for absent in ["$ref", "$schema", "$defs", "Arguments"] {
        assert!(!schema.to_string().contains(absent), "{schema}");
    }
    assert_eq!(
        act.parameters(),
        json!({ "type": "object", "properties": {}, "additionalProperties": false })
    );
    assert!(fail.parameters()["properties"]["type"].is_object());
}

#[tokio::test]
async fn the_function_gets_its_arguments_with_defaults_for_what_is_left_out() {
    let place = json!({ "city": "Oslo", "days": [1, 2] });
    let output = call(&weather, json!({ "place": place, "unit": "celsius" })).await.unwrap();
    assert_eq!(output, ToolOutput::text("Oslo [1, 2] Some(Celsius) 3 1.1"));
    let output = call(&weather, json!({ "place": place, "unit": null, "times": 9 })).await.unwrap();
    assert_eq!(output, ToolOutput::text("Oslo [1, 2] None 9 1.1"));
}

#[tokio::test]
async fn a_bad_argument_is_an_error_with_its_path() {
    let wrong = json!({ "place": { "city": "Oslo", "days": [1, "x"] } });
    let ToolError::Arguments { path, reason } = call(&weather, wrong).await.unwrap_err() else { panic!() };
    assert_eq!(path, "place.days[1]");
    assert!(reason.contains("string \"x\""), "{reason}");
    let missing = call(&weather, json!({})).await.unwrap_err();
    assert_eq!(missing.to_string(), "bad arguments: missing field `place`");
    let unknown = json!({ "place": { "city": "Oslo", "days": [] }, "untis": 1 });
    let unknown = call(&weather, unknown).await.unwrap_err().to_string();
    assert!(unknown.contains("unknown field `untis`") && unknown.contains("`unit`"), "{unknown}");
}

#[tokio::test]
async fn a_function_may_return_what_it_likes() {
    assert_eq!(call(&act, json!({})).await.unwrap(), ToolOutput::text("done"));
    assert_eq!(call(&fail, json!({ "type": "json" })).await.unwrap(), ToolOutput::text("[1,2]"));
    let error = call(&fail, json!({ "type": "x" })).await.unwrap_err();
    assert_eq!(error, ToolError::Failed("broken: the spring".into()), "the causes of an error are shown");
    let output = call(&give_up, json!({})).await.unwrap();
    assert!(output.is_error && output.ui == Some(json!({ "kind": "k", "data": 1 })));
    let ctx = ToolContext::for_test("/");
    ctx.cancel_token().cancel();
    assert_eq!(give_up.call(ctx, Map::new()).await.unwrap_err(), ToolError::Cancelled, "kept as it is");
}

#[test]
fn a_tool_may_be_made_within_a_function() {
    /// Local.
    #[tool(crate = "ergane_tool")]
    async fn local() -> &'static str {
        "here"
    }
    assert_eq!(local.name(), "local");
}

#[tokio::test]
async fn what_the_program_gives_is_a_parameter_that_the_model_does_not_see() {
    let properties = who.parameters()["properties"].as_object().unwrap().clone();
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["greeting"]);
    let call = async |given: Extensions| {
        let mut parts = ContextParts::for_test("/");
        parts.extend = ContextFn::new(move |_, _| given.clone());
        let Value::Object(arguments) = json!({ "greeting": "Hi" }) else { unreachable!() };
        who.call(ToolContext::new(parts), arguments).await
    };
    let given = Extensions::new().with("Ann".to_owned()).with(7_u8).with("Bo".to_owned());
    assert_eq!(call(given).await.unwrap(), ToolOutput::text("Hi Bo, 7"));
    let error = call(Extensions::new().with("Ann".to_owned())).await.unwrap_err();
    assert!(error.to_string().starts_with("this tool needs a u8 from the program"), "{error}");
}
