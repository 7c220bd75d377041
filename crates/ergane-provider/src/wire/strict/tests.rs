use ergane_core::{CallId, ToolCall, ToolSpec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn strict(schema: &Value) -> Option<Value> {
    Strict::open_ai(schema, false, false).whole()
}

fn tool(parameters: Value) -> ToolSpec {
    ToolSpec { name: "t".into(), description: "d".into(), parameters: parameters.into() }
}

fn told((schema, strict): (Arc<Value>, bool)) -> (Value, bool) {
    (Value::clone(&schema), strict)
}

/// A schema of one optional property.
fn of(property: Value) -> Value {
    json!({"type": "object", "properties": {"p": property}})
}

/// What becomes of that property.
fn made(property: Value) -> Option<Value> {
    strict(&of(property)).map(|made| made["properties"]["p"].clone())
}

#[test]
fn everything_is_required_and_what_was_optional_may_be_null() {
    let schema = json!({"type": "object", "title": "Rust's name", "required": ["a"], "properties": {
        "a": {"type": "string"},
        "b": {"type": "integer", "format": "uint8", "minimum": 0, "maximum": 255},
        "c": {"enum": ["x", "y"], "description": "which"},
        "d": {"type": "array", "items": {"type": "object", "properties": {"e": {"$ref": "#/$defs/F"}}}},
        "g": {"$ref": "#/$defs/F", "description": "a place"},
    }, "$defs": {"F": {"type": "object", "properties": {}}}});
    let place = json!([{"$ref": "#/$defs/F"}, {"type": "null"}]);
    let expected = json!({"type": "object", "required": ["a", "b", "c", "d", "g"], "additionalProperties": false,
        "properties": {
            "a": {"type": "string"},
            "b": {"type": ["integer", "null"], "minimum": 0, "maximum": 255},
            "c": {"anyOf": [{"type": "string", "enum": ["x", "y"], "description": "which"}, {"type": "null"}]},
            "d": {"type": ["array", "null"], "items": {"type": "object", "additionalProperties": false,
                  "required": ["e"], "properties": {"e": {"anyOf": place}}}},
            "g": {"anyOf": place, "description": "a place"},
        },
        "$defs": {"F": {"type": "object", "properties": {}, "required": [], "additionalProperties": false}}});
    let made = strict(&schema).unwrap();
    assert_eq!(made, expected);
    assert_eq!(told(parameters(&tool(schema.clone()), true, "m")), (expected, true));
    assert_eq!(told(parameters(&tool(schema.clone()), false, "m")), (schema, false));
}

#[test]
fn what_the_mode_has_no_word_for_but_says_nothing_of_what_matches_is_told_or_left_out() {
    let noted =
        json!({"type": "integer", "default": 5, "description": "how many", "examples": [1], "title": "N"});
    let told = json!({"type": ["integer", "null"], "description": "how many (Default: 5.)"});
    assert_eq!(made(noted), Some(told));
    assert_eq!(made(json!({"type": "boolean", "default": null})), Some(json!({"type": ["boolean", "null"]})));
    let one_of = json!({"oneOf": [{"const": "a", "description": "first"}, {"const": "b"}]});
    let any_of = json!({"anyOf": [
        {"type": "string", "enum": ["a"], "description": "first"}, {"type": "string", "enum": ["b"]}, {"type": "null"},
    ]});
    assert_eq!(made(one_of), Some(any_of));
}

#[test]
fn what_cannot_be_said_in_the_mode_or_only_with_another_meaning_does_not_fit() {
    let text = json!({"type": "string"});
    let optional = json!({"type": "object", "properties": {"a": text}});
    let required = json!({"type": "object", "properties": {"a": text}, "required": ["a"]});
    assert!(strict(&required).is_some() && made(json!({"anyOf": [required, text]})).is_some());
    for property in [
        json!({}),
        json!(true),
        json!({"type": "object"}),
        json!({"type": "object", "additionalProperties": {"type": "string"}, "properties": {}}),
        json!({"type": "object", "properties": {}, "additionalProperties": true}),
        json!({"type": "object", "properties": {}, "patternProperties": {}}),
        json!({"type": "object", "properties": {}, "required": ["a"]}),
        json!({"type": "array"}),
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
        json!({"type": "string", "minLength": 1}),
        json!({"type": "string", "format": "uri"}),
        json!({"type": "string", "pattern": "^(?!a)"}),
        json!({"type": "integer", "exclusiveMinimum": true}),
        json!({"type": ["string", "integer"]}),
        json!({"type": "file"}),
        json!({"enum": []}),
        json!({"enum": ["a", 1]}),
        json!({"type": "string", "enum": ["a", null]}),
        json!({"type": ["string", "integer"], "enum": ["a", null]}),
        json!({"enum": ["a", null]}),
        json!({"enum": [null]}),
        json!({"const": {"a": 1}}),
        json!({"allOf": [{"type": "string"}]}),
        json!({"not": {"type": "string"}, "type": "string"}),
        json!({"anyOf": [text], "type": "string"}),
        // Whether it was left out or is null could not be told apart.
        json!({"type": ["string", "null"]}),
        json!({"anyOf": [text, {"type": "null"}]}),
        // Nor in which of them something was left out.
        json!({"anyOf": [optional, text]}),
        json!({"anyOf": [required, required]}),
        json!({"oneOf": [text, {"type": "integer"}]}),
        json!({"oneOf": [{"const": "a"}, {"enum": ["b", "a"]}]}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$ref": "https://elsewhere"}),
        json!({"$ref": "#/properties/p"}),
    ] {
        assert_eq!(made(property.clone()), None, "{property}");
    }
    for whole in [json!({"enum": ["yes", "no"]}), json!({}), json!(true), json!({"type": ["object", "null"]})]
    {
        assert_eq!(strict(&whole), None, "{whole}");
    }
    assert!(
        made(required).is_some() && made(optional).is_some(),
        "an object that may be left out is told apart"
    );
}

/// As many servers of tools write what may be left out: there the schema itself says that it is the same as null.
#[test]
fn an_argument_that_is_null_when_it_is_left_out_is_required_as_it_is() {
    let text = json!({"type": "string"});
    let maybe = json!({"anyOf": [text, {"type": "null"}]});
    let by_default = json!({"anyOf": [text, {"type": "null"}], "default": null, "title": "P"});
    assert_eq!(made(by_default.clone()), Some(maybe.clone()));
    let typed = json!({"type": ["string", "null"], "default": null});
    assert_eq!(made(typed), Some(json!({"type": ["string", "null"]})));
    let inner = json!({"type": "object", "properties": {"a": by_default}});
    let closed = json!({"type": "object", "properties": {"a": maybe}, "required": ["a"], "additionalProperties": false});
    assert_eq!(
        made(json!({"anyOf": [inner, text]})),
        Some(json!({"anyOf": [closed, text, {"type": "null"}]}))
    );
    // Left out it would be something else, or nobody says what.
    for other in [json!({"type": ["string", "null"], "default": "x"}), json!({"type": ["string", "null"]})] {
        assert_eq!(made(other.clone()), None, "{other}");
    }
    // And the tool sees the null that it takes.
    let call = ToolCall {
        id: CallId::UNNUMBERED,
        wire_id: None,
        name: "t".into(),
        arguments: r#"{"p":null}"#.into(),
        complete: true,
        extra: Map::new(),
    };
    let seen = tool(of(by_default)).arguments(&call).unwrap();
    assert_eq!(Value::from(seen), json!({"p": null}));
}

#[test]
fn what_may_be_null_in_a_structure_is_required_as_it_is() {
    let maybe = json!({"anyOf": [{"$ref": "#/$defs/place"}, {"type": "null"}]});
    let place = json!({"type": "object", "properties": {"street": {"type": ["string", "null"]}}});
    let schema = json!({"type": "object", "required": ["must"], "properties": {
        "kind": {"type": ["string", "null"], "enum": ["a", "b", null]},
        "may": {"type": "integer"},
        "must": {"type": "string"},
        "near": {"$ref": "#/$defs/near"},
        "place": maybe,
    }, "$defs": {"place": place, "near": maybe}});
    let output = OutputSchema::new("o", schema.clone());
    let expected = json!({"type": "object", "required": ["kind", "may", "must", "near", "place"],
    "additionalProperties": false, "properties": {
        "kind": {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "null"}]},
        "may": {"type": ["integer", "null"]},
        "must": {"type": "string"},
        "near": {"$ref": "#/$defs/near"},
        "place": maybe,
    }, "$defs": {
        "place": {"type": "object", "properties": {"street": {"type": ["string", "null"]}},
            "required": ["street"], "additionalProperties": false},
        "near": maybe,
    }});
    assert_eq!(told(structure(&output, "m")), (expected, true));
    let loose = OutputSchema { strict: false, ..output };
    assert_eq!(told(structure(&loose, "m")), (schema.clone(), false));
    // A tool would be told something else by the one than by the other.
    assert_eq!(told(parameters(&tool(schema.clone()), true, "m")), (schema, false));
}

