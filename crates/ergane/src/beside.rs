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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn of_many_things_fifty_are_under_way_and_one_that_panics_takes_none_with_it() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = |item: usize| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                assert_ne!(item, 7, "the seventh panics");
                item
            }
        };
        let mut outcomes = each(0..200, work).await;
        outcomes.sort_unstable();
        assert_eq!(outcomes, (0..200).filter(|item| *item != 7).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), AT_ONCE);
    }
}
