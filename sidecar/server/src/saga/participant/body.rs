use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It has more bytes than are taken.
    #[error("the answer is larger than {limit} bytes (response_bytes_max)")]
    TooLarge { limit: usize },
    /// The connection broke, or what came is not HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Reads a body of at most `limit` bytes to its end. One that announces more is not read
/// at all.
pub(super) async fn whole(mut body: Incoming, limit: usize) -> Result<Bytes, Error> {
    if body.size_hint().lower() > limit as u64 {
        return Err(Error::TooLarge { limit });
    }
    // Nearly every answer comes in one piece, which needs no copy.
    let first = next(&mut body).await?.unwrap_or_default();
    let mut all = BytesMut::new();
    let mut length = first.len();
    while let Some(piece) = next(&mut body).await? {
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&piece);
        length = all.len();
        if length > limit {
            return Err(Error::TooLarge { limit });
        }
    }
    if length > limit {
        return Err(Error::TooLarge { limit });
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// Reads the beginning of a body: all of it, if it has no more than `limit` bytes, so that
/// its connection can be used again.
pub(super) async fn beginning(mut body: Incoming, limit: usize) -> Result<Bytes, hyper::Error> {
    let mut all = BytesMut::new();
    while let Some(piece) = next(&mut body).await? {
        let room = limit - all.len();
        all.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if piece.len() > room {
            break;
        }
    }
    Ok(all.freeze())
}

/// The next piece that is not empty.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, hyper::Error> {
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            // Empty, or trailers.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}
