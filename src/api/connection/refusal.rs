//! Answers where there is no request to be answered: to what is no HTTP, to what comes too slowly,
//! and to a connection too many.

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue};

use crate::api::{Code, Door, Problem, RequestId, record, request_id};

/// A problem of this code as it goes over the wire, with its line in the log. The connection ends
/// with it.
pub(super) fn answer(door: &Door, code: Code) -> Vec<u8> {
    let (id, problem) = (RequestId::new(), problem(code));
    record::problem(id.as_str(), &problem);
    door.executor.metrics().refused(code.name());
    let mut response = problem.respond(&id);
    request_id::finish(response.headers_mut(), &id);
    written(response)
}

fn problem(code: Code) -> Problem {
    match code {
        Code::RequestTimeout => Problem::new(code, "the request's head did not arrive in time"),
        Code::HeadersTooLarge => {
            Problem::new(code, "there are too many headers, or too large ones")
        }
        Code::TooManyConnections => Problem::too_many_connections(),
        _ => Problem::new(code, "this is not HTTP/1.1 as it is read here"),
    }
}

fn written(response: HttpResponse) -> Vec<u8> {
    let (head, body) = response.into_parts();
    let status = head.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let body = body.try_into_bytes().unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    let mut header = |name: &HeaderName, value: &[u8]| {
        bytes.extend([name.as_str().as_bytes(), b": ", value, b"\r\n"].concat());
    };
    for (name, value) in head.headers() {
        header(name, value.as_bytes());
    }
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    header(&DATE, date.as_bytes());
    header(&CONNECTION, HeaderValue::from_static("close").as_bytes());
    header(&CONTENT_LENGTH, body.len().to_string().as_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

/// An answer that the server below gives by itself: where it begins in what is to be written, and
/// what it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) at: usize,
    pub(super) code: Code,
}

/// Finds it by its form: a refusal without a body, at the end. None of ours is without one, and
/// nothing of a script's stands in an answer with line ends of HTTP.
pub(super) fn own(bytes: &[u8]) -> Option<Own> {
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let begins = |at: &usize| bytes.get(*at..).is_some_and(|rest| rest.starts_with(b"HTTP/1.1 "));
    let at = (0..bytes.len()).rev().find(begins)?;
    let head = str::from_utf8(bytes.get(at..)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?;
    if !lines.any(|line| line == "content-length: 0") {
        return None;
    }
    let code = match status {
        "400" => Code::MalformedRequest,
        "431" => Code::HeadersTooLarge,
        _ => return None,
    };
    Some(Own { at, code })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str =
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\ndate: x\r\n\r\n";

    #[test]
    fn only_a_refusal_without_a_body_is_the_server_s_own() {
        let check = |text: &str| own(text.as_bytes()).map(|own| (own.at, own.code));
        assert_eq!(check(OWN), Some((0, Code::MalformedRequest)));
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let both = format!("{before}{OWN}");
        assert_eq!(check(&both), Some((before.len(), Code::MalformedRequest)));
        assert_eq!(check(&OWN.replace("400", "431")), Some((0, Code::HeadersTooLarge)));
        for other in [
            before,
            "",
            "\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n",
            &OWN[..OWN.len() - 1],
        ] {
            assert_eq!(check(other), None, "{other}");
        }
    }
}
