//! Clients that never stop asking: as many as run, as wait, and some more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::seed;
use super::support::chance::Chance;
use super::support::metrics::Metrics;
use super::support::service::client;
use super::support::{Service, until};
use super::task::{Got, Sent, TIMEOUT, Task};

pub const RUNNING: usize = 4;
pub const WAITING: usize = 8;
/// One more than there is room for, so that new ones always arrive.
const CLIENTS: usize = RUNNING + WAITING + 1;

/// For a permit, by the service's setting.
pub const QUEUE: Duration = Duration::from_secs(10);
/// For a container and the start of the script in it, whatever has to be tried for that: constants
/// of the service's own.
const PREPARED: Duration = Duration::from_secs(30 + 10);
/// On top of any deadline.
pub const LATE: Duration = Duration::from_secs(1);
/// Between an answer that there is no room and the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// The settings of a service under load, with these of a test's own.
pub fn settings<'a>(own: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("MAX_CONCURRENT", "4"),
        ("QUEUE_LIMIT", "8"),
        ("QUEUE_TIMEOUT", "10"),
        ("POOL_SIZE", "3"),
        ("LOG_LEVEL", "info"),
    ];
    all.extend_from_slice(own);
    all
}

/// Until when a request must be answered, where the service itself may stand still for `extra`.
pub fn deadline(extra: Duration) -> Duration {
    QUEUE + PREPARED + TIMEOUT + LATE + extra
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Sent>>>,
    /// Dropped, it wakes those that pause.
    _pauses: Vec<Sender<()>>,
}

/// What the clients and their driver tell each other.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Right answers.
    right: AtomicUsize,
}

impl Load {
    /// `name` makes the ids of its requests.
    pub fn start(name: &str, address: SocketAddr, random: &mut Chance, extra: Duration) -> Self {
        let shared = Arc::<Shared>::default();
        let mut pauses = Vec::new();
        let clients = (0..CLIENTS).map(|number| {
            let (pause, paused) = channel();
            pauses.push(pause);
            let shared = Arc::clone(&shared);
            let seed = format!("{name}-{:x}-{number}", random.next());
            std::thread::spawn(move || ask(&seed, address, deadline(extra), &shared, &paused))
        });
        Self { clients: clients.collect(), shared, _pauses: pauses }
    }

    /// Waits until as many run and wait as may.
    pub fn full(&self, service: &Service) {
        until("as many to run and to wait as may", Duration::from_secs(30), || {
            let now = Metrics::of(service);
            let running = now.sample("oncebox_running") as usize;
            let waiting = now.sample("oncebox_queue_length") as usize;
            // A container is made for one of the four at any time.
            (running + 1 >= RUNNING && waiting + 1 >= WAITING).then_some(())
        });
    }

    /// Waits until one more of its requests has its right answer, or one will never have it.
    pub fn served(&self) {
        let right = || self.shared.right.load(Ordering::SeqCst);
        let before = right();
        until("a right answer for the load", deadline(Duration::ZERO), || {
            let given_up = self.clients.iter().any(JoinHandle::is_finished);
            (right() > before || given_up).then_some(())
        });
    }

    /// Sends no more, and waits for the answers to what was sent.
    pub fn stop(self) -> Vec<Sent> {
        let Self { shared, clients, _pauses } = self;
        shared.stop.store(true, Ordering::SeqCst);
        drop(_pauses);
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    }
}

fn ask(
    seed: &str,
    address: SocketAddr,
    deadline: Duration,
    shared: &Shared,
    paused: &Receiver<()>,
) -> Vec<Sent> {
    let mut random = seed::chance(seed);
    // A connection for each request, so that none is lost for what happened to another.
    let client = client().pool_max_idle_per_host(0).build().expect("a client");
    let mut all = Vec::new();
    while !shared.stop.load(Ordering::SeqCst) {
        let task = Task::new(format!("{seed}-{}", all.len()), &mut random);
        let sent = task.send(&client, address, deadline);
        all.push(sent);
        match all.last().map(|sent| &sent.got) {
            Some(Got::Right(_)) => {
                shared.right.fetch_add(1, Ordering::SeqCst);
            }
            Some(Got::Hang | Got::Wrong(_)) => break,
            _ => drop(paused.recv_timeout(PAUSE)),
        }
    }
    all
}
