//! Where a client of events goes on: what `Last-Event-ID` says.

use actix_web::http::header::HeaderValue;
use actix_web::test::TestRequest;

use super::one_line;
use crate::api::events::Resume;

pub fn check(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let asked = |value: HeaderValue| {
        let request = TestRequest::default().insert_header(("last-event-id", value));
        Resume::asked(&request.to_http_request())
    };
    match asked(value) {
        Ok(Resume::Start) => assert!(bytes.is_empty()),
        Ok(Resume::Over) => assert_eq!(bytes, b"end"),
        Ok(Resume::Behind(position)) => {
            let again = asked(position.to_string().parse().unwrap());
            assert_eq!(again.ok(), Some(Resume::Behind(position)));
            assert!(bytes.iter().all(u8::is_ascii_digit), "{}", bytes.escape_ascii());
        }
        Err(problem) => {
            assert_eq!(
                (problem.status().as_u16(), problem.field.as_deref()),
                (400, Some("Last-Event-ID"))
            );
            one_line(&problem.detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        twin::run("resume", 500, "end|[0-9+ -]{0,22}".prop_map(String::into_bytes), super::check);
    }
}
