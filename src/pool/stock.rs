//! What waits, what is wanted, and the budgets that bound both. Plain data behind one lock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::demand::Demand;
use super::slot::Slot;
use super::{Budget, Key, Recipe};

/// Kinds that are remembered, at most; past it those that nobody asks for are forgotten.
const KINDS: usize = 1024;
/// What a waiting container is counted with until one of its kind has said what it takes, in bytes.
pub const FIRST_GUESS: u64 = 16 << 20;

pub(super) struct Stock {
    kinds: HashMap<Key, Kind>,
    budget: Budget,
    /// What all seats together take of the budget.
    taken: Budget,
}

/// Everything about the containers of one key.
struct Kind {
    recipe: Arc<Recipe>,
    floor: usize,
    demand: Demand,
    waiting: VecDeque<Arc<Slot>>,
    /// Containers that wait or are being made to wait.
    seats: usize,
    /// Bytes that one takes while it waits.
    memory: u64,
}

impl Kind {
    fn new(recipe: &Recipe) -> Self {
        Self {
            recipe: Arc::new(recipe.clone()),
            floor: 0,
            demand: Demand::default(),
            waiting: VecDeque::new(),
            seats: 0,
            memory: FIRST_GUESS,
        }
    }

    fn cost(&self) -> Budget {
        Budget { memory: self.memory, pids: u64::from(self.recipe.spec.pids) }
    }
}

impl Stock {
    pub(super) fn new(budget: Budget) -> Self {
        Self { kinds: HashMap::new(), budget, taken: Budget::default() }
    }

    /// Somebody asks for a container of this kind.
    pub(super) fn asked(&mut self, key: &Key, recipe: &Recipe, now: Instant) {
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(key) {
            self.tidy(now);
        }
        if self.kinds.len() < KINDS || self.kinds.contains_key(key) {
            self.kind(key, recipe).demand.arrived(now);
        }
    }

    /// Forgets what nobody wants, and with it the hold on its image.
    pub(super) fn tidy(&mut self, now: Instant) {
        self.kinds.retain(|_, kind| kind.seats > 0 || kind.floor > 0 || !kind.demand.is_over(now));
    }

    /// Forgets what was asked for of an image; what waits of it is the caller's to end.
    pub(super) fn discard(&mut self, image: &str) -> Vec<Arc<Slot>> {
        let kinds =
            self.kinds.iter_mut().filter(|(key, kind)| key.image == image && kind.floor == 0);
        kinds
            .flat_map(|(_, kind)| {
                kind.demand = Demand::default();
                kind.waiting.drain(..)
            })
            .collect()
    }

    /// So many more of this kind are to wait at all times.
    pub(super) fn hold(&mut self, key: &Key, recipe: &Recipe, count: usize) {
        self.kind(key, recipe).floor += count;
    }

    /// The opposite of [`Stock::hold`].
    pub(super) fn release(&mut self, key: &Key, count: usize) {
        if let Some(kind) = self.kinds.get_mut(key) {
            kind.floor -= count;
        }
    }

    fn kind(&mut self, key: &Key, recipe: &Recipe) -> &mut Kind {
        self.kinds.entry(key.clone()).or_insert_with(|| Kind::new(recipe))
    }

    /// Takes a seat where one more container of this kind is wanted and within the budget.
    pub(super) fn seat(&mut self, key: &Key, now: Instant) -> bool {
        let Some(kind) = self.kinds.get_mut(key) else { return false };
        let taken = self.taken.and(kind.cost());
        let wanted = kind.seats < kind.demand.target(kind.floor, now);
        // Whatever a floor takes was held against the budget when the service started.
        let seat = wanted && (taken.within(self.budget) || kind.seats < kind.floor);
        if seat {
            kind.seats += 1;
            self.taken = taken;
        }
        seat
    }

    /// Whether a container that has a seat is still wanted there.
    pub(super) fn stays(&self, key: &Key, now: Instant) -> bool {
        self.kinds.get(key).is_some_and(|kind| kind.seats <= kind.demand.target(kind.floor, now))
    }

    pub(super) fn leave(&mut self, key: &Key) {
        if let Some(kind) = self.kinds.get_mut(key) {
            kind.seats -= 1;
            self.taken = self.taken.less(kind.cost());
        }
    }

    pub(super) fn recipe(&self, key: &Key) -> Option<Arc<Recipe>> {
        self.kinds.get(key).map(|kind| Arc::clone(&kind.recipe))
    }

    /// The interpreter of this kind can't be started ahead.
    pub(super) fn only_guest(&mut self, key: &Key) {
        if let Some(kind) = self.kinds.get_mut(key) {
            kind.recipe = Arc::new(Recipe { ahead: None, ..(*kind.recipe).clone() });
        }
    }

    /// A container was made and waits from now on.
    pub(super) fn put(&mut self, key: &Key, slot: Arc<Slot>, made: Made) {
        let Some(kind) = self.kinds.get_mut(key) else { return };
        kind.demand.made(made.took);
        kind.waiting.push_back(slot);
        if let Some(memory) = made.memory {
            let seats = kind.seats as u64;
            self.taken.memory =
                self.taken.memory.saturating_sub(kind.memory * seats) + memory * seats;
            kind.memory = memory;
        }
    }

