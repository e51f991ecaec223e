//! How many connections there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::api::Door;
use crate::execution::admission::Who;
use crate::telemetry::metrics::Connection;

/// To so many places there is one for a connection that is waited for although it gets none.
const PARTING: usize = 8;

/// The places for connections. One caller gets at most half of them, so that no one client takes
/// all.
pub(super) struct Slots {
    most: usize,
    open: Mutex<Open>,
    parting: Semaphore,
    door: web::Data<Door>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by: HashMap<Who, usize>,
}

impl Slots {
    pub(super) fn new(most: usize, door: web::Data<Door>) -> Arc<Self> {
        let parting = Semaphore::new(most.div_ceil(PARTING));
        Arc::new(Self { most, open: Mutex::default(), parting, door })
    }

    /// Leave to wait for a connection that gets no place, until it is dropped; there is little of it.
    pub(super) fn parting(&self) -> Option<SemaphorePermit<'_>> {
        self.parting.try_acquire().ok()
    }

    /// A place for a connection from this address, until it is dropped.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Slot> {
        let who = Who::at(address);
        // Behind a proxy is not one client.
        let most_of_one = match self.door.access.is_proxy(address) {
            true => self.most,
            false => self.most.div_ceil(2),
        };
        let mut open = self.open();
        let own = open.by.get(&who).copied().unwrap_or_default();
        if open.all >= self.most || own >= most_of_one {
            return None;
        }
        open.all += 1;
        open.by.insert(who.clone(), own + 1);
        drop(open);
        let counted = self.door.executor.metrics().http().connection();
        Some(Slot { slots: Arc::clone(self), who, _counted: counted })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
pub(super) struct Slot {
    slots: Arc<Slots>,
    who: Who,
    _counted: Connection,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        open.all -= 1;
        if let Some(own) = open.by.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                open.by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{Stage, door};

    #[tokio::test]
    async fn one_caller_takes_half_and_all_together_no_more_than_there_are() {
        let (stage, _running) = Stage::new();
        let slots = Slots::new(5, web::Data::new(door(stage)));
        let who = |last: u8| IpAddr::from([192, 0, 2, last]);
        let mut held: Vec<_> = (0..4).filter_map(|_| slots.take(who(1))).collect();
        assert_eq!(held.len(), 3);
        held.extend((0..3).filter_map(|_| slots.take(who(2))));
        assert_eq!(held.len(), 5);
        assert!(slots.take(who(3)).is_none());
        let text = slots.door.executor.metrics().encode();
        assert!(text.contains("oncebox_http_connections 5\n"), "{text}");
        drop(held);
        assert!(slots.take(who(1)).is_some());
        assert!(slots.open().by.is_empty() && slots.open().all == 0);
    }
}
