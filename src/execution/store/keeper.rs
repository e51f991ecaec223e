//! The thread that writes. Whoever waits for something to be written waits with all the others whose
//! changes went to the disk with his.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{Change, Store, StoreError};

/// Changes that go to the disk at once, at most.
const TOGETHER: usize = 256;
/// Between two looks at what is too old.
const SWEEP: Duration = Duration::from_secs(60);

/// Writes and reads beside the workers.
pub struct Keeper {
    store: Arc<dyn Store>,
    thread: Mutex<Option<Thread>>,
}

struct Thread {
    orders: Sender<Order>,
    handle: JoinHandle<()>,
}

struct Order {
    change: Change,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// A sentence, where there are no threads left.
    pub fn start(store: Arc<dyn Store>) -> Result<Self, String> {
        let (orders, taken) = channel();
        let of_thread = Arc::clone(&store);
        let handle = std::thread::Builder::new()
            .name("executions".into())
            .spawn(move || keep(&*of_thread, &taken))
            .map_err(|e| format!("no thread for the execution store: {e}"))?;
        Ok(Self { store, thread: Mutex::new(Some(Thread { orders, handle })) })
    }

    /// Makes a change; it is on the disk when this returns. It is made also when nobody waits.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed then.
    pub fn commit(
        &self,
        change: Change,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (done, written) = oneshot::channel();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            // A thread that is gone drops the order, and that is heard below.
            let _ = thread.orders.send(Order { change, done });
        }
        drop(thread);
        async move { written.await.unwrap_or_else(|_| Err(gone())) }
    }

    /// Reads.
    ///
    /// # Errors
    /// As the store says.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.store);
        let read = spawn_blocking(move || read(&*store)).await;
        read.unwrap_or_else(|e| Err(StoreError::Failed(format!("reading: {e}"))))
    }

    /// Bytes of all that is kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Writes what was asked for, and lets go of the store.
    pub async fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let store = Arc::clone(&self.store);
        let closing = spawn_blocking(move || {
            if let Some(Thread { orders, handle }) = thread {
                drop(orders);
                let _ = handle.join();
            }
            store.close();
        });
        if let Err(error) = closing.await {
            warn!(%error, "the execution store was not closed");
        }
    }
}

fn gone() -> StoreError {
    StoreError::Failed("it is closed".into())
}

fn keep(store: &dyn Store, orders: &Receiver<Order>) {
    let mut swept = Instant::now();
    loop {
        match orders.recv_timeout(SWEEP.saturating_sub(swept.elapsed())) {
            Ok(first) => {
                let more = orders.try_iter().take(TOGETHER - 1);
                write(store, std::iter::once(first).chain(more).collect());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if swept.elapsed() >= SWEEP {
            swept = Instant::now();
            if let Err(error) = store.sweep() {
                warn!(%error, "what is too old could not be removed");
            }
        }
    }
}

fn write(store: &dyn Store, orders: Vec<Order>) {
    let (changes, waiting): (Vec<_>, Vec<_>) =
        orders.into_iter().map(|Order { change, done }| (change, done)).unzip();
    let written = store.commit(&changes);
    let results = written.unwrap_or_else(|error| vec![Err(error); changes.len()]);
    for (done, result) in waiting.into_iter().zip(results) {
        // Not everybody waits.
        let _ = done.send(result);
    }
}
