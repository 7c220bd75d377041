//! A dynamic supervisor: any number of children, each with a budget of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use tokio::sync::Semaphore;

fn options(budget: RestartBudget) -> DynamicOptions {
    DynamicOptions::new().budget(budget)
}

fn budget(max_restarts: u32) -> RestartBudget {
    RestartBudget { max_restarts, ..generous() }
}

async fn start(pool: &DynamicSupervisorRef, spec: ChildSpec) -> Result<ractor::ActorCell, StartError> {
    soon(pool.start_child(spec, LONG)).await
}

/// A child whose every start waits for a permit.
fn gated(world: &Arc<World>, name: &str, gate: &Arc<Semaphore>) -> ChildSpec {
    let (world, gate) = (world.clone(), gate.clone());
    ChildSpec::new(name, move |context: StartContext| {
        let (world, gate) = (world.clone(), gate.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            context.spawn(Probe, (world, context.clone())).await
        }
    })
}

#[tokio::test]
async fn a_started_child_is_live_named_and_linked_when_the_start_returns() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let child = start(&pool, world.child("a")).await.unwrap();
    assert_eq!(namespace.whereis("a"), Some(child.clone()));
    assert_eq!(namespace.status("a"), Some(EntryStatus::Live));
    assert_eq!(child.try_get_supervisor(), namespace.whereis("pool"));
    let children = soon(pool.children()).await.unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!((&*children[0].id, children[0].pid), ("a", Some(child.get_id())));
    assert!(children[0].started_at.is_some());
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn a_live_id_is_already_started_and_tells_where() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let child = start(&pool, world.child("a")).await.unwrap();
    let again = start(&pool, world.child("a")).await;
    assert!(matches!(again, Err(StartError::AlreadyStarted(cell)) if cell == child));
    assert_eq!(world.count("start a"), 1);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_start_of_an_id_that_is_starting_waits_for_it() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let gate = Arc::new(Semaphore::new(0));
    let (first, second) = tokio::join!(start(&pool, gated(&world, "a", &gate)), async {
        eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
        let second = tokio::spawn({
            let (pool, spec) = (pool.clone(), world.child("a"));
            async move { pool.start_child(spec, LONG).await }
        });
        // The listing is answered after the second start was taken in.
        while soon(pool.children()).await.unwrap().len() != 1 {}
        gate.add_permits(1);
        soon(second).await.unwrap()
    });
    let first = first.unwrap();
    assert!(matches!(second, Err(StartError::AlreadyStarted(cell)) if cell == first));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_no_name() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    world.break_starts("a", true);
    let error = start(&pool, world.child("a")).await.unwrap_err();
    assert_eq!(namespace.status("a"), None);
    assert!(matches!(error, StartError::Failed { reason: ExitReason::Error(why) } if why == "told to fail"));
    assert_eq!(soon(pool.children()).await.unwrap(), []);
    world.break_starts("a", false);
    start(&pool, world.child("a")).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_past_its_deadline_is_a_timeout_and_goes_on() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let gate = Arc::new(Semaphore::new(0));
    let outcome = pool.start_child(gated(&world, "a", &gate), Duration::from_secs(1)).await;
    assert!(matches!(outcome, Err(StartError::Timeout)));
    gate.add_permits(1);
    find(&namespace, "a").await;
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_start_without_a_supervisor_says_so() {
    let (namespace, world) = (namespace(), World::new());
    let pool = DynamicSupervisorRef::new(&namespace, "pool");
    assert!(matches!(start(&pool, world.child("a")).await, Err(StartError::NoSupervisor)));
    let (tell, told) = tokio::sync::oneshot::channel();
    pool.start_child_with_reply(world.child("a"), move |outcome| tell.send(outcome).unwrap());
    assert!(matches!(soon(told).await.unwrap(), Err(StartError::NoSupervisor)));
    assert_eq!(soon(pool.terminate_child("a", LONG)).await, Err(ChildError::NoSupervisor));
}

