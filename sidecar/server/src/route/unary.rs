//! Calls that concern one data group: passed on as they came, and so are their answers.

use http::{Request, Response};
use outrigger_core::placement::TopicHome;
use tonic::{Status, body::Body};

use super::{admin, home::Home, router::Groups, wire};

/// Takes a call to its data group.
pub(super) async fn pass(
    groups: &Groups,
    home: Home,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    let (head, message) = wire::read(request, groups.options.request_bytes_max).await?;
    let content = wire::content(&message)?;
    match home.find(&content, &groups.placement) {
        TopicHome::One(group) => Ok(groups.way(group)?.ask(wire::request(&head, &message)).await),
        TopicHome::Every => admin::everywhere(groups, &head, &message).await,
    }
}
