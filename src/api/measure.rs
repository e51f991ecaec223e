//! What every request passes outermost: it finds its place in a trace, and is counted and measured
//! until the last byte of its answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use bytes::Bytes;

use super::Door;
use crate::telemetry::Trace;
use crate::telemetry::metrics::Request;

const TRACEPARENT: &str = "traceparent";

/// Nothing stands outside of this.
pub async fn measure(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let trace = trace(&request);
    request.extensions_mut().insert(trace);
    let measured = request.app_data::<web::Data<Door>>().map(|door| {
        let http = door.executor.metrics().http();
        http.request(request.match_info().as_str(), request.method().as_str())
    });
    let response = next.call(request).await?;
    let Some(mut measured) = measured else { return Ok(response.map_into_boxed_body()) };
    measured.answered(response.status().as_u16());
    Ok(response.map_body(|_, body| Measured { body: body.boxed(), measured }.boxed()))
}

/// The caller's trace, or a new one where he names none, an invalid one, or several.
fn trace(request: &ServiceRequest) -> Trace {
    let mut named = request.headers().get_all(TRACEPARENT);
    match (named.next(), named.next()) {
        (Some(only), None) => only.to_str().ok().and_then(Trace::accept).unwrap_or_default(),
        _ => Trace::new(),
    }
}

/// An answer's body, which is measured until it is given out or dropped.
struct Measured {
    body: BoxBody,
    measured: Request,
}

impl MessageBody for Measured {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let next = Pin::new(&mut self.body).poll_next(cx);
        if let Poll::Ready(Some(Ok(bytes))) = &next {
            self.measured.sent(bytes.len());
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn one_valid_traceparent_is_taken_and_anything_else_is_not() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let valid = format!("00-{id}-b7ad6b7169203331-01");
        let of = |headers: &[&str]| {
            let request = headers.iter().fold(TestRequest::get(), |request, value| {
                request.append_header((TRACEPARENT, *value))
            });
            trace(&request.to_srv_request()).id().to_string()
        };
        assert_eq!(of(&[&valid]), id);
        for other in [&[][..], &["nonsense"], &[&valid, &valid], &["\u{e9}"]] {
            assert_ne!(of(other), id, "{other:?}");
        }
    }
}
