//! Calls with one request and one answer: kept, and repeated as far as that is harmless.

use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tonic::{Status, body::Body, service::Routes};

use super::{
    Forwarder, Repeat, Target,
    body::{self, KeptRequest},
    failure::{self, Fate},
    forwarder::Unanswered,
};

/// Makes a call until it is answered, or until it may not be repeated.
pub(super) async fn run(
    forwarder: &Forwarder,
    mut here: Routes,
    request: Request<Body>,
    repeat: Repeat,
) -> Response<Body> {
    let options = forwarder.options();
    let deadline = Instant::now() + Duration::from_millis(options.leader_wait_ms);
    let mut request = match KeptRequest::read(request, options.request_bytes_max).await {
        Ok(request) => request,
        // The client is gone.
        Err(status) => return status.into_http(),
    };
    let mut may_have_been_taken = false;
    let mut attempt = 0;
    while let Some(target) = forwarder.leader(deadline).await {
        let left = left(forwarder, &target, repeat);
        let made = make(forwarder, &target, &mut here, request.make(), left).await;
        let fate = match made {
            Ok(Attempt {
                fate: Fate::Answered,
                response,
            }) => return response,
            Ok(Attempt { fate, .. }) => fate,
            Err(_) if !request.may_be_out() => Fate::NotTaken,
            Err(Unanswered { fate, .. }) => fate,
        };
        forwarder.doubted();
        may_have_been_taken |= fate == Fate::Unknown;
        let may_repeat = match repeat {
            Repeat::Harmless => true,
            Repeat::NeverAfterSending => fate == Fate::NotTaken,
        };
        if !may_repeat || !request.is_kept() {
            break;
        }
        forwarder.pause(&target, attempt).await;
        attempt += 1;
        if Instant::now() >= deadline {
            break;
        }
    }
    failure::response(if may_have_been_taken {
        failure::outcome_unknown()
    } else {
        failure::no_leader(options.leader_wait_ms)
    })
}

/// Ends when it is no use to wait for an answer of `target` any longer: a leader that is cut
/// off, or stands still, would never answer. One that only stopped leading answers soon, and
/// its answer is worth something where a call may not be repeated.
async fn left(forwarder: &Forwarder, target: &Target, repeat: Repeat) {
    forwarder.left(target.clone()).await;
    match repeat {
        Repeat::Harmless => {}
        Repeat::NeverAfterSending => {
            let last_answer_ms = forwarder.options().last_answer_ms;
            tokio::time::sleep(Duration::from_millis(last_answer_ms)).await;
        }
    }
}

/// An attempt that was answered by somebody.
struct Attempt {
    fate: Fate,
    response: Response<Body>,
}

async fn make(
    forwarder: &Forwarder,
    target: &Target,
    here: &mut Routes,
    request: Request<Body>,
    left: impl Future<Output = ()>,
) -> Result<Attempt, Unanswered> {
    let whole = async {
        let response = forwarder.call(target, here, request).await?;
        if *target == Target::Here {
            // It cannot get lost on the way.
            return Ok((response, None));
        }
        let bytes_max = forwarder.options().response_bytes_max;
        body::whole(response, bytes_max)
            .await
            .map_err(|status: Status| Unanswered {
                fate: Fate::Unknown,
                why: status.to_string(),
            })
    };
    let (response, trailers) = tokio::select! {
        whole = whole => whole?,
        () = left, if *target != Target::Here => {
            return Err(Unanswered {
                fate: Fate::Unknown,
                why: "the leader has changed".to_owned(),
            });
        }
    };
    let fate = match Fate::of_headers(response.headers()) {
        Fate::Answered => trailers.map_or(Fate::Answered, |trailers| Fate::of_headers(&trailers)),
        fate => fate,
    };
    Ok(Attempt { fate, response })
}
