use std::time::{Duration, SystemTime};

use ErrorKind::*;
use secrecy::SecretString;
use serde_json::json;

use super::super::MAX_ERROR_BODY;
use super::*;

fn call() -> CallInfo {
    CallInfo {
        provider: "openai".into(),
        model: "m".into(),
        endpoint: "http://host/v1".into(),
        key_hint: "set OPENAI_API_KEY".into(),
        redactor: Redactor::new([SecretString::from("sk-planted-key".to_owned())]),
    }
}

fn head(status: u16, headers: &[(&str, &str)]) -> Head {
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Head { status, headers, at: SystemTime::UNIX_EPOCH }
}

fn kind(status: u16, body: &str) -> ErrorKind {
    http_error(&call(), &head(status, &[]), body.as_bytes()).kind
}

fn in_body(body: &[u8]) -> WireError {
    WireError::in_body(body, &Redactor::default())
}

#[test]
fn the_text_of_an_error_is_found_wherever_servers_put_it() {
    let cases = [
        (json!({"error": {"message": "a", "code": "c", "type": "t"}, "message": "b"}), "a"),
        (json!({"error": "a"}), "a"),
        (json!({"message": "a", "detail": "b"}), "a"),
        (json!({"detail": "a"}), "a"),
        (json!({"detail": [{"loc": ["body"], "msg": "a", "type": "missing"}]}), "a"),
        (json!([{"error": {"message": "a", "code": 503}}]), "a"),
        (json!({"error": null, "message": "a"}), "a"),
        (json!({"error": "", "message": "a"}), "a"),
        (json!({"object": "error", "message": "a", "code": "1500"}), "a"),
    ];
    for (value, expected) in cases {
        assert_eq!(WireError::in_json(&value).unwrap().message, expected, "{value}");
    }
    for none in [json!({"error": null}), json!({"error": ""}), json!({"choices": []}), json!(3)] {
        assert_eq!(WireError::in_json(&none), None, "{none}");
    }
    assert_eq!(in_body(b"plain text").message, "plain text");
    assert_eq!(in_body("Überlastet".as_bytes()).message, "Überlastet");
    assert_eq!(in_body(b"").message, "the answer had no body");
    assert!(in_body(b" <html>").message.contains("web page"));
    let long = "é".repeat(1000);
    assert!(in_body(long.as_bytes()).message.len() <= QUOTED_BODY + 3);
}

