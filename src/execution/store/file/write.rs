//! What is changed in the tables.

use redb::{ReadableTable, WriteTransaction};
use uuid::Uuid;

use super::{
    BODY, DUE, ENDED, FileStore, HEADS, KEYED, OWNED, PENDING, PIECE, PIECES, REQUEST, RUNTIMES,
};
use crate::execution::store::kept::{Head, Webhook};
use crate::execution::store::{Change, StoreError};

/// Those that go in one sweep, at most, so that a change does not wait for it too long.
const SWEPT: usize = 1000;

/// One change: `Ok(Err(_))` where it is refused and nothing was changed.
type Changed = Result<Result<(), StoreError>, redb::Error>;

pub(super) fn commit(
    store: &FileStore,
    changes: &[Change],
) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let growing = changes.iter().map(|change| match change {
        Change::Accept { request, .. } => request.as_ref().map_or(0, Vec::len) as u64,
        Change::End { body, .. } => body.as_ref().map_or(0, Vec::len) as u64,
        Change::Register(_, packed) => packed.len() as u64,
        Change::Begin(_) | Change::Tried(..) | Change::Forget(_) | Change::Unregister(_) => 0,
    });
    let takes = store.disk_takes(growing.sum());
    store.write(|transaction, bytes| {
        let limit = store.options.size_limit;
        let mut tables = Tables { transaction, bytes, limit, takes };
        changes.iter().map(|change| tables.change(change)).collect()
    })
}

pub(super) fn sweep(store: &FileStore) -> Result<(), StoreError> {
    let too_old = store.too_old();
    loop {
        let swept = store.write(|transaction, bytes| {
            let mut tables = Tables { transaction, bytes, limit: u64::MAX, takes: true };
            tables.sweep(too_old)
        })?;
        if swept < SWEPT {
            return Ok(());
        }
    }
}

struct Tables<'a> {
    transaction: &'a WriteTransaction,
    /// Of all executions.
    bytes: &'a mut u64,
    limit: u64,
    /// The disk has room for the changes.
    takes: bool,
}

