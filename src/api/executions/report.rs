//! What is said of executions that nobody may be waiting for: to the log, and to webhooks.

use super::document::ExecutionDocument;
use crate::api::RequestId;
use crate::api::record::Watched;
use crate::execution::admission::Caller;
use crate::execution::background::{Reporter, Watch};
use crate::execution::outcome::Outcome;
use crate::execution::request::Execution;
use crate::execution::store::kept::Head;
use crate::execution::{Executor, Failure};
use crate::telemetry::Trace;

/// Says it as the door says everything else.
pub struct Reports;

impl Reporter for Reports {
    fn watch(
        &self,
        executor: &Executor,
        head: &Head,
        execution: &Execution,
        caller: &Caller,
    ) -> Box<dyn Watch> {
        let request_id = RequestId::accept(&head.request_id).unwrap_or_default();
        let trace = head.trace.as_deref().and_then(Trace::read).unwrap_or_default();
        Box::new(Watched::begin(executor, execution, caller, trace, request_id))
    }

    fn document(&self, head: &Head, ended: &Result<Outcome, Failure>) -> Result<Vec<u8>, String> {
        ExecutionDocument::ended(head, ended).into_json().map_err(|e| format!("the document: {e}"))
    }
}

impl Watch for Watched {
    fn ended(self: Box<Self>, ended: &Result<Outcome, Failure>) {
        match ended {
            Ok(outcome) => drop((*self).ended(outcome)),
            Err(failure) => drop(self.failed(failure.clone())),
        }
    }
}
