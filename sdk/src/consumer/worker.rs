use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
    task::Poll,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{
    Received, Retry,
    desk::{Desk, Outcome, Task},
    guard::{Entry, OpenGuard, leave, while_held},
};

/// Messages taken from the desk at a time.
const TAKE_MAX: usize = 256;

/// What all workers share.
pub(super) struct Work<F> {
    pub(super) desk: Arc<Desk>,
    pub(super) handler: F,
    pub(super) guard: Option<OpenGuard>,
}

type Running = FuturesUnordered<BoxFuture<'static, (usize, Outcome)>>;

/// Runs up to `concurrency` handlers at a time until there is no more work. Several workers
/// run beside each other, so a handler costs no task of its own.
pub(super) async fn work<F, Fut>(work: Arc<Work<F>>, concurrency: usize)
where
    F: Fn(Received) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Retry>> + Send + 'static,
{
    let mut running = Running::new();
    let mut tasks = Vec::new();
    let mut done = Vec::new();
    loop {
        let called = work.desk.work.notified();
        let mut called = pin!(called);
        // Before looking, so that nothing is missed that comes while we look.
        called.as_mut().enable();
        let is_stopping = work.desk.is_stopping();

        let room = concurrency.saturating_sub(running.len()).min(TAKE_MAX);
        work.desk.take(room, &mut tasks);
        let may_wait = tasks.is_empty() && room > 0;
        for task in tasks.drain(..) {
            start(&work, task, &mut running, &mut done).await;
        }
        work.desk.finish(&mut done);
        if is_stopping && running.is_empty() {
            return;
        }
        if !may_wait && room > 0 {
            // There may be more to take; let others run in between.
            collect(&mut running, &mut done).await;
            work.desk.finish(&mut done);
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            Some(finished) = running.next() => {
                done.push(finished);
                collect(&mut running, &mut done).await;
            }
            () = called, if may_wait => {}
        }
        work.desk.finish(&mut done);
    }
}

/// Begins with a message. Most handlers are done at the first attempt, and never have to
/// be kept.
async fn start<F, Fut>(
    work: &Arc<Work<F>>,
    task: Task,
    running: &mut Running,
    done: &mut Vec<(usize, Outcome)>,
) where
    F: Fn(Received) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), Retry>> + Send + 'static,
{
    let lease = task.lease;
    let handling = Arc::clone(work);
    let mut handled = async move { (lease, handling.handle(task.received).await) }.boxed();
    let first = poll_fn(|context| Poll::Ready(handled.poll_unpin(context))).await;
    match first {
        Poll::Ready(finished) => done.push(finished),
        Poll::Pending => running.push(handled),
    }
}

/// Takes whatever else is done, without waiting.
async fn collect(running: &mut Running, done: &mut Vec<(usize, Outcome)>) {
    poll_fn(|context| {
        while let Poll::Ready(Some(finished)) = running.poll_next_unpin(context) {
            done.push(finished);
        }
        Poll::Ready(())
    })
    .await;
}

impl<F, Fut> Work<F>
where
    F: Fn(Received) -> Fut,
    Fut: Future<Output = Result<(), Retry>>,
{
    async fn handle(&self, mut received: Received) -> Outcome {
        let Some(guard) = &self.guard else {
            return self.run(received).await;
        };
        match guard.enter(received.id()).await {
            Entry::Done => Outcome::Ack,
            Entry::Later(delay) => Outcome::Nack(delay),
            Entry::Run(held) => {
                if let Some(held) = &held {
                    received.set_fencing(held.fencing());
                }
                let outcome = while_held(held.as_ref(), self.run(received)).await;
                let is_done = outcome == Outcome::Ack;
                // When the guard is lost somebody else is at this message. It comes again,
                // and the guard's answer decides then.
                if !leave(held, is_done).await && is_done {
                    return Outcome::Nack(None);
                }
                outcome
            }
        }
    }

    async fn run(&self, received: Received) -> Outcome {
        // A handler that panics must not take its neighbours along.
        let handled = AssertUnwindSafe(async { (self.handler)(received).await })
            .catch_unwind()
            .await;
        match handled {
            Ok(Ok(())) => Outcome::Ack,
            Ok(Err(retry)) => {
                tracing::debug!(%retry, "a handler failed");
                Outcome::Nack(retry.delay())
            }
            Err(_) => {
                tracing::error!("a handler panicked");
                Outcome::Nack(None)
            }
        }
    }
}
