//! A client that asks for one thing after another on a Consume stream, and reads nothing until
//! it is told to.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use outrigger_proto::v1;
use prost::Message as _;
use tonic::{
    Streaming,
    body::Body,
    codec::{Codec as _, Decoder},
    codegen::Service as _,
    service::Routes,
};
use tonic_prost::ProstCodec;

/// Everything that is ready has had its turn after so many.
const TURNS: usize = 20_000;

pub(crate) struct Unread {
    taken: Arc<AtomicU64>,
    response: Response<Body>,
}

impl Unread {
    /// Opens a stream, on which the server finds so many requests whenever it takes the next
    /// one. Their numbers begin with 1, and nothing in them can be settled but with an error at
    /// once: so no disk and no clock has a part in when they are answered.
    pub(crate) async fn open(mut routes: Routes, first: v1::ConsumeRequest, count: u64) -> Self {
        let taken = Arc::<AtomicU64>::default();
        let asked = Arc::clone(&taken);
        let requests = (0..=count).map(move |request_id| {
            asked.store(request_id, Ordering::SeqCst);
            let settle = v1::ConsumeRequest {
                request_id,
                acks: vec![Bytes::from_static(b"none")],
                ..Default::default()
            };
            let request = if request_id == 0 { &first } else { &settle };
            Ok::<_, Infallible>(Frame::data(framed(request)))
        });
        let request = Request::post("/outrigger.v1.Consumer/Consume")
            .header("content-type", "application/grpc")
            .body(Body::new(StreamBody::new(stream::iter(requests))))
            .unwrap();
        let response = routes.call(request).await.unwrap();
        Self { taken, response }
    }

    /// How many requests the server has taken when it takes no more of them. For a test whose
    /// runtime has one thread: everybody else goes on for as long as he can.
    pub(crate) async fn taken(&self) -> u64 {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        self.taken.load(Ordering::SeqCst)
    }

    /// Reads to the end: the numbers of all requests that have a result, in order.
    pub(crate) async fn read(self) -> Vec<u64> {
        let decoder = ProstCodec::<v1::ConsumeRequest, v1::ConsumeResponse>::default().decoder();
        let mut responses = streaming(decoder, self.response.into_body());
        let mut results = Vec::new();
        while let Some(response) = responses.message().await.unwrap() {
            results.extend(response.results.iter().map(|result| result.request_id));
        }
        results
    }
}

fn streaming<D>(decoder: D, body: Body) -> Streaming<v1::ConsumeResponse>
where
    D: Decoder<Item = v1::ConsumeResponse, Error = tonic::Status> + Send + 'static,
{
    Streaming::new_response(decoder, body, StatusCode::OK, None, None)
}

/// As it is sent: not compressed, its length, and itself.
fn framed(request: &v1::ConsumeRequest) -> Bytes {
    let encoded = request.encode_to_vec();
    let mut framed = BytesMut::with_capacity(5 + encoded.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(encoded.len()).unwrap());
    framed.put_slice(&encoded);
    framed.freeze()
}
