//! Receipts that say which data group has given them out.
//!
//! In front of what the data group's leader has made stands the number of the data group, in
//! two bytes. To clients a receipt is opaque bytes all the same.

use bytes::{BufMut as _, Bytes, BytesMut};
use tonic::Code;

use crate::edge::status::Failure;

/// Of the number in front.
const NUMBER_BYTES: usize = size_of::<u16>();

/// The receipt as clients get it.
pub(super) fn wrap(group: u32, receipt: &Bytes) -> Bytes {
    let mut wrapped = BytesMut::with_capacity(NUMBER_BYTES + receipt.len());
    // There are at most 64 data groups.
    wrapped.put_u16(u16::try_from(group).unwrap_or(u16::MAX));
    wrapped.put_slice(receipt);
    wrapped.freeze()
}

/// The data group, and the receipt as it knows it.
///
/// # Errors
///
/// When no data group of these has given it out.
pub(super) fn unwrap(receipt: &Bytes, groups: u32) -> Result<(u32, Bytes), Failure> {
    let (number, _) = receipt.split_first_chunk().ok_or_else(illegal)?;
    let group = u32::from(u16::from_be_bytes(*number));
    if group >= groups {
        return Err(illegal());
    }
    Ok((group, receipt.slice(NUMBER_BYTES..)))
}

fn illegal() -> Failure {
    let message = "the receipt is not one that Outrigger gave out";
    Failure::new(Code::InvalidArgument, "ILLEGAL_RECEIPT", message).with("field", "receipt")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_found_again_and_nothing_else() {
        let receipt = Bytes::from_static(b"a lease");
        for group in [0, 1, 63] {
            let wrapped = wrap(group, &receipt);
            assert_eq!(unwrap(&wrapped, 64), Ok((group, receipt.clone())));
        }
        assert!(unwrap(&wrap(3, &receipt), 3).is_err());
        assert!(unwrap(&Bytes::from_static(b"\0"), 64).is_err());
        assert!(unwrap(&Bytes::new(), 64).is_err());
    }
}
