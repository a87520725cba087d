use std::{future::poll_fn, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderName, HeaderValue, Request, Response};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, codegen::Service as _, service::Routes};

use super::{Options, Target, data_group, failure::Fate, pool::Pool};

/// How often a call has been passed on already.
const HOPS: HeaderName = HeaderName::from_static("outrigger-hops");
/// From a sidecar to a node that has just lost the lead, and from there to the leader.
/// Whoever is asked after that refuses, so no call goes in circles.
const HOPS_MAX: u32 = 2;

/// Knows where the leader is and how to reach it; cheap to clone.
#[derive(Clone)]
pub struct Forwarder {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    pool: Arc<Pool>,
    targets: watch::Receiver<Target>,
    /// The data group whose leader it knows.
    group: u32,
    /// What tells the group to other processes; nothing where there is one.
    data_group: Option<HeaderValue>,
    doubt: Arc<Notify>,
    closing: CancellationToken,
}

/// Why there is no answer.
pub(super) struct Unanswered {
    pub(super) fate: Fate,
    pub(super) why: String,
}

impl Forwarder {
    /// Passes calls to wherever `targets` says that the leader of the only data group is.
    #[must_use]
    pub fn new(targets: watch::Receiver<Target>, options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool: Arc::new(Pool::new(options.clone())),
                options,
                targets,
                group: 0,
                data_group: None,
                doubt: Arc::default(),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// One for each data group, whose leaders are where `targets` say. They share their
    /// connections, what [`Self::doubt`] gives, and their end.
    #[must_use]
    pub fn for_groups(
        targets: Vec<watch::Receiver<Target>>,
        options: &Options,
        doubt: &Arc<Notify>,
        closing: &CancellationToken,
    ) -> Vec<Self> {
        let pool = Arc::new(Pool::new(options.clone()));
        let is_named = targets.len() > 1;
        let forwarder = |(group, targets)| Self {
            shared: Arc::new(Shared {
                pool: Arc::clone(&pool),
                options: options.clone(),
                targets,
                group,
                data_group: is_named.then(|| data_group::value(group)),
                doubt: Arc::clone(doubt),
                closing: closing.clone(),
            }),
        };
        (0..).zip(targets).map(forwarder).collect()
    }

    /// Ends all streams, so that a server that waits for its connections can stop.
    pub fn close(&self) {
        self.shared.closing.cancel();
    }

    /// Ends when streams have to.
    pub(super) async fn closing(&self) {
        self.shared.closing.cancelled().await;
    }

    /// Called whenever the leader could not be reached where it is said to be.
    #[must_use]
    pub fn doubt(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.doubt)
    }

    pub(super) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(super) fn target(&self) -> Target {
        self.shared.targets.borrow().clone()
    }

    /// The leader, once there is one.
    pub(super) async fn leader(&self, deadline: Instant) -> Option<Target> {
        let mut targets = self.shared.targets.clone();
        let known = targets.wait_for(|target| *target != Target::Nobody);
        let target = timeout_at(deadline, known).await.ok()?.ok()?;
        Some(target.clone())
    }

    /// Ends when what was begun at `target` has no future any more.
    pub(super) fn left(&self, target: Target) -> BoxFuture<'static, ()> {
        let mut targets = self.shared.targets.clone();
        async move {
            // An error means that the process ends; so does everything else then.
            let left = targets.wait_for(|now| target.is_left(now)).await.is_ok();
            if !left {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }

    /// Waits before an attempt is repeated, but not when the leader changes.
    pub(super) async fn pause(&self, target: &Target, attempt: u32) {
        let options = self.options();
        let factor = 1_u64 << attempt.min(16);
        let longest_ms = options
            .retry_ms_min
            .saturating_mul(factor)
            .min(options.retry_ms_max)
            .max(1);
        // Between half of it and all of it, so that not all callers come at once.
        let pause_ms = rand::random_range(longest_ms.div_ceil(2)..=longest_ms);
        let mut targets = self.shared.targets.clone();
        let changed = targets.wait_for(|now| now != target && *now != Target::Nobody);
        let deadline = Instant::now() + Duration::from_millis(pause_ms);
        let _ = timeout_at(deadline, changed).await;
    }

    /// Makes a call at `target`, with `here` when that is this process.
    pub(super) async fn call(
        &self,
        target: &Target,
        here: &mut Routes,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Unanswered> {
        let edge = match target {
            Target::Nobody => {
                return Err(Unanswered {
                    fate: Fate::NotTaken,
                    why: "nobody leads".to_owned(),
                });
            }
            Target::Here => {
                return match here.call(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                };
            }
            Target::At(edge) => edge,
        };
        let mut channel = self
            .shared
            .pool
            .channel(edge, self.shared.group)
            .map_err(|failure| Unanswered {
                fate: Fate::NotTaken,
                why: failure.message,
            })?;
        let hops = HeaderValue::from(hops(&request).saturating_add(1));
        request.headers_mut().insert(HOPS, hops);
        if let Some(group) = &self.shared.data_group {
            let headers = request.headers_mut();
            headers.insert(data_group::HEADER, group.clone());
        }
        let calling = async {
            poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(request).await
        };
        calling.await.map_err(|error| {
            self.shared.doubt.notify_one();
            let fate = Fate::of_error(&error);
            tracing::debug!(edge, %error, ?fate, "the leader could not be asked");
            Unanswered {
                fate,
                why: format!("{edge}: {error}"),
            }
        })
    }

    /// To be called when an answer shows that the leader is somewhere else.
    pub(super) fn doubted(&self) {
        self.shared.doubt.notify_one();
    }
}

/// How often a request has been passed on.
pub(super) fn hops(request: &Request<Body>) -> u32 {
    let hops = request.headers().get(HOPS);
    hops.map_or(0, |hops| {
        let hops = hops.to_str().ok().and_then(|hops| hops.parse().ok());
        // Whatever else stands there did not come from a node.
        hops.unwrap_or(HOPS_MAX)
    })
}

/// Whether a request may be passed on once more.
pub(super) fn may_pass(request: &Request<Body>) -> bool {
    hops(request) < HOPS_MAX
}
