//! Many things beside each other, but never all of them.

use std::future::Future;

use tokio::task::JoinSet;

/// At most so many run at once. Sessions load as many at once, so more would only wait there.
const AT_ONCE: usize = 50;

/// Does `work` for every item, at most 50 beside each other, and returns the outcomes in no order. One that panics
/// has none. Dropping this ends what is under way.
pub(crate) async fn each<I, F, T>(items: impl IntoIterator<Item = I>, work: impl Fn(I) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut waiting = items.into_iter();
    let mut running = JoinSet::new();
    let mut outcomes = Vec::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(item) = waiting.next()
        {
            running.spawn(work(item));
        }
        match running.join_next().await {
            None => return outcomes,
            Some(Ok(outcome)) => outcomes.push(outcome),
            Some(Err(error)) => tracing::error!(%error, "one of many things panicked"),
        }
    }
}