#[test]
fn a_model_that_was_tuned_is_asked_for_no_limits_in_the_mode() {
    let limited = |schema: Value| {
        let schema = of(schema);
        let output = OutputSchema::new("o", schema.clone());
        ["gpt-5.4", "ft:gpt-4o:acme::1", "openai/ft:gpt-4o:acme::1"].map(|model| {
            let fits = parameters(&tool(schema.clone()), true, model).1;
            assert_eq!(structure(&output, model).1, fits, "{schema} {model}");
            fits
        })
    };
    for limit in [
        json!({"type": "string", "pattern": "^a"}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "integer", "minimum": 0}),
        json!({"type": "number", "maximum": 1}),
        json!({"type": "integer", "multipleOf": 2}),
        json!({"type": "array", "items": {"type": "string"}, "minItems": 1}),
        json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
    ] {
        assert_eq!(limited(limit), [true, false, false]);
    }
    for plain in [json!({"type": "integer", "format": "int64"}), json!({"enum": ["a"]})] {
        assert_eq!(limited(plain), [true; 3]);
    }
}

/// What `#[tool]` makes of a list of structures with an `Option` in each, and of one that is an `Option` itself; and the same
/// as others write it, with references.
#[test]
fn what_may_be_left_out_deep_within_is_strict_in_both_modes() {
    let line = json!({"type": "object", "required": ["at"], "properties": {
        "at": {"type": "integer"}, "text": {"type": "string"},
    }});
    let (list, text) = (json!({"type": "array", "items": line}), json!({"type": "string"}));
    let inline = json!({"type": "object", "required": ["lines"], "properties": {"lines": list, "last": line, "text": text}});
    let by_name = json!({"$ref": "#/$defs/line"});
    let named = json!({"type": "object", "required": ["lines"], "properties": {
        "lines": {"type": "array", "items": by_name}, "last": by_name, "text": {"$ref": "#/$defs/text"},
    }, "$defs": {"line": line, "text": text}});

    // OpenAI's: every object closed, every property required, and what may be left out may be null.
    let strict_line = |kind: Value| {
        json!({
            "type": kind, "required": ["at", "text"], "additionalProperties": false,
            "properties": {"at": {"type": "integer"}, "text": {"type": ["string", "null"]}},
        })
    };
    let expected = json!({"type": "object", "required": ["last", "lines", "text"], "additionalProperties": false,
    "properties": {
        "lines": {"type": "array", "items": strict_line("object".into())},
        "last": strict_line(json!(["object", "null"])),
        "text": {"type": ["string", "null"]},
    }});
    assert_eq!(strict(&inline), Some(expected));
    let maybe = |name: &str| json!({"anyOf": [{"$ref": format!("#/$defs/{name}")}, {"type": "null"}]});
    let expected = json!({"type": "object", "required": ["last", "lines", "text"], "additionalProperties": false,
    "properties": {
        "lines": {"type": "array", "items": by_name}, "last": maybe("line"), "text": maybe("text"),
    }, "$defs": {"line": strict_line("object".into()), "text": text}});
    assert_eq!(strict(&named), Some(expected));

    // Anthropic's: every object closed, nothing else changed, no reference that leads in a circle.
    let line = json!({"type": "object", "required": ["at"], "additionalProperties": false, "properties": {
        "at": {"type": "integer"}, "text": {"type": "string"},
    }});
    let expected = json!({"type": "object", "required": ["lines"], "additionalProperties": false, "properties": {
        "lines": {"type": "array", "items": line}, "last": line, "text": text,
    }});
    for schema in [&inline, &named] {
        let recast = anthropic(&Arc::new(schema.clone()));
        assert_eq!((&*recast.schema, recast.fits, recast.optional), (&expected, true, 4), "{schema}");
    }
    let circle = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    assert!(strict(&circle).is_some() && !anthropic(&Arc::new(circle)).fits);
}

