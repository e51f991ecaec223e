//! Where a connection stands: what its stream and the requests on it tell each other.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use tokio::time::Instant;
use tracing::info;

use super::head::Head;
use crate::api::Code;
use crate::config::Timeouts;

/// Bytes a second that a client must take of an answer, over the time that it is waited for.
const SLOWEST: u64 = 16 * 1024;
/// What may come around a body, such as the sizes of its chunks: so much at least, and so many times
/// the body itself.
const AROUND: u64 = 256 * 1024;
const AROUND_TIMES: u64 = 8;
/// What may come behind a request while it is inside: a few more requests, none of them large.
const BEHIND: u64 = 64 * 1024;

/// One connection, seen by its stream and by the request that is inside.
#[derive(Debug)]
pub struct Connection {
    timeouts: Timeouts,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// When the phase began.
    since: Instant,
    head: Head,
    /// Bytes that came while the body did, and those of them that were the body.
    came: u64,
    body: u64,
    /// Bytes that came behind the request that is inside.
    behind: u64,
    writing: Writing,
    last: Last,
    /// Who reads, to be told of another deadline.
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has ever come.
    Silent,
    /// The last answer is over and nothing has come since.
    Idle,
    /// A head has begun.
    Head,
    /// A request is inside, and its body is not yet.
    Body,
    /// A request is inside with all that belongs to it.
    Inside,
    /// The answer was given before the body had been read; the rest of it is nobody's.
    Rest,
}

/// Whether another request may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    No,
    /// The one that is inside, or was, is the last one.
    This,
    /// Another one came all the same.
    Past,
}

/// How a client takes an answer.
#[derive(Debug, Default)]
struct Writing {
    /// It takes nothing, since then.
    blocked: Option<Instant>,
    /// How long it was waited for before.
    waited: Duration,
    /// What it took since it was first waited for.
    taken: u64,
}

/// Why a connection can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing more is heard from it, and nothing is said to it.
    Silence,
    /// The reason is told, as no answer has begun.
    Refused(Code),
}

/// The connection of a request; there is none where a test calls the service itself.
pub fn of(request: &HttpRequest) -> Option<&Rc<Connection>> {
    request.conn_data()
}

impl Connection {
    pub(super) fn new(timeouts: Timeouts) -> Rc<Self> {
        let state = State {
            phase: Phase::Silent,
            since: Instant::now(),
            head: Head::default(),
            came: 0,
            body: 0,
            behind: 0,
            writing: Writing::default(),
            last: Last::No,
            reader: None,
        };
        Rc::new(Self { timeouts, state: RefCell::new(state) })
    }

    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// A request comes in. It is over when what this returns is dropped. `None` when the one before
    /// it was the last: the connection ends, and nobody must answer.
    pub fn enter(self: &Rc<Self>, has_body: bool) -> Option<Inside> {
        let mut state = self.state.borrow_mut();
        if state.last != Last::No {
            state.last = Last::Past;
            let reader = state.reader.take();
            drop(state);
            reader.inspect(Waker::wake_by_ref);
            return None;
        }
        state.phase = if has_body { Phase::Body } else { Phase::Inside };
        (state.came, state.body, state.behind) = (0, 0, 0);
        state.writing = Writing::default();
        Some(Inside(Rc::clone(self)))
    }

    /// So much of the body has been read.
    pub fn took(&self, bytes: usize) {
        self.state.borrow_mut().body += bytes as u64;
    }

    /// The body has been read to its end.
    pub fn took_all(&self) {
        let mut state = self.state.borrow_mut();
        if state.phase == Phase::Body {
            state.phase = Phase::Inside;
        }
    }

    /// The request was answered, or its place is taken by another.
    pub(super) fn answered_early(&self) -> bool {
        self.state.borrow().phase == Phase::Rest
    }