#[tokio::test]
async fn max_children_refuses_with_an_error_and_kills_nobody_and_counts_restarting_ones() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous()).max_children(2)).await;
    let gate = Arc::new(Semaphore::new(1));
    let a = start(&pool, gated(&world, "a", &gate)).await.unwrap();
    let b = start(&pool, world.child("b")).await.unwrap();
    let refused = start(&pool, world.child("c")).await;
    assert!(matches!(refused, Err(StartError::MaxChildren { limit: 2 })));
    a.kill();
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    let refused = start(&pool, world.child("c")).await;
    assert!(matches!(refused, Err(StartError::MaxChildren { limit: 2 })));
    gate.add_permits(1);
    find(&namespace, "a").await;
    assert_eq!(namespace.whereis("b"), Some(b));
    soon(pool.terminate_child("b", LONG)).await.unwrap();
    start(&pool, world.child("c")).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn one_childs_storm_never_touches_another_and_ends_in_quarantine() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(budget(3))).await;
    let calm = start(&pool, world.child("calm")).await.unwrap();
    let mut stormy = start(&pool, world.child("stormy")).await.unwrap();
    let mut watch = namespace.watch("stormy");
    for _ in 0..3 {
        order_panic(&stormy);
        stormy = successor(&namespace, "stormy", &stormy).await;
    }
    order_panic(&stormy);
    let reason = soon(async {
        loop {
            if let Some(Incarnation::Quarantined { reason }) = watch.next().await {
                return reason;
            }
        }
    })
    .await;
    assert!(reason.contains("3 restarts") && reason.contains("panic: told to panic"), "{reason}");
    assert_eq!(namespace.whereis("calm"), Some(calm));
    assert_eq!(namespace.status("stormy"), Some(EntryStatus::Quarantined { reason: reason.clone() }));
    assert_eq!(soon(pool.quarantined()).await.unwrap(), [("stormy".to_owned(), reason.clone())]);
    assert_eq!(world.count("start stormy"), 4);
    // Nobody finds it, and nobody starts it by accident.
    assert_eq!(ping(&namespace, "stormy").await, Err(CallError::NoProc));
    let refused = start(&pool, world.child("stormy")).await;
    assert!(matches!(refused, Err(StartError::Quarantined { reason: why }) if why == reason));
    // The way back.
    assert_eq!(soon(pool.release("calm")).await, Err(ChildError::NotQuarantined));
    assert_eq!(soon(pool.release("nobody")).await, Err(ChildError::NotFound));
    soon(pool.release("stormy")).await.unwrap();
    assert_eq!(namespace.status("stormy"), None);
    start(&pool, world.child("stormy")).await.unwrap();
    assert_eq!(world.overlaps(), 0);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn a_quarantined_child_does_not_count_as_a_child_and_can_be_terminated() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(budget(0)).max_children(1)).await;
    start(&pool, world.child("a")).await.unwrap().kill();
    eventually(|| matches!(namespace.status("a"), Some(EntryStatus::Quarantined { .. }))).await;
    start(&pool, world.child("b")).await.unwrap();
    soon(pool.terminate_child("a", LONG)).await.unwrap();
    assert_eq!(namespace.status("a"), None);
    let refused = start(&pool, world.child("a")).await;
    assert!(matches!(refused, Err(StartError::MaxChildren { limit: 1 })));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_first_restart_of_a_window_does_not_wait_and_the_next_ones_back_off() {
    let (namespace, world) = (namespace(), World::new());
    let backoff = Backoff { base: Duration::from_secs(100), max: Duration::from_secs(1000) };
    let within = Duration::from_secs(100_000);
    let (root, pool) = pool(&namespace, options(RestartBudget { max_restarts: 5, within, backoff })).await;
    let first = start(&pool, world.child("a")).await.unwrap();
    let begin = tokio::time::Instant::now();
    first.kill();
    let second = successor(&namespace, "a", &first).await;
    assert_eq!(begin.elapsed(), Duration::ZERO);
    let monitor = namespace.monitor("a");
    second.kill();
    soon(monitor).await;
    // A call to the name waits out the back-off.
    assert_eq!(soon(call_name(&namespace, "a", Msg::Ping, within)).await, Ok(3));
    let waited = begin.elapsed();
    assert!(waited > Duration::ZERO && waited <= backoff.base, "{waited:?}");
    soon(root.shutdown(LONG)).await.unwrap();
}

/// Drives a child into a back-off of an hour or so.
async fn back_off(namespace: &Namespace, pool: &DynamicSupervisorRef, world: &Arc<World>) {
    let first = start(pool, world.child("a")).await.unwrap();
    first.kill();
    successor(namespace, "a", &first).await.kill();
    eventually(|| matches!(namespace.status("a"), Some(EntryStatus::Backoff { .. }))).await;
}

fn hours() -> DynamicOptions {
    let backoff = Backoff { base: Duration::from_secs(1 << 40), max: Duration::from_secs(1 << 40) };
    options(RestartBudget { max_restarts: 5, within: Duration::from_secs(1 << 20), backoff })
}

