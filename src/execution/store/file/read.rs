//! What is read from the tables, each time as it was at one moment.

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};
use uuid::Uuid;

use super::{DUE, FileStore, HEADS, KEYED, OWNED, PENDING, PIECES, RUNTIMES, closed, refused};
use crate::execution::store::StoreError;
use crate::execution::store::kept::Head;

fn read<T>(
    store: &FileStore,
    work: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    let database = store.database();
    let database = database.as_ref().ok_or_else(closed)?;
    let transaction = database.begin_read().map_err(|e| refused(e.into()))?;
    work(&transaction).map_err(refused)
}

pub(super) fn head(store: &FileStore, id: Uuid) -> Result<Option<Head>, StoreError> {
    one(store, |_| Ok(Some(id)))
}

pub(super) fn keyed(store: &FileStore, owner: &str, key: &str) -> Result<Option<Head>, StoreError> {
    one(store, |transaction| {
        let keyed = transaction.open_table(KEYED)?;
        Ok(keyed.get((owner, key))?.map(|id| Uuid::from_u128(id.value())))
    })
}

fn one(
    store: &FileStore,
    which: impl FnOnce(&ReadTransaction) -> Result<Option<Uuid>, redb::Error>,
) -> Result<Option<Head>, StoreError> {
    let found = read(store, |transaction| {
        let Some(id) = which(transaction)? else { return Ok(None) };
        let heads = transaction.open_table(HEADS)?;
        Ok(heads.get(id.as_u128())?.map(|packed| (id, packed.value().to_vec())))
    })?;
    let head = found.map(|(id, packed)| Head::unpack(id, &packed)).transpose()?;
    Ok(head.filter(|head| is_fresh(store, head)))
}

/// What is too old is gone for whoever asks, swept or not.
fn is_fresh(store: &FileStore, head: &Head) -> bool {
    head.ended.is_none_or(|ended| ended > store.too_old())
}

pub(super) fn pieces(store: &FileStore, id: Uuid, kind: u8) -> Result<Option<Vec<u8>>, StoreError> {
    read(store, |transaction| {
        let pieces = transaction.open_table(PIECES)?;
        let mut whole = None;
        for piece in pieces.range((id.as_u128(), kind, 0)..=(id.as_u128(), kind, u32::MAX))? {
            whole.get_or_insert_with(Vec::new).extend_from_slice(piece?.1.value());
        }
        Ok(whole)
    })
}

pub(super) fn list(
    store: &FileStore,
    owner: &str,
    before: Uuid,
    most: usize,
) -> Result<Vec<Head>, StoreError> {
    let packed = read(store, |transaction| {
        let (owned, heads) = (transaction.open_table(OWNED)?, transaction.open_table(HEADS)?);
        let mut found = Vec::new();
        for entry in owned.range((owner, 0)..(owner, before.as_u128()))?.rev() {
            if found.len() == most {
                break;
            }
            let id = entry?.0.value().1;
            if let Some(packed) = heads.get(id)?
                && let Ok(head) = Head::unpack(Uuid::from_u128(id), packed.value())
                && is_fresh(store, &head)
            {
                found.push(head);
            }
        }
        Ok(found)
    })?;
    Ok(packed)
}

pub(super) fn pending(store: &FileStore) -> Result<Vec<Uuid>, StoreError> {
    read(store, |transaction| {
        let pending = transaction.open_table(PENDING)?;
        let ids = pending.iter()?.map(|entry| Ok(Uuid::from_u128(entry?.0.value())));
        ids.collect()
    })
}

pub(super) fn due(store: &FileStore, most: usize) -> Result<Vec<(u64, Uuid)>, StoreError> {
    read(store, |transaction| {
        let due = transaction.open_table(DUE)?;
        let entries = due.iter()?.take(most).map(|entry| {
            let (time, id) = entry?.0.value();
            Ok((time, Uuid::from_u128(id)))
        });
        entries.collect()
    })
}

pub(super) fn runtimes(store: &FileStore) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    read(store, |transaction| {
        let runtimes = transaction.open_table(RUNTIMES)?;
        let entries = runtimes.iter()?.map(|entry| {
            let (name, packed) = entry?;
            Ok((name.value().to_owned(), packed.value().to_vec()))
        });
        entries.collect()
    })
}
