//! From a request to an execution that outlives it.

use actix_web::{HttpMessage, HttpRequest, web};

use super::request_id;
use crate::api::execute::asked;
use crate::api::{Code, Door, Problem, access};
use crate::execution::background::{Accepted, Asked, NoWebhook, Refused};
use crate::execution::request::Execution;
use crate::execution::runtime::Names;
use crate::execution::store::kept::AskedBy;
use crate::telemetry::Trace;

const HEADER: &str = "idempotency-key";
/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// What a request asks for, read and valid.
pub(in crate::api) struct Asks(Asked);

impl Asks {
    /// Reads all of the request.
    ///
    /// # Errors
    /// 4xx with the field that is wrong.
    pub(in crate::api) async fn read(
        request: &HttpRequest,
        payload: web::Payload,
        door: &Door,
        asked_by: AskedBy,
    ) -> Result<Self, Problem> {
        let key = key(request)?;
        let trace = request.extensions().get::<Trace>().copied().unwrap_or_default();
        let (execution, names, more) = asked(request, payload, door.max_body).await?;
        if asked_by == AskedBy::Execute {
            more.refuse()?;
        }
        let webhook = more.webhook.map(|url| allowed(door, &url)).transpose()?;
        Ok(Self(Asked {
            execution,
            names,
            caller: access::caller(request),
            asked_by,
            request_id: request_id(request).as_str().to_owned(),
            trace: trace.written(),
            retry: more.retry_on_interrupt.unwrap_or(false),
            key,
            webhook,
        }))
    }

    /// Whether it has an idempotency key.
    pub(in crate::api) fn is_keyed(&self) -> bool {
        self.0.key.is_some()
    }

    /// The execution, for a request that lives as long, and what it calls by a name.
    pub(in crate::api) fn into_execution(self) -> (Execution, Names) {
        (self.0.execution, self.0.names)
    }

    /// Has it accepted.
    pub(super) async fn accept(self, door: &Door) -> Result<Accepted, Problem> {
        Ok(door.executions.accept(self.0).await?)
    }
}

/// The idempotency key of a request.
fn key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut keys = request.headers().get_all(HEADER);
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_graphic()));
    let text = text.filter(|text| (1..=MAX_KEY).contains(&text.len()));
    match (text, keys.next()) {
        (Some(text), None) => Ok(Some(text.to_owned())),
        _ => {
            let detail = "give one Idempotency-Key of 1 to 255 visible ASCII characters";
            Err(Problem::field(Code::InvalidIdempotencyKey, "Idempotency-Key", detail))
        }
    }
}

fn allowed(door: &Door, url: &str) -> Result<String, Problem> {
    let allowed = match door.executions.webhooks() {
        Some(webhooks) => webhooks.allow(url),
        None => Err(NoWebhook::NotListed),
    };
    allowed.map_err(|why| {
        let code = match why {
            NoWebhook::Invalid => Code::InvalidRequest,
            NoWebhook::NotListed => Code::WebhookNotAllowed,
        };
        Problem::field(code, "webhook", why.to_string())
    })
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Rejected(rejection) => rejection.into(),
            Refused::TooMany => Self::too_many_executions(),
            Refused::Conflict => {
                let detail = "this idempotency key was used for another request";
                Self::new(Code::IdempotencyConflict, detail)
            }
            Refused::Closing => Self::draining(),
            Refused::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn of(keys: &[&str]) -> Option<Option<String>> {
        let request = keys
            .iter()
            .fold(TestRequest::post(), |request, key| request.append_header((HEADER, *key)));
        key(&request.to_http_request()).ok()
    }

    #[test]
    fn a_key_is_one_visible_word() {
        assert_eq!(of(&[]), Some(None));
        let longest = "x".repeat(MAX_KEY);
        for good in ["a", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", "~!", &longest] {
            assert_eq!(of(&[good]), Some(Some(good.to_owned())));
        }
        for bad in [&[""][..], &["a b"], &["\u{e9}"], &["a", "a"], &[&"x".repeat(MAX_KEY + 1)]] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