#[tokio::test]
async fn a_restart_in_back_off_is_listed_and_is_cancelled_by_terminate() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, hours()).await;
    back_off(&namespace, &pool, &world).await;
    let children = soon(pool.children()).await.unwrap();
    assert!(matches!(children[0].status, EntryStatus::Backoff { .. }));
    assert_eq!((children[0].pid, children[0].restarts), (None, 2));
    soon(pool.terminate_child("a", LONG)).await.unwrap();
    assert_eq!(namespace.status("a"), None);
    assert_eq!(soon(pool.children()).await.unwrap(), []);
    start(&pool, world.child("a")).await.unwrap();
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_back_off() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, hours()).await;
    back_off(&namespace, &pool, &world).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(namespace.names(), []);
}

#[tokio::test]
async fn terminate_is_awaited_with_the_scope_and_the_child_does_not_come_back() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let child = start(&pool, world.child("a")).await.unwrap();
    let (tell, scope) = tokio::sync::oneshot::channel();
    order(&child, move |_, context| async move {
        context.scope.spawn("endless", std::future::pending());
        tell.send(context.scope).unwrap();
        Ok(())
    });
    let scope = soon(scope).await.unwrap();
    assert_eq!(scope.alive(), 1);
    soon(pool.terminate_child("a", LONG)).await.unwrap();
    assert_eq!(scope.alive(), 0);
    assert_eq!(world.lines(), ["start a", "stop a", "drop a"]);
    assert_eq!(namespace.status("a"), None);
    assert_eq!(soon(pool.terminate_child("a", LONG)).await, Err(ChildError::NotFound));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_terminate_ends_a_start_under_way() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let gate = Arc::new(Semaphore::new(0));
    let starting = tokio::spawn({
        let (pool, spec) = (pool.clone(), gated(&world, "a", &gate));
        async move { pool.start_child(spec, LONG).await }
    });
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    soon(pool.terminate_child("a", LONG)).await.unwrap();
    assert!(matches!(soon(starting).await.unwrap(), Err(StartError::Cancelled)));
    assert_eq!((world.lines(), namespace.status("a")), (vec![], None));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_start_of_an_id_that_is_being_ended_waits_until_it_is_gone() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let child = start(&pool, world.child("a")).await.unwrap();
    hang(&child).await;
    pool.terminate_child_soon("a");
    let next = start(&pool, world.child("a")).await.unwrap();
    assert_ne!(next, child);
    assert_eq!(world.lines(), ["start a", "drop a", "start a"]);
    assert_eq!(world.overlaps(), 0);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_start_after_a_terminate_is_not_told_of_the_child_that_came_up_to_be_ended() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let gate = Arc::new(Semaphore::new(0));
    let first = tokio::spawn({
        let (pool, spec) = (pool.clone(), gated(&world, "a", &gate));
        async move { pool.start_child(spec, LONG).await }
    });
    eventually(|| namespace.status("a") == Some(EntryStatus::Starting)).await;
    let mut ended = Box::pin(pool.terminate_child("a", LONG));
    let mut second = Box::pin(pool.start_child(world.child("a"), LONG));
    tokio::select! {
        biased;
        outcome = &mut ended => panic!("{outcome:?}"),
        outcome = &mut second => panic!("{outcome:?}"),
        () = std::future::ready(()) => {}
    }
    // The order and the permit are there at once, and the start wins.
    gate.add_permits(1);
    let former = soon(first).await.unwrap().unwrap();
    soon(ended).await.unwrap();
    assert_ne!(soon(second).await.unwrap(), former);
    assert_eq!((world.count("start a"), world.count("stop a"), world.overlaps()), (2, 1, 0));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_temporary_child_is_forgotten_and_its_name_free_only_after_its_scope_is_drained() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let child = start(&pool, world.child("a").restart(Restart::Temporary)).await.unwrap();
    let (go, cleanup) = tokio::sync::oneshot::channel::<()>();
    let (tell, ready) = tokio::sync::oneshot::channel();
    let monitor = namespace.monitor("a");
    order(&child, move |myself, context| async move {
        let guard = context.scope.on_drain("slow", move || async move { drop(cleanup.await) });
        // The guard lives on elsewhere, as it would in a task.
        tell.send(guard).unwrap();
        myself.stop(None);
        Ok(())
    });
    let guard = soon(ready).await.unwrap();
    assert_eq!(soon(monitor).await.reason, ExitReason::Normal);
    eventually(|| world.alive() == 0).await;
    assert_eq!(namespace.status("a"), Some(EntryStatus::Stopping));
    go.send(()).unwrap();
    eventually(|| namespace.status("a").is_none()).await;
    eventually(|| namespace.names().len() == 2).await;
    drop(guard);
    assert_eq!(soon(pool.children()).await.unwrap(), []);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn children_stop_concurrently_at_shutdown() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    for n in 0..20 {
        let child = start(&pool, world.child(&format!("c{n}"))).await.unwrap();
        hang(&child).await;
    }
    let before = tokio::time::Instant::now();
    soon(root.shutdown(Duration::from_secs(1000))).await.unwrap();
    // Each needs its 5 s, and all of them together need no more.
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn a_handler_starts_a_child_without_waiting_and_hears_of_it() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let asker = start(&pool, world.child("asker")).await.unwrap();
    let (tell, told) = tokio::sync::oneshot::channel();
    let (elsewhere, spec) = (pool.clone(), world.child("a"));
    order(&asker, move |_, _| async move {
        elsewhere.start_child_with_reply(spec, move |outcome| tell.send(outcome).unwrap());
        Ok(())
    });
    assert_eq!(soon(told).await.unwrap().unwrap(), find(&namespace, "a").await);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_panics_takes_nobody_with_it() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    pool.start_child_with_reply(world.child("a"), |_| panic!("told to panic"));
    eventually(|| namespace.status("a") == Some(EntryStatus::Live)).await;
    let child = find(&namespace, "a").await;
    child.kill();
    successor(&namespace, "a", &child).await;
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn many_children_come_and_go_and_leave_nothing_behind() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(generous())).await;
    let mut starts = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let spec = world.child(&format!("c{n}")).restart(Restart::Temporary);
        let pool = pool.clone();
        starts.spawn(async move { pool.start_child(spec, LONG).await.unwrap() });
    }
    let cells = soon(starts.join_all()).await;
    assert_eq!(world.alive(), 1000);
    assert_eq!(soon(pool.children()).await.unwrap().len(), 1000);
    cells.iter().for_each(|cell| cell.stop(None));
    eventually(|| namespace.names().len() == 2).await;
    assert_eq!(world.alive(), 0);
    while !soon(pool.children()).await.unwrap().is_empty() {}
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_shared_budget_counts_the_restarts_of_all_children_and_one_more_ends_the_supervisor() {
    let (namespace, world) = (namespace(), World::new());
    let shared = Intensity { max_restarts: 2, within: Duration::from_secs(600) };
    let (root, pool) = pool(&namespace, DynamicOptions::new().shared_budget(shared)).await;
    let mut a = start(&pool, world.child("a")).await.unwrap();
    let b = start(&pool, world.child("b")).await.unwrap();
    a.kill();
    a = successor(&namespace, "a", &a).await;
    b.kill();
    successor(&namespace, "b", &b).await;
    let monitor = namespace.monitor("pool");
    a.kill();
    let reason = soon(monitor).await.reason;
    assert!(matches!(&reason, ExitReason::Shutdown(why) if why.contains("too many restarts")), "{reason}");
    // Its parent starts it again, empty; nobody was quarantined.
    find(&namespace, "pool").await;
    assert_eq!(soon(pool.children()).await.unwrap(), []);
    assert_eq!(soon(root.which_children()).await.unwrap()[0].restarts, 1, "the parent counts one crash");
    eventually(|| namespace.status("a").is_none() && namespace.status("b").is_none()).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.overlaps(), world.alive(), namespace.names()), (0, 0, vec![]));
}

