//! What there is to say of an execution, in JSON.

use std::num::NonZero;

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};
use utoipa::ToSchema;

use crate::api::answer::Answer;
use crate::api::openapi::fields as schema;
use crate::api::problem::Document;
use crate::api::{Problem, RequestId};
use crate::execution::Failure;
use crate::execution::background::{Found, Now};
use crate::execution::outcome::Outcome;
use crate::execution::store::kept::Head;

/// One execution. Times are as in RFC 3339.
#[derive(Serialize, ToSchema)]
#[schema(as = Execution)]
pub(in crate::api) struct ExecutionDocument {
    /// UUIDv7 (RFC 9562).
    #[schema(format = Uuid)]
    id: String,
    #[schema(schema_with = schema::state)]
    state: &'static str,
    /// Of one that is queued: 1 is the next to be served; `null` while its image is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<usize>, minimum = 1)]
    position: Option<Option<usize>>,
    #[schema(format = DateTime)]
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, value_type = String, required = false)]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime, value_type = String, required = false)]
    ended: Option<String>,
    /// The answer of `POST /execute`, of one that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Answer, required = false)]
    result: Option<Answer>,
    /// Of one that has failed or was interrupted.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "problem")]
    #[schema(value_type = Document, required = false)]
    problem: Option<(Problem, RequestId)>,
}

/// The body of `GET /executions`.
#[derive(Serialize, ToSchema)]
#[schema(as = Executions)]
pub(in crate::api) struct Page {
    pub(super) executions: Vec<ExecutionDocument>,
    /// What to give as `after` for those that follow; `null` at the end.
    #[schema(required = true, format = Uuid)]
    pub(super) next: Option<String>,
}

fn problem<S: Serializer>(
    problem: &Option<(Problem, RequestId)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    problem.as_ref().map(|(problem, id)| problem.document(id)).serialize(serializer)
}

impl ExecutionDocument {
    /// With its result, where it has one.
    pub(super) fn whole(found: &Found, end: Option<&Result<Outcome, Failure>>) -> Self {
        let head = found.head();
        match end {
            Some(end) => Self::ended(&head, end),
            None => Self::open(&head, found.now()),
        }
    }

    /// One that has ended.
    pub(super) fn ended(head: &Head, end: &Result<Outcome, Failure>) -> Self {
        match end {
            Ok(outcome) => {
                let result = Some(Answer::from(outcome.clone()));
                Self { result, ..Self::new(head, "ended") }
            }
            Err(failure) => Self::failed(head, failure.clone()),
        }
    }

    /// The same without the result.
    pub(super) fn without_result(found: &Found, end: Option<crate::execution::live::End>) -> Self {
        let head = found.head();
        match (found, end.as_deref()) {
            (_, Some(Err(failure))) => Self::failed(&head, failure.clone()),
            (_, Some(Ok(_))) => Self::new(&head, "ended"),
            (Found::Live(_), None) => Self::open(&head, found.now()),
            (Found::Kept(_), None) => match head.failure.clone() {
                Some(failure) => Self::failed(&head, failure.into()),
                None => Self::new(&head, "ended"),
            },
        }
    }

    fn open(head: &Head, now: Now) -> Self {
        match now {
            Now::Queued(ahead) => {
                let position = Some(ahead.map(|ahead| ahead + 1));
                Self { position, ..Self::new(head, "queued") }
            }
            // It has ended since; whoever asks again will see how.
            Now::Running | Now::Over => Self::new(head, "running"),
        }
    }

    fn failed(head: &Head, failure: Failure) -> Self {
        let state = match failure {
            Failure::Cancelled => return Self::new(head, "cancelled"),
            Failure::Interrupted => "interrupted",
            _ => "failed",
        };
        let request_id = RequestId::accept(&head.request_id).unwrap_or_default();
        Self { problem: Some((failure.into(), request_id)), ..Self::new(head, state) }
    }

    fn new(head: &Head, state: &'static str) -> Self {
        Self {
            id: head.id.to_string(),
            state,
            position: None,
            created: time(head.created),
            started: head.started.map(time),
            ended: head.ended.map(time),
            result: None,
            problem: None,
        }
    }

    /// # Errors
    /// None that is known: the document is made of texts and numbers.
    pub(super) fn into_json(self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = Vec::with_capacity(512 + self.result.as_ref().map_or(0, Answer::room));
        serde_json::to_writer(&mut json, &self)?;
        Ok(json)
    }
}

/// As in RFC 3339, and always with three digits of a second, so that they sort as text.
const MILLIS: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second { decimal_digits: NonZero::new(3) })
    .encode();

/// Milliseconds since 1970.
fn time(millis: u64) -> String {
    let nanos = i128::from(millis) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok();
    time.and_then(|time| time.format(&Iso8601::<MILLIS>).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_text() {
        let times = [0, 1000, 1030, 1100, 1148, 253_402_300_799_999].map(time);
        assert_eq!(times[3], "1970-01-01T00:00:01.100Z");
        assert_eq!(times[5], "9999-12-31T23:59:59.999Z");
        assert!(times.is_sorted(), "{times:?}");
    }
}
