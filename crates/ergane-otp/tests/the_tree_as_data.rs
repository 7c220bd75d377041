//! The supervision tree as data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::*;
use ergane_otp::*;

#[tokio::test]
async fn the_tree_shows_every_actor_with_its_status_and_restarts() {
    let (namespace, world) = (namespace(), World::new());
    let inner = Supervisor::child_spec("inner", plenty(), vec![world.child("b")]);
    let options = DynamicOptions::new().budget(RestartBudget { max_restarts: 0, ..generous() });
    let specs = vec![world.child("a"), inner, DynamicSupervisor::child_spec("pool", options)];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let pool = DynamicSupervisorRef::new(&namespace, "pool");
    for name in ["y", "x"] {
        soon(pool.start_child(world.child(name), LONG)).await.unwrap();
    }
    find(&namespace, "y").await.kill();
    eventually(|| matches!(namespace.status("y"), Some(EntryStatus::Quarantined { .. }))).await;
    let b = find(&namespace, "b").await;
    let killed = std::time::SystemTime::now();
    b.kill();
    let b = successor(&namespace, "b", &b).await;

    let tree = soon(ergane_otp::tree(&root.cell(), LONG)).await.unwrap();
    assert_eq!(tree.id, namespace.full_name("root"));
    assert_eq!(tree.pid, Some(root.cell().get_id()));
    let ids: Vec<&str> = tree.children.iter().map(|node| &*node.id).collect();
    assert_eq!(ids, ["a", "inner", "pool"]);
    assert_eq!(
        tree.children.iter().map(|node| node.kind).collect::<Vec<_>>(),
        [ChildKind::Worker, ChildKind::Supervisor, ChildKind::Supervisor]
    );
    let inner = &tree.children[1].children;
    assert_eq!((inner.len(), &*inner[0].id, inner[0].restarts), (1, "b", 1));
    assert_eq!((inner[0].pid, &inner[0].status), (Some(b.get_id()), &EntryStatus::Live));
    assert!(inner[0].started_at.is_some_and(|started| started >= killed), "of the present incarnation");
    let pool = &tree.children[2].children;
    assert_eq!(pool.iter().map(|node| &*node.id).collect::<Vec<_>>(), ["x", "y"]);
    assert!(matches!(&pool[1].status, EntryStatus::Quarantined { reason } if reason.contains("killed")));
    assert_eq!(pool[1].pid, None);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn the_tree_of_an_actor_that_is_no_supervisor_is_an_error() {
    let (namespace, world) = (namespace(), World::new());
    let specs = vec![world.child("a")];
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let a = find(&namespace, "a").await;
    assert_eq!(soon(ergane_otp::tree(&a, LONG)).await, Err(CallError::WrongMessageType));
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(soon(ergane_otp::tree(&root.cell(), LONG)).await, Err(CallError::NoProc));
}