    /// These bytes have come.
    pub(super) fn came(&self, bytes: &[u8]) -> Result<(), Over> {
        let mut state = self.state.borrow_mut();
        match state.phase {
            Phase::Silent | Phase::Idle => {
                // The first head's time began with the connection.
                if state.phase == Phase::Idle {
                    state.since = Instant::now();
                }
                (state.phase, state.head) = (Phase::Head, Head::default());
            }
            Phase::Body => state.came += bytes.len() as u64,
            Phase::Inside => state.behind += bytes.len() as u64,
            Phase::Head | Phase::Rest => {}
        }
        match state.phase {
            Phase::Head => state.head.read(bytes).map_err(Over::Refused),
            Phase::Body if state.came > AROUND + AROUND_TIMES * state.body => {
                Err(Over::Refused(Code::MalformedRequest))
            }
            Phase::Inside if state.behind > BEHIND => {
                info!("a client that sends on and on behind a request is cut off");
                Err(Over::Silence)
            }
            _ => Ok(()),
        }
    }

    /// Until when more must have come, and what it means if it has not. Whoever reads is woken up when
    /// that changes.
    pub(super) fn reading_until(&self, reader: &Waker) -> Option<(Instant, Over)> {
        let mut state = self.state.borrow_mut();
        state.reader = Some(reader.clone());
        let Timeouts { head, idle, .. } = self.timeouts;
        match state.phase {
            _ if state.last == Last::Past => Some((Instant::now(), Over::Silence)),
            Phase::Silent | Phase::Rest => Some((state.since + head, Over::Silence)),
            Phase::Idle => Some((state.since + idle, Over::Silence)),
            Phase::Head => Some((state.since + head, Over::Refused(Code::RequestTimeout))),
            // The body has a deadline where it is read, and an execution has its own.
            Phase::Body | Phase::Inside => None,
        }
    }

    /// The client has taken so much.
    pub(super) fn wrote(&self, bytes: usize) {
        let writing = &mut self.state.borrow_mut().writing;
        if let Some(since) = writing.blocked.take() {
            writing.waited += since.elapsed();
        }
        if !writing.waited.is_zero() {
            writing.taken += bytes as u64;
        }
    }

    /// The client takes nothing now: until when it must.
    pub(super) fn writing_until(&self) -> Instant {
        let writing = &mut self.state.borrow_mut().writing;
        let since = *writing.blocked.get_or_insert_with(Instant::now);
        let earned = Duration::from_millis(writing.taken * 1000 / SLOWEST);
        since + (self.timeouts.write + earned).saturating_sub(writing.waited)
    }
}

/// A request that is inside.
#[derive(Debug)]
pub struct Inside(Rc<Connection>);

impl Inside {
    /// No request is taken behind this one.
    pub fn is_last(&self) {
        self.0.state.borrow_mut().last = Last::This;
    }

    /// Some of the request is still to come.
    pub fn is_unread(&self) -> bool {
        self.0.state.borrow().phase == Phase::Body
    }

