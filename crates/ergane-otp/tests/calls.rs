//! Calls: a reply, or an honest error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{Notify, oneshot};

async fn tree(namespace: &Namespace, world: &Arc<World>) -> (SupervisorRef, ActorRef<Msg>) {
    let root =
        soon(Supervisor::start(namespace, "root", plenty(), vec![world.child("a")], None)).await.unwrap();
    let cell = find(namespace, "a").await;
    (root, cell.into())
}

#[tokio::test]
async fn a_reply_reaches_its_caller_by_reference_by_cell_and_by_name() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    assert_eq!(soon(call(&a, Msg::Ping, LONG)).await, Ok(1));
    assert_eq!(soon(call(&a.get_cell(), Msg::Ping, LONG)).await, Ok(1));
    assert_eq!(soon(call_name(&namespace, "a", Msg::Ping, LONG)).await, Ok(1));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_call_to_nobody_is_no_proc() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(soon(call(&a, Msg::Ping, LONG)).await, Err(CallError::NoProc));
    assert_eq!(ping(&namespace, "a").await, Err(CallError::NoProc));
}

#[tokio::test]
async fn a_callee_that_takes_other_messages_is_told_from_one_that_is_dead() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let outcome = call(&a.get_cell(), |reply: RpcReplyPort<()>| reply, LONG).await;
    assert_eq!(outcome, Err(CallError::WrongMessageType));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_target_dying_in_mid_call_is_down_with_its_reason_at_once_and_not_at_the_deadline() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let endings: [(Ending, ExitReason); 2] = [
        (|cell| cell.kill(), ExitReason::Killed),
        (|cell| cell.stop(Some("shutdown: bye".into())), ExitReason::Shutdown("bye".into())),
    ];
    let begin = tokio::time::Instant::now();
    let mut cell = a.get_cell();
    for (end, reason) in endings {
        let (go, (tell, waits)) = (Arc::new(Notify::new()), oneshot::channel());
        let wait = go.clone();
        order(&cell, move |_, _| async move {
            tell.send(()).unwrap();
            wait.notified().await;
            Ok(())
        });
        soon(waits).await.unwrap();
        let (outcome, ()) = tokio::join!(call(&cell, Msg::Ping, LONG), async {
            end(&cell);
            go.notify_one();
        });
        assert_eq!(outcome, Err(CallError::Down(reason)));
        cell = successor(&namespace, "a", &cell).await;
    }
    let panic = ExitReason::Panic { message: "told to panic".into(), location: None };
    for (end, reason) in
        [(order_error as Ending, ExitReason::Error("told to fail".into())), (order_panic, panic)]
    {
        // The order is in the mailbox before the call is.
        end(&cell);
        assert_eq!(soon(call(&cell, Msg::Ping, LONG)).await, Err(CallError::Down(reason)));
        cell = successor(&namespace, "a", &cell).await;
    }
    assert_eq!(begin.elapsed(), Duration::ZERO);
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_callee_also_if_the_port_lives_on_elsewhere() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let (keep, kept) = oneshot::channel();
    let begin = tokio::time::Instant::now();
    let (outcome, port) = tokio::join!(
        call(
            &a,
            move |port: RpcReplyPort<u64>| {
                Msg::Do(Box::new(move |_, _| {
                    Box::pin(async move {
                        keep.send(port).unwrap();
                        Ok(())
                    })
                }))
            },
            LONG
        ),
        async {
            let port = soon(kept).await.unwrap();
            a.kill();
            port
        }
    );
    assert_eq!(outcome, Err(CallError::Down(ExitReason::Killed)));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert!(port.is_closed());
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_reply_may_be_sent_later_by_another_process() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let build = |port: RpcReplyPort<u64>| {
        Msg::Do(Box::new(move |_, context| {
            Box::pin(async move {
                context.scope.spawn("later", async move { port.send(42).unwrap() });
                Ok(())
            })
        }))
    };
    assert_eq!(soon(call(&a, build, LONG)).await, Ok(42));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_timeout_leaves_no_late_message() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let (go, (tell, waits)) = (Arc::new(Notify::new()), oneshot::channel());
    let wait = go.clone();
    order(&a, move |_, _| async move {
        tell.send(()).unwrap();
        wait.notified().await;
        Ok(())
    });
    soon(waits).await.unwrap();
    let limit = Duration::from_secs(2);
    let begin = tokio::time::Instant::now();
    assert_eq!(call(&a, Msg::Ping, limit).await, Err(CallError::Timeout));
    assert_eq!(begin.elapsed(), limit);
    let late = call(
        &a,
        |port: RpcReplyPort<&str>| {
            Msg::Do(Box::new(move |_, _| {
                Box::pin(async move {
                    port.send("the second answer").unwrap();
                    Ok(())
                })
            }))
        },
        LONG,
    );
    go.notify_one();
    // The first answer goes nowhere; the second call gets the second.
    assert_eq!(soon(late).await, Ok("the second answer"));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_port_of_a_living_callee_is_a_timeout() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let drops = |port: RpcReplyPort<u64>| {
        Msg::Do(Box::new(move |_, _| {
            Box::pin(async move {
                drop(port);
                Ok(())
            })
        }))
    };
    assert_eq!(call(&a, drops, Duration::from_secs(1)).await, Err(CallError::Timeout));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn calling_oneself_is_refused_and_calling_from_ones_own_task_is_not() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let (tell, told) = oneshot::channel();
    let (by_name, (tell_task, told_task)) = (namespace.clone(), oneshot::channel());
    order(&a, move |myself, context| async move {
        let direct = call(&myself, Msg::Ping, LONG).await;
        let named = call_name(&by_name, "a", Msg::Ping, LONG).await;
        tell.send((direct, named)).unwrap();
        context.scope.spawn("caller", async move {
            tell_task.send(call(&myself, Msg::Ping, LONG).await).unwrap();
        });
        Ok(())
    });
    let refused = Err(CallError::CallingSelf);
    assert_eq!(soon(told).await.unwrap(), (refused.clone(), refused));
    assert_eq!(soon(told_task).await.unwrap(), Ok(1));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_to_a_name_survives_restarts() {
    let (namespace, world) = (namespace(), World::new());
    let (root, _) = tree(&namespace, &world).await;
    let killer = tokio::spawn({
        let namespace = namespace.clone();
        async move {
            for _ in 0..100 {
                let cell = find(&namespace, "a").await;
                cell.kill();
                successor(&namespace, "a", &cell).await;
            }
        }
    });
    let mut last = 0;
    while !killer.is_finished() {
        match ping(&namespace, "a").await {
            Ok(incarnation) => {
                assert!(incarnation >= last, "{incarnation} after {last}");
                last = incarnation;
            }
            // It was accepted by one that was then killed; never is there nobody.
            Err(error) => assert_eq!(error, CallError::Down(ExitReason::Killed)),
        }
        tokio::task::yield_now().await;
    }
    soon(killer).await.unwrap();
    assert_eq!(ping(&namespace, "a").await, Ok(101));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn a_callee_that_no_supervisor_of_ours_started_is_down_at_once_too() {
    struct Stranger;
    impl Actor for Stranger {
        type Msg = RpcReplyPort<()>;
        type State = ();
        type Arguments = ();
        async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            _port: Self::Msg,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            Err("told to fail".into())
        }
    }
    let (stranger, join) = Actor::spawn(None, Stranger, ()).await.unwrap();
    let outcome = soon(call(&stranger, |port| port, LONG)).await;
    assert_eq!(outcome, Err(CallError::Down(ExitReason::NoProc)));
    soon(join).await.unwrap();
}

