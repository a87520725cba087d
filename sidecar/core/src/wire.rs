//! Reading and writing the compact binary form of durable records: little-endian
//! integers and length-prefixed bytes.

use bytes::{Buf, BufMut as _, Bytes};

/// The bytes end before the record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short;

pub(crate) fn get_u8(from: &mut impl Buf) -> Result<u8, Short> {
    from.try_get_u8().map_err(|_| Short)
}

pub(crate) fn get_u16(from: &mut impl Buf) -> Result<u16, Short> {
    from.try_get_u16_le().map_err(|_| Short)
}

pub(crate) fn get_u32(from: &mut impl Buf) -> Result<u32, Short> {
    from.try_get_u32_le().map_err(|_| Short)
}

pub(crate) fn get_u64(from: &mut impl Buf) -> Result<u64, Short> {
    from.try_get_u64_le().map_err(|_| Short)
}

pub(crate) fn get_bytes(from: &mut Bytes) -> Result<Bytes, Short> {
    let length = get_u32(from)? as usize;
    if from.len() < length {
        return Err(Short);
    }
    Ok(from.split_to(length))
}

/// Writes at most 4 GiB - 1; every caller's limit is far below.
pub(crate) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.put_u32_le(length);
    to.put_slice(bytes.get(..length as usize).unwrap_or(bytes));
}
