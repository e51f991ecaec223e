//! The tables, in one file (redb), and what goes when.

mod read;
mod write;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use tracing::warn;
use uuid::Uuid;

use super::kept::Head;
use super::{Change, Place, Store, StoreError, StoreOptions};

/// Heads by their ids.
const HEADS: TableDefinition<u128, &[u8]> = TableDefinition::new("heads");
/// Requests and bodies in pieces: whose, which of the two, which piece.
const PIECES: TableDefinition<(u128, u8, u32), &[u8]> = TableDefinition::new("pieces");
/// Whose they are.
const OWNED: TableDefinition<(&str, u128), ()> = TableDefinition::new("owned");
/// Under which keys of their owners.
const KEYED: TableDefinition<(&str, &str), u128> = TableDefinition::new("keyed");
/// Those that have not ended.
const PENDING: TableDefinition<u128, ()> = TableDefinition::new("pending");
/// Those that have, by when, with their bytes.
const ENDED: TableDefinition<(u64, u128), u64> = TableDefinition::new("ended");
/// Whom to tell when.
const DUE: TableDefinition<(u64, u128), ()> = TableDefinition::new("due");
/// Runtimes by their names.
const RUNTIMES: TableDefinition<&str, &[u8]> = TableDefinition::new("runtimes");
/// Numbers about all of it.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

const VERSION: &str = "version";
/// Of this layout.
const THIS_VERSION: u64 = 1;
const BYTES: &str = "bytes";

const REQUEST: u8 = 0;
const BODY: u8 = 1;

/// A large value would need as many pages in a row, rounded up to a power of two; this one and its
/// key fit into 64 KiB.
const PIECE: usize = 63 * 1024;
/// Pages that are kept in memory.
pub(super) const CACHE: usize = 16 << 20;
/// A file that holds so many bytes more than twice what is in it is made smaller at the start.
const SLACK: u64 = 64 << 20;

/// Executions in a file, or in memory where there is no place for one.
#[derive(Debug)]
pub struct FileStore {
    place: Place,
    options: StoreOptions,
    /// `None` once it is closed.
    database: RwLock<Option<Database>>,
    bytes: AtomicU64,
    cut_short: bool,
}

impl FileStore {
    /// Opens what is there, or makes it.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open(place: Place, options: StoreOptions) -> Result<Self, String> {
        let (mut database, cut_short) = place.open()?;
        let unusable = |e: StoreError| format!("the execution store {place} can't be used: {e}");
        let bytes = prepare(&database).map_err(unusable)?;
        if place.size() > bytes.saturating_mul(2).saturating_add(SLACK) {
            // A file that stays large is no reason not to start.
            let _ = database.compact().map_err(|error| warn!(%error, "not compacted"));
        }
        let bytes = AtomicU64::new(bytes);
        Ok(Self { place, options, database: RwLock::new(Some(database)), bytes, cut_short })
    }

    /// Whoever used the file last had no time to close it.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.cut_short
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes in one transaction, durably. A database whose file has failed is opened anew, because
    /// it does nothing any more (redb's `PreviousIo`).
    fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction, &mut u64) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let mut bytes = self.bytes.load(Ordering::Relaxed);
        let written = {
            let database = self.database();
            let database = database.as_ref().ok_or_else(closed)?;
            transact(database, &mut bytes, work)
        };
        match written {
            Ok(done) => {
                self.bytes.store(bytes, Ordering::Relaxed);
                Ok(done)
            }
            Err(error) => {
                if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo) {
                    self.open_again();
                }
                Err(refused(error))
            }
        }
    }

    fn open_again(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // It has to be gone before the file can be locked again.
        drop(database.take());
        match self.place.open() {
            Ok((opened, _)) => *database = Some(opened),
            Err(why) => tracing::error!("{why}"),
        }
    }

    /// The end before which an execution is too old.
    fn too_old(&self) -> u64 {
        let ttl = u64::try_from(self.options.ttl.as_millis()).unwrap_or(u64::MAX);
        super::now().saturating_sub(ttl)
    }

    /// A disk that is nearly full is left alone: half-written is worse than refused.
    fn disk_takes(&self, bytes: u64) -> bool {
        /// For the pages that every change takes beside its bytes, and for all others on this disk.
        const MARGIN: u64 = 8 << 20;
        self.place.free().is_none_or(|free| free >= bytes.saturating_add(MARGIN))
    }
}

fn transact<T>(
    database: &Database,
    bytes: &mut u64,
    work: impl FnOnce(&WriteTransaction, &mut u64) -> Result<T, redb::Error>,
) -> Result<T, redb::Error> {
    let transaction = database.begin_write()?;
    let done = work(&transaction, bytes)?;
    transaction.open_table(NUMBERS)?.insert(BYTES, *bytes)?;
    transaction.commit()?;
    Ok(done)
}

/// Makes every table, so that none is missing when it is read; how many bytes are kept.
fn prepare(database: &Database) -> Result<u64, StoreError> {
    let prepare = || -> Result<Option<u64>, redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(HEADS)?;
        transaction.open_table(PIECES)?;
        transaction.open_table(OWNED)?;
        transaction.open_table(KEYED)?;
        transaction.open_table(PENDING)?;
        transaction.open_table(ENDED)?;
        transaction.open_table(DUE)?;
        transaction.open_table(RUNTIMES)?;
        let bytes = {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let version = numbers.get(VERSION)?.map_or(THIS_VERSION, |number| number.value());
            if version != THIS_VERSION {
                return Ok(None);
            }
            numbers.insert(VERSION, THIS_VERSION)?;
            numbers.get(BYTES)?.map_or(0, |number| number.value())
        };
        transaction.commit()?;
        Ok(Some(bytes))
    };
    let other = || StoreError::Failed("another version of Oncebox has written it".into());
    prepare().map_err(refused)?.ok_or_else(other)
}

fn closed() -> StoreError {
    StoreError::Failed("it is closed".into())
}

fn refused(error: redb::Error) -> StoreError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        redb::Error::Io(e) if matches!(e.kind(), StorageFull | QuotaExceeded) => StoreError::NoRoom,
        other => StoreError::Failed(other.to_string()),
    }
}

impl Store for FileStore {
    fn commit(&self, changes: &[Change]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        write::commit(self, changes)
    }

    fn sweep(&self) -> Result<(), StoreError> {
        write::sweep(self)
    }

    fn head(&self, id: Uuid) -> Result<Option<Head>, StoreError> {
        read::head(self, id)
    }

    fn body(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        read::pieces(self, id, BODY)
    }

    fn request(&self, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
        read::pieces(self, id, REQUEST)
    }

    fn list(&self, owner: &str, before: Uuid, most: usize) -> Result<Vec<Head>, StoreError> {
        read::list(self, owner, before, most)
    }

    fn keyed(&self, owner: &str, key: &str) -> Result<Option<Head>, StoreError> {
        read::keyed(self, owner, key)
    }

    fn pending(&self) -> Result<Vec<Uuid>, StoreError> {
        read::pending(self)
    }

    fn due(&self, most: usize) -> Result<Vec<(u64, Uuid)>, StoreError> {
        read::due(self, most)
    }

    fn runtimes(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        read::runtimes(self)
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn close(&self) {
        let database = self.database.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(database);
    }
}
