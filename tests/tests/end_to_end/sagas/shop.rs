use outrigger::saga::definition_file;
use outrigger_sdk::saga::Client;
use outrigger_tests::participant::Participant;

use super::grpc::Points;

/// Stock and payments over HTTP, points over gRPC.
pub(super) struct Shop {
    pub(super) stock: Participant,
    pub(super) pay: Participant,
    pub(super) points: Points,
}

impl Shop {
    pub(super) async fn start() -> Self {
        Self {
            stock: Participant::start().await.expect("a port"),
            pay: Participant::start().await.expect("a port"),
            points: Points::start().await,
        }
    }
}

/// Reserve and debit, then charge.
pub(super) fn order(shop: &Shop) -> String {
    let (reserve, release) = (shop.stock.url("reserve"), shop.stock.url("release"));
    let (charge, refund) = (shop.pay.url("charge"), shop.pay.url("refund"));
    let points = shop.points.url();
    format!(
        r#"
name: order
steps:
  - name: reserve
    action: {{ http: "{reserve}", retry: {{ base_ms: 10 }} }}
    undo: {{ http: "{release}", retry: {{ base_ms: 10 }} }}
  - name: debit
    action: {{ grpc: {{ url: "{points}", operation: debit }} }}
    undo: {{ grpc: {{ url: "{points}", operation: credit }} }}
  - name: charge
    depends_on: [reserve, debit]
    action:
      http: "{charge}"
      input: {{ reservation: {{ $ref: "steps/reserve#/reservation", default: 0 }} }}
    undo: {{ http: "{refund}" }}
"#
    )
}

pub(super) async fn define(sagas: &Client, definition: &str) {
    let definition = definition_file::parse(definition).expect("a definition");
    sagas.define(&definition).await.expect("defined");
}