impl Tables<'_> {
    fn change(&mut self, change: &Change) -> Changed {
        match change {
            Change::Accept { head, request } => self.accept(head, request.as_deref()),
            Change::Begin(id) => self.update(*id, |head| head.tries = head.tries.saturating_add(1)),
            Change::End { head, body } => self.end(head, body.as_deref()),
            Change::Tried(id, webhook) => self.tried(*id, webhook),
            Change::Forget(id) => self.forget(*id).map(Ok),
            Change::Register(name, packed) => self.register(name, packed),
            Change::Unregister(name) => {
                self.transaction.open_table(RUNTIMES)?.remove(&**name)?;
                Ok(Ok(()))
            }
        }
    }

    fn register(&mut self, name: &str, packed: &[u8]) -> Changed {
        if !self.takes {
            return Ok(Err(StoreError::NoRoom));
        }
        self.transaction.open_table(RUNTIMES)?.insert(name, packed)?;
        Ok(Ok(()))
    }

    fn accept(&mut self, head: &Head, request: Option<&[u8]>) -> Changed {
        let mut head = head.clone();
        let packed = match sized(&mut head, request) {
            Ok(packed) => packed,
            Err(error) => return Ok(Err(error)),
        };
        if !self.takes || !self.make_room(head.bytes)? {
            return Ok(Err(StoreError::NoRoom));
        }
        let id = head.id.as_u128();
        self.transaction.open_table(HEADS)?.insert(id, &*packed)?;
        self.transaction.open_table(OWNED)?.insert((&*head.owner, id), ())?;
        self.transaction.open_table(PENDING)?.insert(id, ())?;
        if let Some(key) = &head.key {
            self.transaction.open_table(KEYED)?.insert((&*head.owner, &*key.key), id)?;
        }
        self.put(head.id, REQUEST, request)?;
        *self.bytes += head.bytes;
        Ok(Ok(()))
    }

    fn end(&mut self, head: &Head, body: Option<&[u8]>) -> Changed {
        let Some(before) = self.head(head.id)? else {
            return Ok(Err(StoreError::Failed("it was forgotten before it ended".into())));
        };
        // How often it was begun was not told to whoever follows it.
        let mut head = Head { tries: before.tries, ..head.clone() };
        let packed = match sized(&mut head, body) {
            Ok(packed) => packed,
            Err(error) => return Ok(Err(error)),
        };
        let more = head.bytes.saturating_sub(before.bytes);
        if body.is_some() && !self.takes || !self.make_room(more)? {
            return Ok(Err(StoreError::NoRoom));
        }
        let id = head.id.as_u128();
        let ended = head.ended.unwrap_or_default();
        self.transaction.open_table(HEADS)?.insert(id, &*packed)?;
        self.transaction.open_table(PENDING)?.remove(id)?;
        self.transaction.open_table(ENDED)?.insert((ended, id), head.bytes)?;
        if let (Some(key), None) = (&before.key, &head.key) {
            self.release(&before.owner, &key.key, id)?;
        }
        if let Some(due) = head.webhook.as_ref().and_then(|webhook| webhook.due) {
            self.transaction.open_table(DUE)?.insert((due, id), ())?;
        }
        self.take(head.id, REQUEST)?;
        self.put(head.id, BODY, body)?;
        *self.bytes = self.bytes.saturating_sub(before.bytes) + head.bytes;
        Ok(Ok(()))
    }

    fn tried(&mut self, id: Uuid, webhook: &Webhook) -> Changed {
        let before = self.head(id)?.and_then(|head| head.webhook).and_then(|webhook| webhook.due);
        {
            let mut due = self.transaction.open_table(DUE)?;
            if let Some(before) = before {
                due.remove((before, id.as_u128()))?;
            }
            if let Some(next) = webhook.due {
                due.insert((next, id.as_u128()), ())?;
            }
        }
        self.update(id, |head| head.webhook = Some(webhook.clone()))
    }

    /// Changes numbers of a head, whose bytes stay counted as they are.
    fn update(&mut self, id: Uuid, update: impl FnOnce(&mut Head)) -> Changed {
        let Some(mut head) = self.head(id)? else { return Ok(Ok(())) };
        update(&mut head);
        match head.pack() {
            Ok(packed) => {
                self.transaction.open_table(HEADS)?.insert(id.as_u128(), &*packed)?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn sweep(&mut self, too_old: u64) -> Result<usize, redb::Error> {
        let mut swept = 0;
        while swept < SWEPT
            && let Some((ended, id)) = self.oldest()?
            && ended <= too_old
        {
            self.forget(id)?;
            swept += 1;
        }
        Ok(swept)
    }

    /// Whether there is room for so many bytes more, after the oldest have gone that have ended.
    fn make_room(&mut self, more: u64) -> Result<bool, redb::Error> {
        if more > self.limit {
            return Ok(false);
        }
        while self.bytes.saturating_add(more) > self.limit {
            match self.oldest()? {
                Some((_, id)) => self.forget(id)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn oldest(&self) -> Result<Option<(u64, Uuid)>, redb::Error> {
        let ended = self.transaction.open_table(ENDED)?;
        let first = ended.first()?.map(|(key, _)| key.value());
        Ok(first.map(|(ended, id)| (ended, Uuid::from_u128(id))))
    }

    fn forget(&mut self, id: Uuid) -> Result<(), redb::Error> {
        let Some(head) = self.head(id)? else { return Ok(()) };
        let key = id.as_u128();
        self.transaction.open_table(HEADS)?.remove(key)?;
        self.transaction.open_table(OWNED)?.remove((&*head.owner, key))?;
        self.transaction.open_table(PENDING)?.remove(key)?;
        if let Some(ended) = head.ended {
            self.transaction.open_table(ENDED)?.remove((ended, key))?;
        }
        if let Some(due) = head.webhook.and_then(|webhook| webhook.due) {
            self.transaction.open_table(DUE)?.remove((due, key))?;
        }
        if let Some(kept) = &head.key {
            self.release(&head.owner, &kept.key, key)?;
        }
        self.take(id, REQUEST)?;
        self.take(id, BODY)?;
        *self.bytes = self.bytes.saturating_sub(head.bytes);
        Ok(())
    }

    /// Gives a key back, unless another execution has it by now.
    fn release(&mut self, owner: &str, key: &str, id: u128) -> Result<(), redb::Error> {
        let mut keyed = self.transaction.open_table(KEYED)?;
        let is_its = keyed.get((owner, key))?.is_some_and(|holder| holder.value() == id);
        if is_its {
            keyed.remove((owner, key))?;
        }
        Ok(())
    }

    /// A head; one that can't be read stands for one that has nothing but its id.
    fn head(&self, id: Uuid) -> Result<Option<Head>, redb::Error> {
        let heads = self.transaction.open_table(HEADS)?;
        let packed = heads.get(id.as_u128())?;
        let unread = || Head { id, ..Head::default() };
        Ok(packed.map(|packed| Head::unpack(id, packed.value()).unwrap_or_else(|_| unread())))
    }

    fn put(&mut self, id: Uuid, kind: u8, whole: Option<&[u8]>) -> Result<(), redb::Error> {
        let Some(whole) = whole else { return Ok(()) };
        let mut pieces = self.transaction.open_table(PIECES)?;
        for (number, piece) in (0_u32..).zip(whole.chunks(PIECE)) {
            pieces.insert((id.as_u128(), kind, number), piece)?;
        }
        Ok(())
    }

    fn take(&mut self, id: Uuid, kind: u8) -> Result<(), redb::Error> {
        let mut pieces = self.transaction.open_table(PIECES)?;
        let of = (id.as_u128(), kind, 0)..=(id.as_u128(), kind, u32::MAX);
        Ok(pieces.retain_in(of, |_, _| false)?)
    }
}

/// Packs a head that knows how many bytes are kept with it.
fn sized(head: &mut Head, more: Option<&[u8]>) -> Result<Vec<u8>, StoreError> {
    head.bytes = u64::MAX;
    let whole = head.pack()?.len() + head.owner.len() + more.map_or(0, <[u8]>::len);
    head.bytes = whole as u64;
    head.pack()
}