    /// The answer's body: the request is over when that is.
    pub fn until_sent(self, body: BoxBody) -> BoxBody {
        BoxBody::new(Answering { body, _inside: self })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        state.phase = if state.phase == Phase::Body { Phase::Rest } else { Phase::Idle };
        state.since = Instant::now();
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

struct Answering {
    body: BoxBody,
    _inside: Inside,
}

impl MessageBody for Answering {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use actix_web::body::to_bytes;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: Timeouts =
        Timeouts { head: SECOND, body: SECOND, write: Duration::from_secs(2), idle: SECOND };

    /// In how long more must have come, and what follows.
    fn reading(connection: &Connection) -> Option<(Duration, Over)> {
        let until = connection.reading_until(Waker::noop());
        until.map(|(until, over)| (until.saturating_duration_since(Instant::now()), over))
    }

    fn enter(connection: &Rc<Connection>, has_body: bool) -> Inside {
        connection.enter(has_body).expect("a place for it")
    }

    fn writing(connection: &Connection) -> Duration {
        connection.writing_until().saturating_duration_since(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_deadline() {
        let connection = Connection::new(TIMEOUTS);
        let half = SECOND / 2;
        advance(half).await;
        assert_eq!(reading(&connection), Some((half, Over::Silence)));
        assert_eq!(connection.came(b"POST / HT"), Ok(()));
        let late = Over::Refused(Code::RequestTimeout);
        assert_eq!(reading(&connection), Some((half, late)), "from the connection on");
        let inside = enter(&connection, true);
        assert!(inside.is_unread());
        assert_eq!(reading(&connection), None);
        connection.took_all();
        assert!(!inside.is_unread());
        assert_eq!(reading(&connection), None);
        let body = inside.until_sent(BoxBody::new("answer"));
        assert_eq!(to_bytes(body).await.ok(), Some(Bytes::from("answer")));
        advance(half).await;
        assert_eq!(reading(&connection), Some((half, Over::Silence)));
        assert_eq!(connection.came(b"G"), Ok(()));
        assert_eq!(reading(&connection), Some((SECOND, late)), "from its first byte on");
        advance(half).await;
        assert_eq!(connection.came(b"E"), Ok(()));
        assert_eq!(reading(&connection), Some((half, late)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_nobody_read_is_no_head_and_has_an_end() {
        let connection = Connection::new(TIMEOUTS);
        drop(enter(&connection, true));
        assert!(connection.answered_early());
        assert_eq!(connection.came(b"\n\n\n"), Ok(()));
        assert_eq!(reading(&connection), Some((SECOND, Over::Silence)));
        drop(enter(&connection, false));
        assert!(!connection.answered_early());
        let broken = Over::Refused(Code::MalformedRequest);
        assert_eq!(connection.came(b"\n"), Err(broken));
    }

    #[tokio::test(start_paused = true)]
    async fn more_around_a_body_than_it_needs_is_no_body() {
        let connection = Connection::new(TIMEOUTS);
        let piece = [0; 64 * 1024];
        let _inside = enter(&connection, true);
        for _ in 0..100 {
            connection.took(piece.len());
            assert_eq!(connection.came(&piece), Ok(()));
        }
        let _inside = enter(&connection, true);
        let refused = (0..100).position(|_| connection.came(&piece).is_err());
        assert_eq!(refused, Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_requests_may_come_behind_one_and_no_flood() {
        let connection = Connection::new(TIMEOUTS);
        for _ in 0..2 {
            let _inside = enter(&connection, false);
            assert_eq!(connection.came(&[0; BEHIND as usize]), Ok(()));
            assert_eq!(connection.came(b"\n"), Err(Over::Silence));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_must_take_its_answer_at_some_speed() {
        let connection = Connection::new(TIMEOUTS);
        let _inside = enter(&connection, false);
        // What goes off at once earns nothing.
        connection.wrote(1 << 20);
        assert_eq!(writing(&connection), 2 * SECOND);
        for _ in 0..100 {
            advance(SECOND).await;
            connection.wrote(SLOWEST as usize);
            assert_eq!(writing(&connection), 2 * SECOND, "as fast as it must be");
        }
        for left in [SECOND * 3 / 2, SECOND, SECOND / 2, Duration::ZERO] {
            advance(SECOND).await;
            connection.wrote(SLOWEST as usize / 2);
            assert_eq!(writing(&connection), left, "half as fast");
        }
        let _inside = enter(&connection, false);
        assert_eq!(writing(&connection), 2 * SECOND, "another answer");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_is_woken_up_for_its_next_deadline() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering};
        #[derive(Default)]
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let connection = Connection::new(TIMEOUTS);
        let woken = Arc::new(Woken::default());
        let inside = enter(&connection, false);
        assert!(connection.reading_until(&Arc::clone(&woken).into()).is_none());
        assert!(!woken.0.load(Ordering::SeqCst));
        drop(inside);
        assert!(woken.0.load(Ordering::SeqCst));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_comes_behind_the_last_one() {
        let connection = Connection::new(TIMEOUTS);
        let inside = enter(&connection, false);
        inside.is_last();
        drop(inside);
        assert_eq!(reading(&connection), Some((SECOND, Over::Silence)));
        assert!(connection.enter(false).is_none());
        assert_eq!(reading(&connection), Some((Duration::ZERO, Over::Silence)));
    }
}
