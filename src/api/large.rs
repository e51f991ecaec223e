//! What is done differently where there are many bytes, so that one large request does not hold up
//! the others of its worker.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::problem::Problem;

/// From here on, work on so many bytes takes longer than handing it to another thread.
const LARGE: usize = 256 * 1024;
/// As much as the server's write buffer takes at a time.
const PIECE: usize = 32 * 1024;

/// Does work whose time grows with the bytes: at once where there are few, else beside the workers.
///
/// # Errors
/// 500 when the work panicked beside the workers.
pub(super) async fn work<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if bytes < LARGE {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Problem::internal(format!("work on {bytes} bytes: {e}")))
}

/// A response's body, given out in pieces: the server copies what it is given into its write
/// buffer, which would grow to the size of the whole.
pub(super) struct Pieces(Bytes);

impl Pieces {
    pub(super) fn of(body: Vec<u8>) -> Self {
        Self(body.into())
    }
}

impl MessageBody for Pieces {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let piece = self.0.len().min(PIECE);
        Poll::Ready((piece > 0).then(|| Ok(self.0.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use actix_web::body::to_bytes;
    use futures_util::StreamExt;
    use futures_util::stream::poll_fn;

    use super::*;

    #[actix_web::test]
    async fn only_much_work_leaves_the_worker() {
        let here = current().id();
        assert_eq!(work(LARGE - 1, || current().id()).await.ok(), Some(here));
        assert!(work(LARGE, || current().id()).await.is_ok_and(|there| there != here));
        let panicked = work(LARGE, || panic!("on purpose")).await;
        assert_eq!(
            panicked.map_err(|problem: Problem| problem.code.name()),
            Err::<(), _>("internal_error")
        );
    }

    #[actix_web::test]
    async fn pieces_are_small_and_make_up_the_whole() {
        let whole: Vec<u8> = (0..=255).cycle().take(2 * PIECE + 1).collect();
        let mut body = Pieces::of(whole.clone());
        let pieces = poll_fn(|cx| Pin::new(&mut body).poll_next(cx));
        let sizes: Vec<_> =
            pieces.map(|piece| piece.map_or(0, |bytes| bytes.len())).collect().await;
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        assert_eq!(to_bytes(Pieces::of(whole.clone())).await.ok().as_deref(), Some(&*whole));
    }
}