#[test]
fn a_schema_is_made_strict_once_for_all_requests() {
    let tool = tool(of(json!({"type": "string"})));
    let made = || parameters(&tool, true, "m").0;
    assert!(Arc::ptr_eq(&made(), &made()));
    assert!(!Arc::ptr_eq(&made(), &parameters(&tool, true, "ft:m").0), "that is another mode");
    let mut room = Room::ALL;
    let (one, two) = (room.where_it_fits(&tool.parameters).0, room.where_it_fits(&tool.parameters).0);
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(room, Room { tools: 18, optional: 22, unions: 16 });
}

#[test]
fn a_schema_that_is_too_deep_or_too_large_does_not_fit() {
    let nested = |levels: usize| (1..levels).fold(of(json!({"type": "string"})), |inner, _| of(inner));
    assert!(strict(&nested(10)).is_some() && strict(&nested(11)).is_none());
    let wide = |names: usize| {
        let properties: Map<_, _> = (0..names).map(|n| (n.to_string(), json!({"type": "string"}))).collect();
        json!({"type": "object", "properties": properties})
    };
    assert!(strict(&wide(1_000)).is_some() && strict(&wide(1_001)).is_none());
    let long = |bytes: usize| of(json!({"enum": ["x".repeat(bytes)]}));
    assert!(strict(&long(14_000)).is_some() && strict(&long(15_000)).is_none());
    let itself = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    assert_eq!(
        strict(&itself).unwrap()["properties"]["next"],
        json!({"anyOf": [{"$ref": "#"}, {"type": "null"}]})
    );
}

