//! Reads a request's body: never more than allowed, never for longer than allowed.

use std::rc::Rc;
use std::time::Duration;

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::code::Code;
use super::connection::{self, Connection};
use super::problem::Problem;

/// For the whole body to arrive where no connection says how long.
const DEADLINE: Duration = Duration::from_secs(30);

/// The whole body, at most `most` bytes.
///
/// # Errors
/// 413 as soon as the cap is passed, 408 at the deadline, 415 for an encoded body, 400 for a broken
/// one.
pub(super) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    most: usize,
) -> Result<Bytes, Problem> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Problem::unsupported_media_type("the body must be sent as it is, not encoded"));
    }
    let announced = header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > most as u64) {
        return Err(Problem::body_too_large(most));
    }
    let connection = connection::of(request);
    let deadline = connection.map_or(DEADLINE, |connection| connection.timeouts().body);
    let collected = timeout(deadline, collect(payload, most, connection)).await;
    collected.unwrap_or_else(|_| {
        let seconds = deadline.as_secs_f64();
        let detail = format!("the request body did not arrive within {seconds} s");
        Err(Problem::new(Code::RequestTimeout, detail))
    })
}

async fn collect(
    mut payload: web::Payload,
    most: usize,
    connection: Option<&Rc<Connection>>,
) -> Result<Bytes, Problem> {
    let mut body = Whole::default();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| match e {
            PayloadError::Overflow => Problem::body_too_large(most),
            _ => Problem::new(Code::BrokenBody, "the request body broke off"),
        })?;
        if body.len() + chunk.len() > most {
            return Err(Problem::body_too_large(most));
        }
        if let Some(connection) = connection {
            connection.took(chunk.len());
        }
        body.push(chunk);
    }
    if let Some(connection) = connection {
        connection.took_all();
    }
    Ok(body.into_bytes())
}

/// Puts pieces together. The first is not copied, and most requests are one.
#[derive(Default)]
pub(super) struct Whole {
    first: Bytes,
    /// All of them, from the second on.
    joined: BytesMut,
}

impl Whole {
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
        } else if !piece.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.joined.reserve(first.len() + piece.len());
            self.joined.extend_from_slice(&first);
            self.joined.extend_from_slice(&piece);
        }
    }

    pub(super) fn into_bytes(self) -> Bytes {
        if self.joined.is_empty() { self.first } else { self.joined.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_make_up_the_whole_and_one_is_not_copied(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        ) {
            let pieces: Vec<_> = pieces.into_iter().map(Bytes::from).collect();
            let mut whole = Whole::default();
            for piece in &pieces {
                whole.push(piece.clone());
            }
            prop_assert_eq!(whole.len(), pieces.iter().map(Bytes::len).sum::<usize>());
            let bytes = whole.into_bytes();
            prop_assert_eq!(&*bytes, pieces.concat());
            let mut full = pieces.iter().filter(|piece| !piece.is_empty());
            if let (Some(only), None) = (full.next(), full.next()) {
                prop_assert_eq!(bytes.as_ptr(), only.as_ptr());
            }
        }
    }
}
