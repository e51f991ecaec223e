//! Runtimes that come and go while the service runs, and the containers that wait for each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio_util::sync::DropGuard;
use tracing::warn;

use super::{MAX_REGISTERED, Name, Offered, Runtime};
use crate::execution::store::keeper::Keeper;
use crate::execution::store::kept::{pack_runtime, unpack_runtime};
use crate::execution::store::{Change, StoreError};
use crate::execution::{Executor, Rejection, RejectionCode};
use crate::registry::{ChosenBy, ImageError};

/// How many containers can wait here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// At all times, for runtimes and others.
    pub most: usize,
    /// That do so already, for others.
    pub others: usize,
}

/// The runtimes of a service.
pub struct Runtimes {
    executor: Arc<Executor>,
    keeper: Arc<Keeper>,
    room: Room,
    /// Names that somebody is changing, each with what is to wait for it.
    claimed: Mutex<HashMap<Name, usize>>,
    /// What waits for which runtime.
    waiting: Mutex<HashMap<Name, (Arc<Runtime>, DropGuard)>>,
    /// Where changes are made, whoever waits for them.
    tasks: Handle,
}

/// Why a runtime was not registered.
#[derive(Debug, thiserror::Error)]
pub enum NotRegistered {
    /// There is one of this name, or somebody is about to register it.
    #[error("there is a runtime of this name")]
    Exists,
    #[error("the operator's file has a runtime of this name")]
    InFile,
    #[error("as many runtimes as may be registered are")]
    TooMany,
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a runtime was not removed.
#[derive(Debug, thiserror::Error)]
pub enum NotRemoved {
    #[error("there is no such runtime")]
    NotFound,
    #[error("it is in the operator's file")]
    InFile,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Runtimes {
    /// Goes on with those that are kept, beside what the operator offers. To be called on the runtime
    /// that changes shall be made on.
    ///
    /// # Errors
    /// When what is kept can't be read.
    pub async fn open(
        executor: Arc<Executor>,
        keeper: Arc<Keeper>,
        offered: Offered,
        room: Room,
    ) -> Result<Arc<Self>, StoreError> {
        let runtimes = Self::new(executor, keeper, room);
        for (name, packed) in runtimes.keeper.read(|store| store.runtimes()).await? {
            match restored(&name, &packed) {
                Ok(runtime) => drop(runtimes.executor.catalogue().put(runtime)),
                Err(why) => warn!(runtime = name, why, "a runtime that was registered is gone"),
            }
        }
        runtimes.offer(offered);
        Ok(Arc::new(runtimes))
    }

    /// None yet, with room for eight containers that wait.
    #[cfg(test)]
    pub(crate) fn empty(executor: Arc<Executor>, keeper: Arc<Keeper>) -> Arc<Self> {
        Arc::new(Self::new(executor, keeper, Room { most: 8, others: 0 }))
    }

    fn new(executor: Arc<Executor>, keeper: Arc<Keeper>, room: Room) -> Self {
        let (claimed, waiting, tasks) = (Mutex::default(), Mutex::default(), Handle::current());
        Self { executor, keeper, room, claimed, waiting, tasks }
    }

    /// Takes what the operator offers in place of what he has offered so far.
    pub fn offer(&self, offered: Offered) {
        self.executor.catalogue().offer(offered);
        let now = self.executor.catalogue().now();
        for name in now.registered().keys() {
            if now.find(name.as_str()).is_some_and(|(_, by)| by == ChosenBy::Operator) {
                warn!(runtime = %name, "the operator's file stands above the one that is registered");
            }
        }
        self.follow();
    }

    /// Registers a runtime, for good.
    ///
    /// # Errors
    /// [`NotRegistered`]; nothing has changed then.
    pub async fn register(self: &Arc<Self>, runtime: Runtime) -> Result<(), NotRegistered> {
        self.executor.registry().allow(&runtime.image, ChosenBy::Request)?;
        self.executor.ceilings().hold(&runtime.limits)?;
        let claim = self.claim(&runtime)?;
        let packed = pack_runtime(&runtime)?;
        self.finish(async move {
            let Claim { runtimes, name } = &claim;
            runtimes.keeper.commit(Change::Register(name.to_string(), packed)).await?;
            runtimes.executor.catalogue().put(runtime);
            runtimes.follow();
            Ok(())
        })
        .await
    }

    /// Removes one that was registered; what runs in it goes on.
    ///
    /// # Errors
    /// [`NotRemoved`]; nothing has changed then.
    pub async fn remove(self: &Arc<Self>, name: &str) -> Result<(), NotRemoved> {
        let now = self.executor.catalogue().now();
        let (runtime, by) = now.find(name).ok_or(NotRemoved::NotFound)?;
        if by == ChosenBy::Operator {
            return Err(NotRemoved::InFile);
        }
        let claim = match self.claims().entry(runtime.name.clone()) {
            // Somebody else is faster.
            Entry::Occupied(_) => return Err(NotRemoved::NotFound),
            Entry::Vacant(place) => {
                let name = place.key().clone();
                place.insert(0);
                Claim { runtimes: Arc::clone(self), name }
            }
        };
        self.finish(async move {
            let Claim { runtimes, name } = &claim;
            runtimes.keeper.commit(Change::Unregister(name.to_string())).await?;
            runtimes.executor.catalogue().take(name);
            runtimes.follow();
            Ok(())
        })
        .await
    }

    /// What is begun is done, also when nobody waits for it any more.
    async fn finish<E: From<StoreError> + Send + 'static>(
        &self,
        change: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Result<(), E> {
        let done = self.tasks.spawn(change).await;
        done.unwrap_or_else(|e| Err(StoreError::Failed(format!("nobody wrote it: {e}")).into()))
    }

    /// Takes a name for a runtime that is to be registered, and room for what is to wait for it.
    fn claim(self: &Arc<Self>, runtime: &Runtime) -> Result<Claim, NotRegistered> {
        let mut claims = self.claims();
        let now = self.executor.catalogue().now();
        match now.find(runtime.name.as_str()) {
            Some((_, ChosenBy::Operator)) => return Err(NotRegistered::InFile),
            Some((_, ChosenBy::Request)) => return Err(NotRegistered::Exists),
            None if claims.contains_key(&runtime.name) => return Err(NotRegistered::Exists),
            None => {}
        }
        if now.registered().len() + claims.len() >= MAX_REGISTERED {
            return Err(NotRegistered::TooMany);
        }
        let waiting: usize = now.runtimes().map(|(runtime, _)| runtime.pool).sum();
        let waiting = waiting + claims.values().sum::<usize>();
        self.room.hold(runtime.pool, waiting)?;
        claims.insert(runtime.name.clone(), runtime.pool);
        Ok(Claim { runtimes: Arc::clone(self), name: runtime.name.clone() })
    }

    /// Has as many containers wait for each runtime as it says.
    fn follow(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.executor.catalogue().now();
        let is_same = |runtime: &Runtime| {
            now.find(runtime.name.as_str()).is_some_and(|(other, _)| **other == *runtime)
        };
        waiting.retain(|_, (runtime, _)| is_same(runtime));
        // Where nothing waits, nothing is taken either.
        for (runtime, by) in now.runtimes().filter(|_| self.room.most > 0) {
            if runtime.pool == 0 || waiting.contains_key(&runtime.name) {
                continue;
            }
            match self.executor.registry().allow(&runtime.image, by) {
                Ok(image) => {
                    let guard = self.executor.keep_for(runtime, image);
                    waiting.insert(runtime.name.clone(), (Arc::clone(runtime), guard));
                }
                Err(error) => warn!(runtime = %runtime.name, %error, "nothing waits of this image"),
            }
        }
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Name, usize>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Whether so many more can wait beside those that do for other runtimes.
    pub(super) fn hold(self, more: usize, for_runtimes: usize) -> Result<(), Rejection> {
        let refused = |code, detail| Err(Rejection { code, field: "pool", detail });
        let left = self.most.saturating_sub(self.others.saturating_add(for_runtimes));
        match (more, self.most) {
            (0, _) => Ok(()),
            (_, 0) => refused(
                RejectionCode::InvalidRequest,
                "nothing waits here, as POOL_SIZE says; leave it out".into(),
            ),
            (more, _) if more > left => refused(
                RejectionCode::LimitExceeded,
                format!(
                    "{more} is more than the {left} for which there is room beside what waits already"
                ),
            ),
            _ => Ok(()),
        }
    }
}

/// A name that nobody else can change meanwhile.
struct Claim {
    runtimes: Arc<Runtimes>,
    name: Name,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.runtimes.claims().remove(&self.name);
    }
}

fn restored(name: &str, packed: &[u8]) -> Result<Runtime, String> {
    let name = name.parse::<Name>().map_err(|e| e.to_string())?;
    unpack_runtime(name, packed).map_err(|e| e.to_string())
}
