//! What users see.

use std::{sync::Arc, time::Duration};

use outrigger_core::saga::{Definition, definition::Draft, record::Status};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{Handle, Options, Started, Waited},
    Clock, MemoryStore, Running, World, linear,
    participants::Moods,
    run, start_of,
    store::Faults,
};

struct Scene {
    clock: Clock,
    store: MemoryStore,
    world: World,
}

impl Scene {
    fn new() -> Self {
        let clock = Clock::new();
        let store = MemoryStore::new(clock, 2, 1);
        let world = World::new(&store, 1);
        Self {
            clock,
            store,
            world,
        }
    }

    fn define(&self, draft: Draft) -> Arc<Definition> {
        let definition = Arc::new(Definition::new(draft).unwrap());
        self.store.define(&definition);
        definition
    }

    fn run(&self, executor: u32, options: Options) -> Running {
        run(self.clock, &self.store, &self.world, executor, options)
    }

    fn status(&self, saga: &str) -> Option<Status> {
        self.store.record(saga).map(|record| record.status())
    }
}

async fn settled(handle: &Handle, saga: &str) -> Status {
    let until = Instant::now() + Duration::from_secs(600);
    match handle.wait(saga, until).await.unwrap() {
        Waited::Settled(record) => record.status(),
        other => panic!("{saga}: {other:?}"),
    }
}

