//! What is said of executions that nobody may be waiting for: to the log, and to webhooks.

use super::document::ExecutionDocument;
use crate::api::Problem;
use crate::api::record::{self, Watched};
use crate::execution::Failure;
use crate::execution::admission::Caller;
use crate::execution::background::{Reporter, Watch};
use crate::execution::outcome::Outcome;
use crate::execution::request::Execution;
use crate::execution::store::kept::{AskedBy, Head};

/// Says it as the door says everything else.
pub struct Reports;

impl Reporter for Reports {
    fn watch(&self, head: &Head, execution: &Execution, _caller: &Caller) -> Box<dyn Watch> {
        let watched = Watched::begin(execution.id, head.request_id.clone());
        Box::new(Line { watched, request_id: head.request_id.clone(), asked_by: head.asked_by })
    }

    fn document(&self, head: &Head, ended: &Result<Outcome, Failure>) -> Result<Vec<u8>, String> {
        ExecutionDocument::ended(head, ended).into_json().map_err(|e| format!("the document: {e}"))
    }
}

struct Line {
    watched: Watched,
    request_id: String,
    asked_by: AskedBy,
}

impl Watch for Line {
    fn ended(self: Box<Self>, ended: &Result<Outcome, Failure>) {
        match ended {
            Ok(outcome) => self.watched.ended(outcome),
            Err(failure) => {
                self.watched.refused();
                // Whoever waits for the answer has a line of his own.
                if self.asked_by == AskedBy::Executions {
                    record::problem(&self.request_id, &Problem::from(failure.clone()));
                }
            }
        }
    }
}
