//! Who decides whether a tool may run: lists, then the mode, then a function of the program, then a human.
//!
//! The function sees the call with its arguments and says yes, no, or "ask somebody". A call that waits for somebody is a fact
//! in the journal: it may wait for days and over restarts, and costs nothing meanwhile.

use std::error::Error;
use std::time::Duration;

use ergane::prelude::*;

/// Pays money back to a customer.
#[tool(effect = "write")]
async fn refund(customer: String, dollars: u64) -> String {
    format!("{dollars} dollars went back to {customer}")
}

/// A little is fine, a lot is not, and in between somebody looks at it.
async fn policy(request: PermissionRequest) -> Permission {
    match request.arguments.get("dollars").and_then(|dollars| dollars.as_u64()) {
        Some(..=20) => Permission::Allow,
        Some(21..=500) => Permission::Ask,
        _ => Permission::deny("nobody may pay back more than 500 dollars here"),
    }
}

/// Pays back what it is told to, and then says what came of it.
fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    let Some(last) = request.messages.last() else { return ScriptedReply::text("?") };
    match last.results().next() {
        Some(result) => ScriptedReply::text(result.text()),
        None => {
            let dollars: u64 = last.text().parse().unwrap_or_default();
            ScriptedReply::call("refund", json!({ "customer": "ann", "dollars": dollars }))
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let system = System::builder()
        .provider("scripted", Scripted::from_fn(model))
        .tool(refund)
        .can_use_tool(policy)
        .start()
        .await?;
    let desk = system.session("desk").start().await?;

    for (dollars, expected) in [
        ("10", "10 dollars went back to ann"),
        ("9000", "permission denied: nobody may pay back more than 500 dollars here"),
    ] {
        let answer = desk.send_message(dollars).await?;
        println!("{dollars}: {}", answer.text);
        assert_eq!(&*answer.text, expected);
    }

    // In between somebody is asked. Here the one who reads the stream decides; `approvals()` lists what waits for others.
    let mut turn = desk.send_message("200").stream().await?;
    while let Some(event) = turn.next().await {
        if let SessionEvent::ApprovalRequested { call, seq, arguments, why, .. } = event {
            let waits = desk.approvals().await?;
            println!("200: waits, for {why}: {}", waits.first().ok_or("it waits")?.arguments);
            assert!(matches!(desk.status().await?.activity, Activity::AwaitingApproval { .. }));
            // Names what was looked at: with other arguments it would be refused.
            desk.approve(call, Decision::Allow).by("the boss").question(seq).arguments(arguments).await?;
        }
    }
    let answer = turn.result().await?;
    println!("200: {}", answer.text);
    assert_eq!(&*answer.text, "200 dollars went back to ann");

    // A mode for looking around: only what reads may run, and nobody is asked.
    let plan = system.session("plan").permissions(PermissionMode::Plan).start().await?;
    let answer = plan.send_message("10").await?;
    println!("in mode `plan`: {}", answer.text);
    assert!(answer.text.contains("only tools that read may run"), "{}", answer.text);

    // A list beats all the rest.
    let strict =
        system.session("strict").permissions(PermissionMode::Bypass).deny(["refund"]).start().await?;
    let answer = strict.send_message("10").await?;
    println!("on the deny list: {}", answer.text);
    assert!(answer.text.contains("deny list"), "{}", answer.text);
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
