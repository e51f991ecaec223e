//! Who may come in: told apart by address, or by API key.

use actix_web::{HttpMessage, HttpRequest};

use crate::execution::admission::Caller;

/// Who sent this request.
pub(super) fn caller(request: &HttpRequest) -> Caller {
    let known = request.extensions().get::<Caller>().cloned();
    known.unwrap_or_else(|| {
        request.peer_addr().map_or(Caller::SERVICE, |peer| Caller::at(peer.ip()))
    })
}
