//! From an id to what there is to say of an execution.

use std::sync::Arc;

use uuid::Uuid;

use super::Executions;
use super::task::{Task, Why};
use crate::execution::Failure;
use crate::execution::admission::Who;
use crate::execution::live::Live;
use crate::execution::store::StoreError;
use crate::execution::store::kept::{Head, unpack_outcome};
use crate::execution::transcript::Transcript;

/// An execution that is there.
#[derive(Debug, Clone)]
pub enum Found {
    Live(Arc<Task>),
    Kept(Box<Head>),
}

/// How far one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// So many are served before it; `None` while its image is looked for.
    Queued(Option<usize>),
    Running,
    Over,
}

impl Found {
    #[must_use]
    pub fn head(&self) -> Head {
        match self {
            Self::Live(task) => task.head(),
            Self::Kept(head) => (**head).clone(),
        }
    }

    #[must_use]
    pub fn now(&self) -> Now {
        match self {
            Self::Live(task) => task.now(),
            Self::Kept(_) => Now::Over,
        }
    }
}

impl Executions {
    /// An owner's execution; `None` where there is none, or it is somebody else's.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn find(&self, owner: &Who, id: Uuid) -> Result<Option<Found>, StoreError> {
        let owner = owner.to_string();
        let found = self.any(id).await?;
        Ok(found.filter(|found| match found {
            Found::Live(task) => task.head.owner == owner,
            Found::Kept(head) => head.owner == owner,
        }))
    }

    /// An owner's executions after the one with this id, the newest first, at most so many; and
    /// whether there are more.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list(
        &self,
        owner: &Who,
        after: Option<Uuid>,
        most: usize,
    ) -> Result<(Vec<Found>, bool), StoreError> {
        let owner = owner.to_string();
        let before = after.unwrap_or(Uuid::max());
        let read = self.keeper.read(move |store| store.list(&owner, before, most + 1));
        let mut heads = read.await?;
        let more = heads.len() > most;
        heads.truncate(most);
        let mut found = Vec::with_capacity(heads.len());
        for head in heads {
            found.extend(self.current(head).await?);
        }
        Ok((found, more))
    }

    /// Ends it before its time; one that is over stays as it is.
    pub fn cancel(&self, found: &Found) {
        if let Found::Live(task) = found {
            task.cancel(Why::Asked);
        }
    }

    /// The execution to follow, from its beginning on.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn live(&self, found: &Found) -> Result<Arc<Live>, StoreError> {
        let head = match found {
            Found::Live(task) => return Ok(Arc::clone(&task.live)),
            Found::Kept(head) => head,
        };
        if let Some(failure) = head.failure.clone() {
            let end = Arc::new(Err(Failure::from(failure)));
            return Ok(Arc::new(Live::over(Transcript::default(), end)));
        }
        let id = head.id;
        let read = self.keeper.read(move |store| {
            let body = store.body(id)?;
            let gone = || StoreError::Failed("its outcome is gone".into());
            unpack_outcome(id, &body.ok_or_else(gone)?)
        });
        let (outcome, transcript) = read.await?;
        Ok(Arc::new(Live::over(transcript, Arc::new(Ok(outcome)))))
    }

    /// The execution that an owner has asked for under a key.
    pub(super) async fn keyed(&self, owner: &str, key: &str) -> Result<Option<Found>, StoreError> {
        let (owner, key) = (owner.to_owned(), key.to_owned());
        match self.keeper.read(move |store| store.keyed(&owner, &key)).await? {
            Some(head) => self.holder(head).await,
            None => Ok(None),
        }
    }

    /// The execution that had a key when it was read; `None` where it has ended since and given the
    /// key back.
    pub(super) async fn holder(&self, head: Head) -> Result<Option<Found>, StoreError> {
        Ok(self.current(head).await?.filter(|found| found.head().key.is_some()))
    }

    /// What has been read, as it is now: it may have ended since.
    async fn current(&self, head: Head) -> Result<Option<Found>, StoreError> {
        match head.ended {
            Some(_) => Ok(Some(Found::Kept(Box::new(head)))),
            None => self.any(head.id).await,
        }
    }

    /// One that leaves the tasks is in the store by then.
    async fn any(&self, id: Uuid) -> Result<Option<Found>, StoreError> {
        if let Some(task) = self.tasks().get(&id) {
            return Ok(Some(Found::Live(Arc::clone(task))));
        }
        let head = self.keeper.read(move |store| store.head(id)).await?;
        Ok(head.map(|head| Found::Kept(Box::new(head))))
    }
}