#[tokio::test]
async fn a_reply_reaches_its_caller_only() {
    let (namespace, world) = (namespace(), World::new());
    let specs = (0..10).map(|n| world.child(&format!("c{n}"))).collect();
    let root = soon(Supervisor::start(&namespace, "root", plenty(), specs, None)).await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..200_u64 {
        let namespace = namespace.clone();
        callers.spawn(async move {
            let echo = |reply: RpcReplyPort<u64>| {
                Msg::Do(Box::new(move |_, _| {
                    // Answered from elsewhere, in whatever order that comes to.
                    tokio::spawn(async move { reply.send(n) });
                    Box::pin(async { Ok(()) })
                }))
            };
            (n, call_name(&namespace, &format!("c{}", n % 10), echo, LONG).await)
        });
    }
    for (n, answer) in soon(callers.join_all()).await {
        assert_eq!(answer, Ok(n));
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_late_reply_never_reaches_a_later_call() {
    let (namespace, world) = (namespace(), World::new());
    let (root, a) = tree(&namespace, &world).await;
    let (keep, kept) = oneshot::channel();
    let held = |reply: RpcReplyPort<u64>| {
        Msg::Do(Box::new(move |_, _| {
            keep.send(reply).ok();
            Box::pin(async { Ok(()) })
        }))
    };
    assert_eq!(call(&a, held, Duration::from_secs(1)).await, Err(CallError::Timeout));
    let late = soon(kept).await.unwrap();
    assert!(late.is_closed(), "whoever does dear work can see that nobody waits");
    let (next, ()) = tokio::join!(call(&a, Msg::Ping, LONG), async {
        assert!(late.send(666).is_err());
    });
    assert_eq!(next, Ok(1));
    soon(root.shutdown(LONG)).await.unwrap();
}
