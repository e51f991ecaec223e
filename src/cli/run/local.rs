//! The script on this machine's own engine.

use std::io;

use tokio::join;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::Stopped;
use super::output::{Output, Piece, Relay};
use crate::api::Answer;
use crate::cli::image::why;
use crate::execution::request::Execution;
use crate::execution::{Failure, Rejection};
use crate::startup::Once;

/// Runs it and passes on what it prints, if that is asked for; the answer's document.
pub(super) async fn run(
    once: Once,
    execution: Execution,
    output: Option<&mut Output>,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, Stopped> {
    let (ended, passed) = match output {
        None => (once.run(execution, &Relay::silent(), cancel).await, Ok(())),
        Some(output) => {
            let (relay, pieces) = Relay::new();
            let run = async move { once.run(execution, &relay, cancel).await };
            // What is left of the container goes while whoever reads takes his time.
            join!(run, pass(pieces, output, cancel))
        }
    };
    passed?;
    match ended.map_err(Stopped::Failed)? {
        Ok(outcome) => {
            Answer::from(outcome).into_json().map_err(|e| Stopped::Failed(e.to_string()))
        }
        Err(Failure::Rejected(Rejection { field, detail, .. })) => {
            Err(Stopped::Usage(format!("{field}: {detail}")))
        }
        Err(Failure::Image(error)) => Err(Stopped::Failed(why(error))),
        Err(failure) => Err(Stopped::Failed(failure.to_string())),
    }
}

/// Writes what comes until nothing more does. When nobody reads it, the script need not go on.
async fn pass(
    mut pieces: UnboundedReceiver<Piece>,
    output: &mut Output,
    cancel: &CancellationToken,
) -> io::Result<()> {
    let write = async {
        while let Some((stream, bytes)) = pieces.recv().await {
            output.write(stream, &bytes).await?;
        }
        Ok(())
    };
    let written = cancel.run_until_cancelled(write).await.unwrap_or(Ok(()));
    if written.is_err() {
        cancel.cancel();
    }
    written
}