/// An executor is started and asked for sagas at once: the log may know of a saga before it knows
/// that the executor is alive, and the answers may come in any order.
#[tokio::test(start_paused = true)]
async fn sagas_that_are_started_before_the_first_sign_of_life_is_answered_complete() {
    for seed in 0..40 {
        let clock = Clock::new();
        let store = MemoryStore::new(clock, 1, seed);
        let world = World::new(&store, seed);
        store.set_faults(Faults {
            slow_ms: 40,
            ..Faults::default()
        });
        let scene = Scene {
            clock,
            store,
            world,
        };
        let definition = scene.define(linear(2));
        let running = scene.run(1, Options::default());
        let ids: Vec<String> = (0..30).map(|number| format!("order-{number}")).collect();
        let starts = ids.iter().map(|id| {
            let start = start_of(&definition, id);
            running.handle.start(Arc::clone(&definition), start)
        });
        let started = futures::future::join_all(starts).await;
        assert!(
            started.iter().all(Result::is_ok),
            "seed {seed}: {started:?}"
        );
        sleep(Duration::from_secs(60)).await;
        for id in &ids {
            let status = scene.status(id);
            assert_eq!(status, Some(Status::Completed), "seed {seed}: {id}");
        }
        running.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_completes_and_starting_it_again_changes_nothing() {
    let scene = Scene::new();
    let definition = scene.define(linear(2));
    let running = scene.run(1, Options::default());
    sleep(Duration::from_millis(10)).await;
    for created in [true, false, false] {
        let start = start_of(&definition, "order-1");
        let started = running.handle.start(Arc::clone(&definition), start).await;
        assert_eq!(started, Ok(Started { created }));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(settled(&running.handle, "order-1").await, Status::Completed);
    assert_eq!(scene.world.effect("order-1", "step-0"), 1);
    assert_eq!(scene.world.effect("order-1", "step-1"), 1);
    assert!(scene.world.faults().is_empty());
    // Start with the first event, each end with the next beginning.
    assert_eq!(scene.store.record("order-1").unwrap().sequence(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_an_owner_has_left_is_taken_over_and_finished() {
    let scene = Scene::new();
    let definition = scene.define(linear(3));
    scene.world.set_moods(Moods {
        slow_ms: 40,
        ..Moods::default()
    });
    let first = scene.run(1, Options::default());
    sleep(Duration::from_millis(10)).await;
    let ids: Vec<String> = (0..300).map(|at| format!("order-{at}")).collect();
    for id in &ids {
        let start = start_of(&definition, id);
        let started = first.handle.start(Arc::clone(&definition), start).await;
        started.unwrap();
    }
    first.task.abort();
    scene.world.forget(1);
    let undone = ids
        .iter()
        .filter(|id| scene.status(id) != Some(Status::Completed));
    assert!(undone.count() > 0);
    // It has room for a few at a time.
    let options = Options {
        sagas_max: 40,
        take_max: 16,
        ..Options::default()
    };
    let second = scene.run(2, options);
    for id in &ids {
        assert_eq!(settled(&second.handle, id).await, Status::Completed);
        for step in ["step-0", "step-1", "step-2"] {
            assert_eq!(scene.world.effect(id, step), 1, "{id} {step}");
        }
    }
    assert!(scene.world.faults().is_empty());
}

/// As fast as they can be read, whatever the number that one sign of life brings.
#[tokio::test(start_paused = true)]
async fn taking_over_does_not_wait_for_the_next_sign_of_life() {
    let scene = Scene::new();
    let definition = scene.define(linear(3));
    scene.world.set_moods(Moods {
        slow_ms: 40,
        ..Moods::default()
    });
    let first = scene.run(1, Options::default());
    sleep(Duration::from_millis(10)).await;
    let ids: Vec<String> = (0..300).map(|at| format!("order-{at}")).collect();
    for id in &ids {
        let start = start_of(&definition, id);
        let started = first.handle.start(Arc::clone(&definition), start).await;
        started.unwrap();
    }
    first.task.abort();
    scene.world.forget(1);
    let options = Options {
        take_max: 16,
        ..Options::default()
    };
    let lease = Duration::from_millis(options.lease_ms);
    let beats = 3 * Duration::from_millis(options.beat_interval_ms);
    scene.run(2, options);
    sleep(lease + beats).await;
    for id in &ids {
        assert_eq!(scene.status(id), Some(Status::Completed), "{id}");
    }
}

/// Sagas that wait for a host that is away use up no attempts, are more than fit in memory,
/// and hold up nobody.
#[tokio::test(start_paused = true)]
async fn a_dead_host_slows_nobody() {
    let scene = Scene::new();
    let (one, other) = (linear(1), {
        let mut draft = linear(2);
        draft.name = "other".to_owned();
        draft.steps.remove(0);
        draft.steps[0].depends_on.clear();
        draft
    });
    let (one, other) = (scene.define(one), scene.define(other));
    scene.world.set_dead("p0:80", true);
    let options = Options {
        sagas_max: 100,
        ..Options::default()
    };
    let running = scene.run(1, options);
    sleep(Duration::from_millis(10)).await;
    for at in 0..400 {
        let id = format!("dead-{at}");
        let start = start_of(&one, &id);
        running.handle.start(Arc::clone(&one), start).await.unwrap();
    }
    sleep(Duration::from_secs(60)).await;
    for at in 0..400 {
        let id = format!("alive-{at}");
        let start = start_of(&other, &id);
        let handle = &running.handle;
        handle.start(Arc::clone(&other), start).await.unwrap();
        let end = timeout(Duration::from_secs(5), settled(handle, &id)).await;
        assert_eq!(end, Ok(Status::Completed), "{id}");
    }
    let attempts = (0..400).map(|at| {
        let record = scene.store.record(&format!("dead-{at}")).unwrap();
        record.steps()[0].attempt()
    });
    assert!(attempts.max() <= Some(4));
    scene.world.set_dead("p0:80", false);
    for at in 0..400 {
        let id = format!("dead-{at}");
        assert_eq!(settled(&running.handle, &id).await, Status::Completed);
        assert_eq!(scene.world.effect(&id, "step-0"), 1);
    }
    assert!(scene.world.faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn draining_gives_everything_back_at_once() {
    let scene = Scene::new();
    let definition = scene.define(linear(3));
    scene.world.set_moods(Moods {
        slow_ms: 100,
        ..Moods::default()
    });
    let first = scene.run(1, Options::default());
    sleep(Duration::from_millis(10)).await;
    let ids: Vec<String> = (0..50).map(|at| format!("order-{at}")).collect();
    for id in &ids {
        let start = start_of(&definition, id);
        first
            .handle
            .start(Arc::clone(&definition), start)
            .await
            .unwrap();
    }
    first.handle.drain(Duration::from_secs(5)).await;
    first.task.await.unwrap();
    let calls: u64 = ["p0:80", "p1:80", "p2:80"]
        .map(|host| scene.world.calls(host))
        .iter()
        .sum();
    let second = scene.run(2, Options::default());
    let begun = Instant::now();
    for id in &ids {
        assert_eq!(settled(&second.handle, id).await, Status::Completed);
    }
    // Nobody waits for the lease of the first one, and no call was cut off.
    assert!(begun.elapsed() < Duration::from_secs(3));
    let all: u64 = ["p0:80", "p1:80", "p2:80"]
        .map(|host| scene.world.calls(host))
        .iter()
        .sum();
    assert!(calls > 0 && all == 150, "{calls} of {all}");
    // A handle whose executor is gone still starts sagas, for others.
    let start = start_of(&definition, "late");
    let started = first.handle.start(Arc::clone(&definition), start).await;
    assert_eq!(started, Ok(Started { created: true }));
    assert_eq!(settled(&first.handle, "late").await, Status::Completed);
    assert!(scene.world.faults().is_empty());
}
