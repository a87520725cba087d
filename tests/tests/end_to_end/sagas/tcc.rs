use std::time::Duration;

use outrigger_sdk::saga::Status;
use outrigger_tests::participant::{Answer, Participant};
use serde_json::json;

use super::shop::define;
use crate::harness::Bench;

fn booking(hotel: &Participant, flight: &Participant) -> String {
    let step = |name: &str, at: &Participant| {
        let (try_, confirm, cancel) = (at.url("try"), at.url("confirm"), at.url("cancel"));
        format!(
            "  - name: {name}\n    try: {{ http: \"{try_}\" }}\n    confirm: {{ http: \"{confirm}\" }}\n    cancel: {{ http: \"{cancel}\" }}\n"
        )
    };
    let (hotel, flight) = (step("hotel", hotel), step("flight", flight));
    format!("name: booking\nmode: tcc\nsteps:\n{hotel}{flight}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tries_are_all_confirmed_or_all_cancelled() {
    let bench = Bench::start();
    let hotel = Participant::start().await.expect("a port");
    let flight = Participant::start().await.expect("a port");
    let sagas = bench.client().await.sagas();
    define(&sagas, &booking(&hotel, &flight)).await;
    let start = |id: &str| {
        sagas
            .start(id, "booking", &json!({}))
            .wait(Duration::from_secs(30))
    };

    let booked = start("one").await.expect("started");
    assert_eq!(booked.status, Status::Completed, "{booked:?}");
    for participant in [&hotel, &flight] {
        assert_eq!(participant.done("try"), 1);
        assert_eq!(participant.done("confirm"), 1);
        assert_eq!(participant.done("cancel"), 0);
        assert_eq!(participant.calls("confirm")[0].phase, "confirm");
    }

    flight.answer("try", Answer::Refused("no seat"));
    let cancelled = start("two").await.expect("started");
    assert_eq!(cancelled.status, Status::Undone, "{cancelled:?}");
    assert_eq!((hotel.done("try"), hotel.done("cancel")), (2, 1));
    assert_eq!((hotel.done("confirm"), flight.done("confirm")), (1, 1));
}
