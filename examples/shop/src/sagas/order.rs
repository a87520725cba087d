//! Takes orders: each is a saga with the order's id, so that one that is placed again is the
//! same.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use outrigger_sdk::{Client, saga};

use super::{
    Basket,
    definition::{ORDER, Participants},
};
use crate::{
    args::Mode,
    services::order::{Answer, Status},
};

/// How long a customer waits for the end before being told to ask again.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// How long the log may be away when the service starts.
const DEFINE_MAX: Duration = Duration::from_secs(120);
/// Customers try again by themselves.
const REPEAT_MAX: Duration = Duration::from_secs(5);

/// Keeps the definition, and takes orders.
pub(super) async fn api(
    client: &Client,
    mode: Mode,
    participants: &[SocketAddr],
) -> anyhow::Result<Router> {
    let sagas = client.sagas();
    let definition = Participants(participants).define(mode)?;
    let defining = sagas.clone().repeat_for(DEFINE_MAX);
    defining.define(&definition).await?;
    let sagas = Arc::new(sagas.repeat_for(REPEAT_MAX));
    Ok(Router::new()
        .route("/orders", post(place))
        .with_state(sagas))
}

async fn place(
    State(sagas): State<Arc<saga::Client>>,
    Json(basket): Json<Basket>,
) -> Result<(StatusCode, Json<Answer>), (StatusCode, String)> {
    let started = sagas.start(&basket.order_id, ORDER, &basket);
    let saga = match started.wait(WAIT_MAX).await {
        Ok(saga) => saga,
        Err(error) => return Err((StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
    };
    let answer = |code, status| Ok((code, Json(Answer { status })));
    match saga.status {
        saga::Status::Completed => answer(StatusCode::CREATED, Status::Committed),
        saga::Status::Undone => answer(StatusCode::CONFLICT, Status::Refused),
        // The customer asks again.
        status => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{status:?}"))),
    }
}
