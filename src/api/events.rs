//! Server-sent events (HTML standard, "Server-sent events"): how they are asked for and written.

use std::time::Duration;

use actix_web::http::header::{Accept, CACHE_CONTROL, Header, Quality};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::Stream;
use serde::Serialize;

use super::{Code, Problem};
use crate::execution::transcript::Position;

/// Between two signs of life, at most: whatever stands between us and the client must not think
/// that the connection is idle.
pub(super) const BEAT: Duration = Duration::from_secs(15);
/// What keeps a connection alive: a comment, which no client sees.
pub(super) const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// The id of an execution's last event.
pub(super) const LAST: &str = "end";

/// Whether the client asks for events by name.
pub(super) fn wanted(request: &HttpRequest) -> bool {
    let Ok(Accept(accepted)) = Accept::parse(request) else { return false };
    accepted.iter().any(|range| {
        range.item.essence_str() == "text/event-stream" && range.quality > Quality::ZERO
    })
}

/// One event.
pub(super) fn event(name: &str, data: &impl Serialize) -> Bytes {
    write(name, None, data)
}

/// One event with an id, by which a client can come back for what follows it.
pub(super) fn event_with_id(name: &str, id: &str, data: &impl Serialize) -> Bytes {
    write(name, Some(id), data)
}

fn write(name: &str, id: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut event = format!("event: {name}\n").into_bytes();
    if let Some(id) = id {
        event.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    event.extend_from_slice(b"data: ");
    // Texts and numbers can always be written, and JSON has no line ends of its own.
    let _ = serde_json::to_writer(&mut event, data);
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// The response that the events are.
pub(super) fn response<E>(events: impl Stream<Item = Result<Bytes, E>> + 'static) -> HttpResponse
where
    E: Into<Box<dyn std::error::Error>> + 'static,
{
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // A proxy that collects answers would hold every event back (nginx's own word for it).
        .insert_header(("x-accel-buffering", "no"))
        .streaming(events)
}

/// Where a client goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// From the first event.
    Start,
    /// Behind this output of both streams.
    Behind(Position),
    /// There is nothing behind the last event.
    Over,
}

impl Resume {
    /// What the client's `Last-Event-ID` says.
    ///
    /// # Errors
    /// 400 for what is none of our ids.
    pub(crate) fn asked(request: &HttpRequest) -> Result<Self, Problem> {
        let Some(id) = request.headers().get("last-event-id") else { return Ok(Self::Start) };
        let unknown = || {
            let detail = "this is the id of no event of an execution";
            Problem::field(Code::InvalidRequest, "Last-Event-ID", detail)
        };
        match id.to_str() {
            Ok("") => Ok(Self::Start),
            Ok(LAST) => Ok(Self::Over),
            Ok(id) if id.bytes().all(|byte| byte.is_ascii_digit()) => {
                id.parse().map(Self::Behind).map_err(|_| unknown())
            }
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_lines_of_its_own() {
        let data = json!({"content": "a\nb\r\n\u{2028}"});
        assert_eq!(
            event_with_id("stdout", "7", &data),
            "event: stdout\nid: 7\ndata: {\"content\":\"a\\nb\\r\\n\u{2028}\"}\n\n"
        );
        assert_eq!(event("done", &json!({})), "event: done\ndata: {}\n\n");
    }

    #[rstest]
    #[case(None, false)]
    #[case(Some("text/event-stream"), true)]
    #[case(Some("application/json, text/event-stream;q=0.5"), true)]
    #[case(Some("text/event-stream;q=0"), false)]
    #[case(Some("*/*"), false)]
    fn events_are_asked_for_by_name(#[case] accept: Option<&'static str>, #[case] wants: bool) {
        let mut request = TestRequest::get();
        if let Some(accept) = accept {
            request = request.insert_header(("accept", accept));
        }
        assert_eq!(wanted(&request.to_http_request()), wants);
    }

    #[rstest]
    #[case(None, Some(Resume::Start))]
    #[case(Some(""), Some(Resume::Start))]
    #[case(Some("0"), Some(Resume::Behind(0)))]
    #[case(Some("12"), Some(Resume::Behind(12)))]
    #[case(Some("end"), Some(Resume::Over))]
    #[case(Some("-1"), None)]
    #[case(Some("x"), None)]
    #[case(Some("18446744073709551616"), None)]
    fn a_client_goes_on_where_it_was(
        #[case] id: Option<&'static str>,
        #[case] resume: Option<Resume>,
    ) {
        let mut request = TestRequest::get();
        if let Some(id) = id {
            request = request.insert_header(("last-event-id", id));
        }
        assert_eq!(Resume::asked(&request.to_http_request()).ok(), resume);
    }
}