#[tokio::test]
async fn failing_restarts_count_against_a_shared_budget_too() {
    let (namespace, world) = (namespace(), World::new());
    let shared = Intensity { max_restarts: 3, within: Duration::from_secs(600) };
    let (root, pool) = pool(&namespace, DynamicOptions::new().shared_budget(shared)).await;
    let a = start(&pool, world.child("a")).await.unwrap();
    let monitor = namespace.monitor("pool");
    world.break_starts("a", true);
    a.kill();
    soon(monitor).await;
    assert_eq!(world.count("fail a"), 3);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!((world.alive(), namespace.names()), (0, vec![]));
}

#[tokio::test]
async fn count_children_of_a_dynamic_supervisor_counts_the_living_and_the_kinds() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, options(budget(0))).await;
    start(&pool, world.child("a")).await.unwrap();
    start(&pool, Supervisor::child_spec("inner", plenty(), vec![])).await.unwrap();
    start(&pool, world.child("b")).await.unwrap().kill();
    eventually(|| matches!(namespace.status("b"), Some(EntryStatus::Quarantined { .. }))).await;
    let counts = soon(pool.count_children()).await.unwrap();
    assert_eq!(counts, ChildCounts { specs: 3, active: 2, supervisors: 1, workers: 2 });
    soon(root.shutdown(LONG)).await.unwrap();
}