/// A schema, and something that matches it.
fn schema_and_value() -> impl Strategy<Value = (Value, Value)> {
    let leaf = prop_oneof![
        Just((json!({"type": "string"}), json!("text"))),
        Just((json!({"type": "integer", "format": "int64", "default": 7}), json!(7))),
        Just((json!({"enum": ["a", "b"]}), json!("b"))),
        Just((json!({"type": ["boolean", "null"]}), json!(null))),
        Just((json!({"anyOf": [{"type": "string"}, {"type": "integer"}]}), json!(1))),
        Just((json!({"type": "object"}), json!({"any": null}))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner
                .clone()
                .prop_map(|(schema, value)| (json!({"type": "array", "items": schema}), json!([value]))),
            inner.clone().prop_map(|(schema, value)| (json!({"anyOf": [schema, {"type": "null"}]}), value)),
            object(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = (Value, Value)>) -> impl Strategy<Value = (Value, Value)> {
    prop::collection::vec((inner, any::<bool>(), any::<bool>()), 0..4).prop_map(|properties| {
        let (mut schemas, mut required, mut values) = (Map::new(), Vec::new(), Map::new());
        for (n, ((schema, value), is_required, is_there)) in properties.into_iter().enumerate() {
            let name = format!("p{n}");
            if is_required {
                required.push(name.clone());
            }
            if is_required || is_there {
                values.insert(name.clone(), value);
            }
            schemas.insert(name, schema);
        }
        (json!({"type": "object", "properties": schemas, "required": required}), values.into())
    })
}

/// Says it as the mode makes a model say it: everything that is left out is null. Every object of the schema must be closed.
fn said(schema: &Value, value: &Value) -> Value {
    let mut schema = schema;
    while let Some(choices) = schema.get("anyOf").filter(|_| value.is_object() || value.is_array()) {
        schema = &choices[0];
    }
    match value {
        Value::Object(fields) => {
            assert_eq!(schema["additionalProperties"], false, "{schema}");
            let properties = schema["properties"].as_object().unwrap();
            let names: Vec<&str> =
                schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(names, properties.keys().collect::<Vec<_>>());
            let field =
                |name: &String| fields.get(name).map_or(Value::Null, |value| said(&properties[name], value));
            properties.keys().map(|name| (name.clone(), field(name))).collect()
        }
        Value::Array(items) => items.iter().map(|item| said(&schema["items"], item)).collect(),
        other => other.clone(),
    }
}

proptest! {
    // Four of ten schemas do not fit.
    #![proptest_config(ProptestConfig { max_global_rejects: u32::MAX, ..ProptestConfig::default() })]

    /// What a model says in the mode comes to the tool as it would have come without it.
    #[test]
    fn what_was_left_out_by_null_is_left_out_before_a_tool_sees_it(
        (schema, value) in object(schema_and_value()),
    ) {
        let strict = strict(&schema);
        prop_assume!(strict.is_some());
        let arguments = said(&strict.unwrap(), &value).to_string().into();
        let call = ToolCall {
            id: CallId::UNNUMBERED, wire_id: None, name: "t".into(), arguments, complete: true, extra: Map::new(),
        };
        prop_assert_eq!(Value::from(tool(schema).arguments(&call).unwrap()), value);
    }
}
