//! Reading an answer's body at a pace and up to a most.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::{Instant, timeout};

use super::fault::Fault;

/// What has to come within the time for a stall, in bytes: one byte a second holds everything up
/// as well as silence does.
pub(super) const PACE: usize = 16 << 10;

/// The body of an answer.
pub(super) struct Body {
    answer: Response,
    stall: Duration,
    /// What was waited for, and came, since enough had come the last time. Time in which nobody
    /// asks does not count.
    waited: Duration,
    came: usize,
}

impl Body {
    pub(super) fn new(answer: Response, stall: Duration) -> Self {
        Self { answer, stall, waited: Duration::ZERO, came: 0 }
    }

    /// The next piece, which is never empty; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let asked = Instant::now();
            let left = self.stall.saturating_sub(self.waited);
            let piece = timeout(left, self.answer.chunk()).await.map_err(|_| Fault::Stalled)??;
            self.waited += asked.elapsed();
            self.came += piece.as_ref().map_or(0, Bytes::len);
            if self.came >= PACE {
                (self.waited, self.came) = (Duration::ZERO, 0);
            }
            if piece.as_ref().is_none_or(|piece| !piece.is_empty()) {
                return Ok(piece);
            }
        }
    }

    /// All of it; `None` where it is more than the most.
    pub(super) async fn read(&mut self, most: usize) -> Result<Option<Vec<u8>>, Fault> {
        if self.answer.content_length().is_some_and(|length| length > most as u64) {
            return Ok(None);
        }
        let mut all = Vec::new();
        while let Some(piece) = self.next().await? {
            if all.len() + piece.len() > most {
                return Ok(None);
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all))
    }
}