    /// The one that has waited longest, of those with a `/tmp` of this size.
    pub(super) fn pop(&mut self, key: &Key, tmp: u64) -> Option<Arc<Slot>> {
        let kind = self.kinds.get_mut(key)?;
        let at = kind.waiting.iter().position(|slot| slot.spec.tmp == tmp)?;
        kind.waiting.remove(at)
    }

    /// A container has left by itself.
    pub(super) fn remove(&mut self, key: &Key, slot: &Arc<Slot>) {
        if let Some(kind) = self.kinds.get_mut(key) {
            kind.waiting.retain(|other| !Arc::ptr_eq(other, slot));
        }
    }

    /// How many wait, and whether every floor is reached.
    pub(super) fn waiting(&self) -> (usize, bool) {
        let all = self.kinds.values();
        let full = all.clone().all(|kind| kind.waiting.len() >= kind.floor);
        (all.map(|kind| kind.waiting.len()).sum(), full)
    }

    /// How many wait of one image, whatever their language.
    pub(super) fn waiting_of(&self, image: &str) -> usize {
        let kinds = self.kinds.iter().filter(|(key, _)| key.image == image);
        kinds.map(|(_, kind)| kind.waiting.len()).sum()
    }

    /// Forgets everything that waits.
    pub(super) fn clear(&mut self) -> Vec<Arc<Slot>> {
        self.kinds.values_mut().flat_map(|kind| kind.waiting.drain(..)).collect()
    }
}

/// What making one was like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) took: std::time::Duration,
    pub(super) memory: Option<u64>,
}

impl Budget {
    fn and(self, more: Self) -> Self {
        Self { memory: self.memory + more.memory, pids: self.pids + more.pids }
    }

    fn less(self, part: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(part.memory),
            pids: self.pids.saturating_sub(part.pids),
        }
    }

    fn within(self, most: Self) -> bool {
        self.memory <= most.memory && self.pids <= most.pids
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pool::testing::recipe;

    const MIB: u64 = 1 << 20;

    fn seats(stock: &mut Stock, key: &Key, now: Instant) -> usize {
        std::iter::repeat_with(|| stock.seat(key, now)).take(1000).filter(|seat| *seat).count()
    }

    #[test]
    fn a_floor_is_held_and_nothing_more() {
        let mut stock = Stock::new(Budget { memory: 1 << 40, pids: 1 << 20 });
        let recipe = recipe("a", "sh");
        let key = Key::of(&recipe);
        let now = Instant::now();
        assert_eq!(seats(&mut stock, &key, now), 0);
        stock.hold(&key, &recipe, 3);
        assert_eq!(seats(&mut stock, &key, now), 3);
        assert!(stock.stays(&key, now));
        stock.release(&key, 1);
        assert!(!stock.stays(&key, now));
        stock.leave(&key);
        assert!(stock.stays(&key, now));
    }

    #[test]
    fn demand_adds_seats_within_both_budgets() {
        let recipe = recipe("a", "sh");
        let key = Key::of(&recipe);
        let busy = |budget| {
            let mut stock = Stock::new(budget);
            let now = Instant::now();
            for _ in 0..10_000 {
                stock.asked(&key, &recipe, now);
            }
            seats(&mut stock, &key, now)
        };
        assert_eq!(busy(Budget { memory: FIRST_GUESS * 5, pids: 1 << 20 }), 5);
        assert_eq!(busy(Budget { memory: 1 << 40, pids: 64 * 7 }), 7);
        assert!(busy(Budget { memory: 1 << 40, pids: 1 << 40 }) > 100);
    }

    #[test]
    fn what_containers_really_take_counts() {
        let mut stock = Stock::new(Budget { memory: 10 * MIB, pids: 1 << 20 });
        let recipe = recipe("a", "sh");
        let key = Key::of(&recipe);
        let now = Instant::now();
        stock.hold(&key, &recipe, 1);
        for _ in 0..10_000 {
            stock.asked(&key, &recipe, now);
        }
        // The floor is above the budget as long as a container is thought to take 16 MiB.
        assert_eq!(seats(&mut stock, &key, now), 1);
        let made = Made { took: Duration::from_millis(100), memory: Some(MIB) };
        stock.put(&key, Slot::empty_for_test(&recipe), made);
        assert_eq!(seats(&mut stock, &key, now), 9);
        for _ in 0..10 {
            stock.leave(&key);
        }
        assert_eq!(stock.taken, Budget::default());
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_before_there_is_too_much() {
        let mut stock = Stock::new(Budget { memory: 1 << 40, pids: 1 << 20 });
        let start = Instant::now();
        for n in 0..KINDS {
            let recipe = recipe(&format!("image{n}"), "sh");
            stock.asked(&Key::of(&recipe), &recipe, start);
        }
        let one_more = recipe("one-more", "sh");
        stock.asked(&Key::of(&one_more), &one_more, start);
        assert_eq!(stock.kinds.len(), KINDS);
        let later = start + Duration::from_secs(600);
        stock.asked(&Key::of(&one_more), &one_more, later);
        assert_eq!(stock.kinds.len(), 1);
    }
}