#[test]
fn statuses_codes_and_texts_decide_the_kind_together() {
    let error = |code: &str, message: &str| json!({"error": {"message": message, "code": code}}).to_string();
    let cases = [
        (401, error("invalid_api_key", "Incorrect API key provided"), Auth),
        (400, error("400", "API key not valid. Please pass a valid API key."), Auth),
        (400, json!({"code": "x", "error": "Incorrect API key provided: x"}).to_string(), Auth),
        (400, json!({"error": {"message": "No connected db.", "type": "no_db_connection", "param": null, "code": "400"}}).to_string(), Auth),
        (503, json!({"error": {"message": "Service Unavailable", "type": "no_db_connection", "param": "None", "code": "503"}}).to_string(), Overloaded),
        (403, error("", "no access"), Permission),
        (403, error("", "the input was flagged by moderation"), ContentBlocked),
        (402, error("402", "Insufficient credits"), Quota),
        (429, error("insufficient_quota", "You exceeded your current quota, please check your plan"), Quota),
        (429, error("credit_balance_exhausted", "no money"), Quota),
        (429, error("rate_limit_exceeded", "Rate limit reached"), RateLimited),
        (429, error("slow_down", "m"), RateLimited),
        (429, "".to_owned(), RateLimited),
        (503, error("server_is_overloaded", "m"), Overloaded),
        (503, json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}).to_string(), Overloaded),
        (503, json!({"error": "server busy, please try again.  maximum pending requests exceeded"}).to_string(), Overloaded),
        (529, "".to_owned(), Overloaded),
        (498, error("capacity_exceeded", "m"), Overloaded),
        (500, error("server_error", "oops"), Server),
        (502, "<html>".to_owned(), Server),
        (504, "".to_owned(), Server),
        (522, "".to_owned(), Server),
        (501, "".to_owned(), Unsupported),
        (500, json!({"error": {"code": 500, "message": "tools param requires --jinja flag", "type": "server_error"}}).to_string(), Unsupported),
        (500, error("500", "image input is not supported - hint: you may need the mmproj"), Unsupported),
        (408, "".to_owned(), Timeout),
        (499, "".to_owned(), Timeout),
        (413, "".to_owned(), TooLarge),
        (413, error("request_too_large", "Request exceeds the maximum size"), TooLarge),
        (413, error("", "Please reduce the length of the messages or completion."), ContextOverflow),
        (404, error("model_not_found", "The model `x` does not exist or you do not have access to it."), ModelNotFound),
        (404, json!({"error": "model \"x\" not found, try pulling it first"}).to_string(), ModelNotFound),
        (400, error("None", "/responses: Invalid model name passed in model=x. Call `/v1/models`"), ModelNotFound),
        (404, json!({"error": "model 'x' not found"}).to_string(), ModelNotFound),
        (404, "404 page not found".to_owned(), InvalidRequest),
        (400, error("model_not_found", "m"), ModelNotFound),
        (400, json!({"error": "registry.example/llama does not support tools"}).to_string(), Unsupported),
        (400, error("unsupported_parameter", "Unsupported parameter: 'max_tokens'"), Unsupported),
        (400, error("", "Unknown parameter: 'x'"), Unsupported),
        (400, error("tool_use_failed", "Failed to call a function"), ToolFormat),
        (400, error("content_filter", "m"), ContentBlocked),
        (400, error("", "The following tool_call_ids did not have response messages: call_1"), ReplayRejected),
        (400, error("", "The reasoning_content in the thinking mode must be passed back to the API."), ReplayRejected),
        (400, error("", "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."), ReplayRejected),
        (400, error("", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."), ReplayRejected),
        (400, error("invalid_request_error", "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'"), ReplayRejected),
        (400, error("invalid_parameter_error", "<400> InternalError.Algo.InvalidParameter: messages with role \"tool\" must be a response to a preceeding message with \"tool_calls\"."), ReplayRejected),
        (400, json!({"object": "error", "message": "Not the same number of function calls and responses", "type": "invalid_request_error", "code": "3230"}).to_string(), ReplayRejected),
        (400, json!({"object": "error", "message": "Unexpected role 'user' after role 'tool'", "type": "invalid_request_error", "code": "3230"}).to_string(), ReplayRejected),
        (400, json!({"type": "error", "error": {"type": "invalid_request_error", "message": "tool_use ids were found without tool_result blocks immediately after: toolu_1"}}).to_string(), ReplayRejected),
        (400, json!({"type": "error", "error": {"type": "invalid_request_error", "message": "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`."}}).to_string(), ReplayRejected),
        (400, json!({"type": "error", "error": {"type": "invalid_request_error", "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}}).to_string(), ReplayRejected),
        (400, json!({"error": {"code": 400, "message": "Corrupted thought signature.", "status": "INVALID_ARGUMENT"}}).to_string(), ReplayRejected),
        (400, json!({"error": {"code": 400, "message": "Unable to submit request because function call `get` in the 2. content block is missing a `thought_signature`.", "status": "INVALID_ARGUMENT"}}).to_string(), ReplayRejected),
        (400, json!({"error": {"code": 400, "message": "Function call is missing a thought_signature in functionCall parts.", "status": "INVALID_ARGUMENT"}}).to_string(), ReplayRejected),
        (422, json!({"detail": [{"loc": [], "msg": "field required", "type": "missing"}]}).to_string(), InvalidRequest),
        (400, error("invalid_request_error", "something else"), InvalidRequest),
    ];
    for (status, body, expected) in cases {
        assert_eq!(kind(status, &body), expected, "{status} {body}");
    }
}

/// As Groq and OpenAI word them: they say where to buy more.
const LIMITS: [&str; 3] = [
    "Rate limit reached for model `m` in organization `org_1` service tier `on_demand` on tokens per minute (TPM): Limit 6000, Used 5000, Requested 1800. Please try again in 4.77s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
    "Rate limit reached for m in organization org-1 on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s. You can increase your rate limit by adding a payment method to your account at https://platform.openai.com/account/billing.",
    "You have used your credits for this minute; buy more under billing",
];

#[test]
fn a_rate_limit_that_says_where_to_buy_more_is_a_rate_limit_by_its_code() {
    for message in LIMITS {
        let body = json!({"error": {"message": message, "type": "tokens", "code": "rate_limit_exceeded"}});
        let hint = [("retry-after", "5")];
        let error = http_error(&call(), &head(429, &hint), body.to_string().as_bytes());
        assert_eq!((error.kind, error.retryable), (RateLimited, true), "{message}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(5)));
        let wire = WireError::in_json(&body).unwrap();
        assert_eq!(classify(None, &wire), RateLimited, "in a stream: {message}");
        for code in ["insufficient_quota", "billing_hard_limit_reached", "credit_balance_exhausted"] {
            let body = json!({"error": {"message": message, "code": code}});
            assert_eq!(kind(429, &body.to_string()), Quota, "{code}: {message}");
            assert_eq!(classify(None, &WireError::in_json(&body).unwrap()), Quota, "{code}: {message}");
        }
    }
    for message in &LIMITS[..2] {
        assert_eq!(kind(429, &json!({"error": message}).to_string()), RateLimited, "by its words: {message}");
    }
    let typed =
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "see your billing page"}});
    assert_eq!(kind(429, &typed.to_string()), RateLimited);
    for spent in [
        "You exceeded your current quota, please check your plan and billing details.",
        "You are out of credits",
        "Your team 7f-2 has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit.",
        "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day",
    ] {
        assert_eq!(kind(429, &json!({"error": spent}).to_string()), Quota, "{spent}");
    }
    let soon = "Rate limit exceeded: free-models-per-min. ";
    assert_eq!(kind(429, &json!({"error": {"message": soon, "code": 429}}).to_string()), RateLimited);
    let spent = "Your credit balance is too low to access the API. Please go to Plans & Billing.";
    let spent = json!({"type": "error", "error": {"type": "invalid_request_error", "message": spent}});
    assert_eq!(kind(400, &spent.to_string()), Quota);
    let daily = |id: &str| {
        let message = "You exceeded your current quota, please check your plan and billing details.";
        let details = json!([{"violations": [{"quotaId": id}]}]);
        kind(429, &json!({"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}).to_string())
    };
    assert_eq!(daily("GenerateRequestsPerMinutePerProject"), RateLimited);
    assert_eq!(daily("GenerateRequestsPerDayPerProject"), Quota);
}

#[test]
fn the_names_that_a_user_chose_decide_nothing() {
    let names = [
        "authentication_check",
        "authentication",
        "rate_limit_status",
        "slow_down",
        "overloaded",
        "server_error",
        "model_not_found",
        "get_model",
        "tool_use_failed",
        "content_filter",
        "moderation",
        "insufficient_quota",
        "billing",
        "credit",
        "unsupported",
        "resource_exhausted",
        "api_key_invalid",
    ];
    for name in names {
        for message in [
            format!("Invalid schema for function '{name}': schema must be of type object"),
            format!("The tool `{name}` has no properties, which was not found valid"),
            format!("tools.{name}_2: Field required"),
            format!("tools.0.custom.input_schema.properties.{name}: JSON schema is invalid"),
            format!("tools[0].{name}: Field required"),
            format!("Field required in properties[{name}]"),
        ] {
            let typed = json!({"error": {"message": message, "type": "invalid_request_error", "code": "invalid_function_parameters"}});
            let routed = json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": typed.to_string()}}});
            for body in [typed, json!({"error": message}), routed] {
                assert_eq!(kind(400, &body.to_string()), InvalidRequest, "{body}");
            }
        }
    }
    let routed = |code: &str| {
        let raw = json!({"error": {"message": "m", "code": code}}).to_string();
        json!({"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}})
            .to_string()
    };
    assert_eq!(kind(400, &routed("invalid_encrypted_content")), ReplayRejected, "what it hands on is heard");
    assert_eq!(kind(400, &routed("tool_use_failed")), ToolFormat);
    let google = json!({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}});
    assert_eq!(kind(400, &google.to_string()), Auth);
}

#[test]
fn edge_45_a_prompt_that_does_not_fit_is_told_from_a_rate_limit_that_speaks_of_tokens() {
    // Of every pattern one that nothing else matches.
    let overflows = [
        "This model's maximum context length is 8,192 tokens. However, your messages resulted in 9000 tokens.",
        "Your input exceeds the context window of this model.",
        "prompt is too long: 213462 tokens > 200000 maximum",
        "Prompt too long; the longest is 4096",
        "request_too_large",
        "Input is too long for requested model.",
        "The prompt exceeds the model's maximum context length.",
        "It exceeds maximum context length",
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        "The input exceeds the maximum allowed input length",
        "It is longer than the model's context length",
        "prompt token count of 9000 exceeds the limit of 8192",
        "The prompt is greater than the context length",
        "context size has been exceeded",
        "invalid params, context window exceeds limit",
        "Your request exceeded model token limit: 8192",
        "context length exceeded",
        "too many tokens",
        "Token limit exceeded",
        "input length and `max_tokens` exceed context limit: 143653 + 64000 > 200000, decrease them",
        "the input length exceeds the context length",
        "Please reduce: current length is 9000 while limit is 8192",
        "request (2009 tokens) exceeds the available context size (512 tokens), try increasing it",
        "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with",
        "Please reduce the length of the messages or completion.",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193",
        "the prompt is longer than the context length currently available to the model; …",
        "Prompt contains 9000 tokens, too large for model with 8192 maximum context length",
    ];
    for text in overflows {
        let body = json!({"error": {"message": text}}).to_string();
        assert_eq!(kind(400, &body), ContextOverflow, "{text}");
        assert_eq!(classify(None, &in_body(body.as_bytes())), ContextOverflow, "in a stream: {text}");
    }
    assert_eq!(
        kind(400, &json!({"error": {"code": "context_length_exceeded", "message": "m"}}).to_string()),
        ContextOverflow
    );
    assert_eq!(
        kind(400, &json!({"error": {"type": "exceed_context_size_error", "message": "m"}}).to_string()),
        ContextOverflow
    );
    for veto in
        ["rate limit", "too many requests", "throttled", "of your quota", "per minute", "service unavailable"]
    {
        let body = json!({"error": format!("too many tokens: {veto}")}).to_string();
        assert_ne!(kind(400, &body), ContextOverflow, "{veto}");
    }
    for status in [429, 503, 529] {
        assert_ne!(
            kind(status, &json!({"error": "too many tokens"}).to_string()),
            ContextOverflow,
            "{status}"
        );
    }
    assert_eq!(kind(429, &json!({"error": "too many tokens per minute"}).to_string()), RateLimited);
    let in_stream = json!({"error": {"code": 429, "message": "too many tokens per minute"}});
    assert_eq!(classify(None, &WireError::in_json(&in_stream).unwrap()), RateLimited);
    assert_ne!(kind(400, &json!({"error": "rate limit: too many tokens"}).to_string()), ContextOverflow);
    assert_eq!(
        kind(503, &json!({"error": "service unavailable: token limit exceeded"}).to_string()),
        Overloaded
    );
}

#[test]
fn an_error_inside_a_success_is_judged_by_its_own_code_type_and_words() {
    let cases = [
        (json!({"error": {"message": "m", "code": "insufficient_quota"}}), Quota),
        (json!({"error": {"message": "m", "code": 502}}), Server),
        (json!({"error": {"message": "m", "code": 401}}), Auth),
        (json!({"error": {"message": "m", "type": "overloaded_error"}}), Overloaded),
        (json!({"error": {"message": "m", "type": "invalid_request_error"}}), InvalidRequest),
        (json!({"error": "unexpected EOF"}), Server),
        (json!({"error": {"message": "m", "code": 400, "type": "BadRequestError"}}), InvalidRequest),
    ];
    for (value, expected) in cases {
        assert_eq!(classify(None, &WireError::in_json(&value).unwrap()), expected, "{value}");
    }
}

#[test]
fn the_servers_word_on_retrying_is_obeyed_and_its_hint_kept() {
    let error = |status, headers: &[(&str, &str)]| http_error(&call(), &head(status, headers), b"{}");
    assert!(error(429, &[]).retryable && error(503, &[]).retryable && !error(400, &[]).retryable);
    assert!(!error(429, &[("x-should-retry", "false")]).retryable);
    assert!(error(409, &[("x-should-retry", "true")]).retryable);
    assert_eq!(error(429, &[("retry-after", "7")]).retry_after, Some(Duration::from_secs(7)));
    assert!(!error(402, &[]).retryable && error(402, &[("retry-after", "7")]).retryable);
    assert_eq!(error(500, &[("x-request-id", "req_1")]).request_id.as_deref(), Some("req_1"));
}

#[test]
fn what_the_headers_ask_for_goes_before_what_the_body_does_and_that_before_when_a_limit_is_reset() {
    let details = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]);
    let body =
        json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": details}});
    let reset = [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")];
    let hint = |more: &[(&str, &str)], body: &str| {
        let headers = [&reset, more].concat();
        http_error(&call(), &head(429, &headers), body.as_bytes()).retry_after.map(|hint| hint.as_secs())
    };
    assert_eq!(hint(&[("retry-after", "5")], &body.to_string()), Some(5));
    assert_eq!(hint(&[], &body.to_string()), Some(37));
    assert_eq!(hint(&[], "{}"), Some(360));
}

#[test]
fn the_type_of_an_error_may_stand_in_a_header() {
    let error =
        |headers: &[(&str, &str)], body: &str| http_error(&call(), &head(400, headers), body.as_bytes());
    let typed = [("x-amzn-errortype", "ThrottlingException:http://internal.amazon.com/")];
    let throttled = error(&typed, r#"{"message":"Too many requests, please wait before trying again."}"#);
    assert_eq!((throttled.kind, throttled.code.as_deref()), (RateLimited, Some("ThrottlingException")));
    assert!(throttled.message.contains("please wait"), "{throttled}");
    let told = error(&typed, r#"{"error":{"message":"m","type":"invalid_request_error"}}"#);
    assert_eq!(told.code.as_deref(), Some("invalid_request_error"), "what the body says goes before");
}

#[test]
fn edge_46_a_key_echoed_by_the_server_is_in_no_part_of_the_error() {
    let body = json!({"error": {"message": "bad key sk-planted-key", "code": "sk-planted-key"}}).to_string();
    for body in [body.as_str(), "Authorization: Bearer sk-planted-key"] {
        let error = http_error(&call(), &head(401, &[("x-request-id", "sk-planted-key")]), body.as_bytes());
        assert!(!format!("{error} {error:?}").contains("sk-planted"), "{error:?}");
        assert!(error.message.contains("[redacted]"), "{error}");
    }
}

#[test]
fn edge_46_no_part_of_a_key_is_left_where_a_body_is_cut() {
    let key = "sk-planted-key";
    let told = |status: u16, body: &str| {
        let error = http_error(&call(), &head(status, &[]), body.as_bytes());
        let told = format!("{error} {error:?}");
        assert!(!told.contains("sk-pl"), "{status}: {told}");
    };
    for before in QUOTED_BODY - 30..QUOTED_BODY + 5 {
        let body = format!("{}{key} and more: {}", "x".repeat(before), "y".repeat(600));
        told(502, &body);
        told(502, &body[..before + key.len() - 3]);
    }
    let cut_json = json!({"error": {"message": format!("{}{key}", "x".repeat(QUOTED_BODY - 40)), "y": "y".repeat(MAX_ERROR_BODY)}});
    told(400, &cut_json.to_string()[..MAX_ERROR_BODY]);
    let long_code =
        json!({"error": {"message": "m", "code": format!("{}{key}", "x".repeat(QUOTED_CODE - 5))}});
    let error = http_error(&call(), &head(400, &[]), long_code.to_string().as_bytes());
    assert!(
        error.code.as_ref().unwrap().len() < QUOTED_CODE + 10 && !format!("{error:?}").contains("sk-p"),
        "{error:?}"
    );
}

#[test]
fn what_is_said_of_an_answer_that_makes_no_sense_is_short_and_has_no_key() {
    for make in [protocol, stream_cut] {
        let error = make(&call(), &format!("it has \"Bearer sk-planted-key\" {}", "x".repeat(1 << 20)));
        assert!(error.message.contains("[redacted]") && !format!("{error:?}").contains("sk-pl"), "{error}");
        assert!(error.message.len() < QUOTED_MESSAGE + 200, "{}", error.message.len());
    }
}

#[test]
fn a_message_says_who_where_what_and_what_to_do() {
    let error = http_error(&call(), &head(401, &[]), br#"{"error":{"message":"nope"}}"#);
    assert_eq!(
        error.to_string(),
        "openai at http://host/v1 does not accept the key (401): nope; set OPENAI_API_KEY"
    );
    let error = http_error(&call(), &head(404, &[]), b"404 page not found");
    assert!(error.message.contains("check the base URL"), "{error}");
}
