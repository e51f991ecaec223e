//! Frames between the service and the guest.
//!
//! A frame is one kind byte, the payload's length as a little-endian `u32`, and the payload.
//! [`Order`] frames travel to the guest, [`Report`] frames travel back. Everything is length
//! checked on both sides: the guest shares its container with a stranger's script, so the service
//! treats what it reads as hostile.

mod codec;
mod order;
mod posture;
mod report;

pub use codec::{Malformed, Reader, Writer};
pub use order::{Job, Order, Prestart};
pub use posture::{CgroupLimits, Posture};
pub use report::{Ended, Exit, Report, SkipReason, Usage};

/// Kind byte and length.
pub const HEADER_LEN: usize = 5;

/// Bytes of content in one [`Order::Data`], [`Report::Stdout`], [`Report::Stderr`] or
/// [`Report::Data`] frame, at most.
pub const CHUNK: usize = 64 * 1024;

/// The longest payload the guest accepts: args and environment travel in one frame.
pub const MAX_ORDER: usize = 4 * 1024 * 1024;

/// The longest payload the service accepts.
pub const MAX_REPORT: usize = CHUNK + 64;

/// Raised with every change of the format; the guest is embedded in the service, so the two only
/// differ when somebody pairs them by hand.
pub const VERSION: u16 = 2;

/// Splits a frame's header into its kind and payload length.
///
/// # Errors
/// A length above `max` is [`Malformed`].
pub fn header(bytes: [u8; HEADER_LEN], max: usize) -> Result<(u8, usize), Malformed> {
    let [kind, a, b, c, d] = bytes;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    if len > max {
        return Err(Malformed("frame longer than allowed"));
    }
    Ok((kind, len))
}

/// Appends one frame to `out`, its payload written by `body`.
pub(crate) fn frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Writer<'_>)) {
    out.push(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(&mut Writer::new(out));
    let len = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}
