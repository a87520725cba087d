//! Single messages of gRPC: taken out of a request, and put into an answer.

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message;
use tonic::{Code, Status, body::Body};

use super::failure;
use crate::forward::{Framed, Frames, TooLong};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What came with a call besides its message.
pub(super) type Head = Request<()>;

/// Reads the one message of a request.
pub(super) async fn read(
    request: Request<Body>,
    bytes_max: usize,
) -> Result<(Head, Framed), Status> {
    let (parts, mut body) = request.into_parts();
    let mut frames = Frames::new(bytes_max);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            frames.push(&data);
        }
        if let Some(message) = frames.next().map_err(too_long)? {
            return Ok((Request::from_parts(parts, ()), message));
        }
    }
    Err(Status::internal("the request has no message"))
}

fn too_long(error: TooLong) -> Status {
    failure::too_long(error).into()
}

/// The encoded message.
pub(super) fn content(message: &Framed) -> Result<Bytes, Status> {
    message
        .content()
        .ok_or_else(|| Status::new(Code::Unimplemented, "compressed messages are not supported"))
}

/// Decodes a message.
pub(super) fn decode<M: Message + Default>(message: &Framed) -> Result<M, Status> {
    let content = content(message)?;
    M::decode(content).map_err(|error| Status::internal(error.to_string()))
}

/// The request again, with the message that was taken out.
pub(super) fn request(head: &Head, message: &Framed) -> Request<Body> {
    let data = Frame::data(message.bytes());
    let body = stream::iter([Ok::<_, Status>(data)]);
    head.clone().map(|()| Body::new(StreamBody::new(body)))
}

/// What came with a call whose metadata is known.
pub(super) fn head(metadata: tonic::metadata::MetadataMap) -> Head {
    let mut head = Request::new(());
    *head.headers_mut() = metadata.into_headers();
    head
}

/// For a call of our own to a data group, with the metadata and the deadline of the call that
/// it is made for.
pub(super) fn call<M>(head: &Head, message: M) -> tonic::Request<M> {
    let metadata = tonic::metadata::MetadataMap::from_headers(head.headers().clone());
    tonic::Request::from_parts(metadata, tonic::Extensions::default(), message)
}

/// The message of an answer.
pub(super) async fn answered<M: Message + Default>(
    response: Response<Body>,
    bytes_max: usize,
) -> Result<M, Status> {
    if let Some(refused) = Status::from_header_map(response.headers()) {
        return Err(refused);
    }
    let mut body = response.into_body();
    let mut frames = Frames::new(bytes_max);
    let mut message = None;
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                frames.push(&data);
                message = frames.next().map_err(too_long)?.or(message);
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                match Status::from_header_map(&trailers) {
                    Some(status) if status.code() != Code::Ok => return Err(status),
                    Some(_) | None => {}
                }
            }
        }
    }
    let message = message.ok_or_else(|| Status::internal("the answer has no message"))?;
    decode(&message)
}

/// An answer with one message.
pub(super) fn answer<M: Message>(message: &M) -> Response<Body> {
    let framed = Framed::new(&[message.encode_to_vec().into()]);
    let frames = [
        Ok::<_, Status>(Frame::data(framed.bytes())),
        Ok(Frame::trailers(ok())),
    ];
    with_body(Body::new(StreamBody::new(stream::iter(frames))))
}

/// An answer whose messages come out of `body`.
pub(super) fn with_body(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

/// The trailers of a call that went well.
pub(super) fn ok() -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])
}

/// The trailers of a call that is refused here.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Its text cannot be a header; the code alone says enough.
        trailers.insert(STATUS, HeaderValue::from(status.code() as i32));
    }
    trailers
}
