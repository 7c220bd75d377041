//! What a GenServer can do beside handling messages, and how an actor does it here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use ergane_otp::*;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Continues in `post_start`, as a GenServer does in `handle_continue`.
struct Continuing(mpsc::UnboundedSender<&'static str>, Arc<Semaphore>);

impl Actor for Continuing {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        self.0.send("init").unwrap();
        // In the mailbox before anybody else can send.
        myself.cast(())?;
        Ok(())
    }

    async fn post_start(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.1.acquire().await?.forget();
        self.0.send("continue").unwrap();
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.0.send("message").unwrap();
        Ok(())
    }
}

#[tokio::test]
async fn init_may_continue_and_handle_continue_runs_after_the_start_returned_and_before_the_first_message() {
    let namespace = namespace();
    let (tell, mut told) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let spec = {
        let gate = gate.clone();
        ChildSpec::actor("a", move |_| (Continuing(tell.clone(), gate.clone()), ()))
    };
    let root = soon(Supervisor::builder().child(spec).start(&namespace, "root")).await.unwrap();
    // Started, and called alive, although it has not continued.
    assert_eq!(namespace.status("a"), Some(EntryStatus::Live));
    namespace.whereis("a").unwrap().send_message(()).unwrap();
    gate.add_permits(1);
    for expected in ["init", "continue", "message", "message"] {
        assert_eq!(soon(told.recv()).await, Some(expected));
    }
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test]
async fn terminate_runs_on_stop_and_on_shutdown_and_not_on_kill() {
    let (namespace, world) = (namespace(), World::new());
    let specs = ["stopped", "killed", "failed", "shut down"].map(|name| world.child(name));
    let root = soon(Supervisor::builder().intensity(plenty()).children(specs).start(&namespace, "root"))
        .await
        .unwrap();
    for (name, end) in [
        ("stopped", (|cell| cell.stop(None)) as Ending),
        ("killed", |cell| cell.kill()),
        ("failed", order_error),
    ] {
        let cell = find(&namespace, name).await;
        end(&cell);
        successor(&namespace, name, &cell).await;
    }
    assert_eq!(world.count("stop stopped"), 1);
    assert_eq!(world.count("stop killed"), 0);
    // Other than OTP's, ractor's `post_stop` does not run after an error either; what must run belongs into the scope.
    assert_eq!(world.count("stop failed"), 0);
    soon(root.shutdown(LONG)).await.unwrap();
    assert_eq!(world.count("stop shut down"), 1);
}

struct Sleepy;

enum Wake {
    Work,
    Idle(IdleToken),
    /// Stops the timer.
    Disarm,
}

struct Bed {
    idle: IdleTimer,
    context: StartContext,
    told: mpsc::UnboundedSender<Instant>,
}

impl Actor for Sleepy {
    type Msg = Wake;
    type State = Bed;
    type Arguments = (StartContext, mpsc::UnboundedSender<Instant>);

    async fn pre_start(
        &self,
        myself: ActorRef<Wake>,
        (context, told): Self::Arguments,
    ) -> Result<Bed, ActorProcessingErr> {
        let mut idle = IdleTimer::new(Duration::from_secs(10));
        idle.touch(&context.scope, &myself, Wake::Idle);
        Ok(Bed { idle, context, told })
    }

    async fn handle(
        &self,
        myself: ActorRef<Wake>,
        message: Wake,
        bed: &mut Bed,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Wake::Work => bed.idle.touch(&bed.context.scope, &myself, Wake::Idle),
            Wake::Idle(token) => {
                if bed.idle.is_due(token) {
                    bed.told.send(Instant::now())?;
                }
            }
            Wake::Disarm => bed.idle.disarm(),
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_between_messages_count_from_the_last_one_and_come_once_a_quiet() {
    let namespace = namespace();
    let (tell, mut told) = mpsc::unbounded_channel();
    let spec = ChildSpec::actor("a", move |context| (Sleepy, (context, tell.clone())));
    let root = soon(Supervisor::builder().child(spec).start(&namespace, "root")).await.unwrap();
    let a = find(&namespace, "a").await;
    let begin = Instant::now();
    let second = |n| begin + Duration::from_secs(n);
    // Never quiet for 10 s until the end of this.
    for n in 1..=5 {
        tokio::time::sleep_until(second(n * 8)).await;
        a.send_message(Wake::Work).unwrap();
    }
    let word = soon(told.recv()).await.unwrap();
    assert!(word >= second(50) && word < second(51), "{:?}", word - begin);
    // Quiet goes on, and nothing more is told of it; a message begins a new one.
    tokio::time::sleep_until(second(100)).await;
    assert!(told.try_recv().is_err());
    a.send_message(Wake::Work).unwrap();
    let word = soon(told.recv()).await.unwrap();
    assert!(word >= second(110) && word < second(111), "{:?}", word - begin);
    // Disarmed, it is still.
    a.send_message(Wake::Work).unwrap();
    a.send_message(Wake::Disarm).unwrap();
    tokio::time::sleep_until(second(500)).await;
    assert!(told.try_recv().is_err());
    a.send_message(Wake::Work).unwrap();
    assert!(soon(told.recv()).await.unwrap() >= second(510));
    soon(root.shutdown(LONG)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_a_message_overtook_is_not_due() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let (actor, join) = Actor::spawn(None, Mailbox(tell), ()).await.unwrap();
    let (scope, mut idle) = (Scope::new(), IdleTimer::new(Duration::from_secs(1)));
    idle.touch(&scope, &actor, |token| token);
    let token = soon(told.recv()).await.unwrap();
    assert!(idle.is_due(token));
    idle.touch(&scope, &actor, |token| token);
    assert!(!idle.is_due(token));
    let next = soon(told.recv()).await.unwrap();
    assert!(idle.is_due(next));
    idle.disarm();
    assert!(!idle.is_due(next));
    soon(scope.drained()).await;
    actor.stop(None);
    soon(join).await.unwrap();
}

struct Mailbox(mpsc::UnboundedSender<IdleToken>);

impl Actor for Mailbox {
    type Msg = IdleToken;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<IdleToken>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<IdleToken>,
        token: IdleToken,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        self.0.send(token)?;
        Ok(())
    }
}

#[tokio::test]
async fn extra_arguments_go_to_every_incarnation_of_their_child() {
    let (namespace, world) = (namespace(), World::new());
    let (root, pool) = pool(&namespace, DynamicOptions::new().budget(generous())).await;
    let template = {
        let world = world.clone();
        ChildTemplate::actor(move |context: StartContext, extra: &'static str| {
            world.log(format!("{} {extra}", context.name));
            (Probe, (world.clone(), context))
        })
    };
    let a = soon(pool.start_child(template.child("a", "red"), LONG)).await.unwrap();
    soon(pool.start_child(template.clone().child("b", "blue"), LONG)).await.unwrap();
    a.kill();
    successor(&namespace, "a", &a).await;
    assert_eq!((world.count("a red"), world.count("b blue")), (2, 1));
    soon(root.shutdown(LONG)).await.unwrap();
}
