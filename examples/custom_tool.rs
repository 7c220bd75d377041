//! A tool is an async function. Its doc comment is what the model is told of it, its parameters are what the model fills in;
//! and what the model must not choose, for whom it works and on what, comes from the program, by type.
//!
//! The program says with each send who asks. That is data, so it is journaled with the send, and a process that takes over
//! the turn knows it too. A function of the program makes live things of it for each call.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ergane::prelude::*;

/// Who asks.
struct Customer(String);

/// What all calls share: here a map, elsewhere a pool of connections.
type Shop = HashMap<String, Vec<&'static str>>;

/// Lists what the customer who asks has ordered, the newest first.
#[tool(effect = "read", timeout = "5s")]
async fn orders(
    customer: Extension<Customer>,
    shop: Extension<Shop>,
    ctx: &ToolContext,
    /// How many orders to list; all when left out.
    limit: Option<usize>,
) -> Result<String, ToolError> {
    ctx.progress(format!("looking for {}", customer.0));
    let Some(bought) = shop.get(&customer.0) else {
        return Err(ToolError::failed(format!("there is no customer {}", customer.0)));
    };
    let listed = bought.iter().take(limit.unwrap_or(usize::MAX));
    Ok(listed.copied().collect::<Vec<_>>().join(", "))
}

/// Asks for the tool, and then says what it gave.
fn model(request: &ModelRequest, _attempt: u32) -> ScriptedReply {
    match request.messages.last().and_then(|message| message.results().next().cloned()) {
        Some(result) => ScriptedReply::text(format!("Your orders: {}.", result.text())),
        None => ScriptedReply::call("orders", json!({ "limit": 2 })),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = orders.parameters();
    println!("the model is told: {}", orders.description());
    let limit = schema.pointer("/properties/limit/description").ok_or("it is described")?;
    println!("and may fill in `limit`: {limit}");
    assert!(!schema.to_string().contains("customer"), "it is not the model's to choose");

    let shop: Arc<Shop> = Arc::new(HashMap::from([
        ("ann".to_owned(), vec!["a lamp", "a chair", "a desk"]),
        ("bob".to_owned(), vec!["a kettle"]),
    ]));
    let system = System::builder()
        .provider("scripted", Scripted::from_fn(model))
        .tool(orders)
        .context(move |_session, meta| {
            let customer = meta["customer"].as_str().unwrap_or("nobody").to_owned();
            Extensions::new().with(Customer(customer)).with_shared(Arc::clone(&shop))
        })
        .start()
        .await?;

    let desk = system.session("help-desk").start().await?;
    for (customer, expected) in [
        ("ann", "Your orders: a lamp, a chair."),
        ("bob", "Your orders: a kettle."),
        ("eve", "Your orders: there is no customer eve."),
    ] {
        let send = desk.send_message("What have I ordered?").meta(json!({ "customer": customer }));
        let answer = send.await?;
        println!("{customer}: {}", answer.text);
        assert_eq!(&*answer.text, expected);
    }
    system.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
