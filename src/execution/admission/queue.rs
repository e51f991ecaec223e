//! Who waits, and who is next: round robin between callers, first come, first served within one.

use std::collections::{BTreeMap, HashMap};

use super::Caller;

/// A bounded queue. What it keeps is bounded by its limit alone: nothing is known of a caller who
/// has nobody waiting.
#[derive(Debug)]
pub struct Queue<T> {
    limit: usize,
    len: usize,
    lines: HashMap<Caller, Line<T>>,
    /// The callers with somebody waiting, the next one first.
    turns: BTreeMap<Number, Caller>,
    next: Number,
}

/// Counts entries and turns alike: what comes later has a higher one.
type Number = u64;

/// One caller's entries, by their tickets; never empty.
#[derive(Debug)]
struct Line<T> {
    turn: Number,
    entries: BTreeMap<Number, T>,
}

/// A place in the queue.
#[derive(Debug)]
pub struct Ticket {
    caller: Caller,
    number: Number,
}

/// An entry got a place, perhaps another's.
#[derive(Debug)]
pub struct Joined<T> {
    pub ticket: Ticket,
    pub displaced: Option<T>,
}

/// There is no place for this caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl<T> Queue<T> {
    pub fn new(limit: usize) -> Self {
        Self { limit, len: 0, lines: HashMap::new(), turns: BTreeMap::new(), next: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts an entry at the end of its caller's line. In a full queue it displaces the newest entry
    /// of the longest line, where that line is still no shorter than the caller's own then: so one
    /// caller can fill the queue, and can't keep the others out of it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn join(&mut self, caller: &Caller, entry: T) -> Result<Joined<T>, Full> {
        let displaced = if self.len < self.limit { None } else { Some(self.displace(caller)?) };
        self.len += 1;
        let number = self.number();
        let line = self.lines.entry(caller.clone()).or_insert_with(|| {
            self.turns.insert(number, caller.clone());
            Line { turn: number, entries: BTreeMap::new() }
        });
        line.entries.insert(number, entry);
        Ok(Joined { ticket: Ticket { caller: caller.clone(), number }, displaced })
    }

    fn displace(&mut self, caller: &Caller) -> Result<T, Full> {
        let own = self.lines.get(caller).map_or(0, |line| line.entries.len());
        // Of lines of the same length, the one whose turn is last.
        let longest = self.lines.values_mut().max_by_key(|line| (line.entries.len(), line.turn));
        let longest = longest.filter(|line| line.entries.len() >= own + 2).ok_or(Full)?;
        let (_, newest) = longest.entries.pop_last().ok_or(Full)?;
        self.len -= 1;
        Ok(newest)
    }

    /// Takes out the next entry. Its caller's next turn comes when all others have had theirs.
    pub fn next(&mut self) -> Option<T> {
        let (_, caller) = self.turns.pop_first()?;
        let turn = self.number();
        let line = self.lines.get_mut(&caller)?;
        let (_, entry) = line.entries.pop_first()?;
        self.len -= 1;
        if line.entries.is_empty() {
            self.lines.remove(&caller);
        } else {
            line.turn = turn;
            self.turns.insert(turn, caller);
        }
        Some(entry)
    }

    /// Takes an entry out wherever it stands; `None` when it is not in the queue any more.
    pub fn leave(&mut self, Ticket { caller, number }: &Ticket) -> Option<T> {
        let line = self.lines.get_mut(caller)?;
        let entry = line.entries.remove(number)?;
        self.len -= 1;
        if line.entries.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(caller);
        }
        Some(entry)
    }

    fn number(&mut self) -> Number {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn caller(name: u8) -> Caller {
        Caller::at(Ipv4Addr::new(192, 0, 2, name).into())
    }

    /// A queue with these entries, each named by its caller and a number of its own: `a1`.
    fn queue(limit: usize, entries: &str) -> (Queue<String>, Vec<Ticket>) {
        let mut queue = Queue::new(limit);
        let join = |entry: &str| {
            let joined = queue.join(&caller(entry.as_bytes()[0]), entry.to_owned()).unwrap();
            assert_eq!(joined.displaced, None);
            joined.ticket
        };
        let tickets = entries.split_whitespace().map(join).collect();
        (queue, tickets)
    }

    fn rest(mut queue: Queue<String>) -> String {
        let rest: Vec<_> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!((queue.len(), queue.lines.len(), queue.turns.len()), (0, 0, 0));
        rest.join(" ")
    }

    #[rstest]
    #[case("", "")]
    #[case("a1 a2 a3", "a1 a2 a3")]
    #[case("a1 a2 a3 b1", "a1 b1 a2 a3")]
    #[case("a1 a2 a3 b1 b2 c1", "a1 b1 c1 a2 b2 a3")]
    #[case("b1 a1 b2 a2", "b1 a1 b2 a2")]
    fn in_turn_between_callers_and_in_order_within(#[case] arrived: &str, #[case] served: &str) {
        assert_eq!(rest(queue(9, arrived).0), served);
    }

    #[test]
    fn a_caller_who_comes_back_stands_behind_the_others() {
        let (mut queue, _) = queue(9, "a1 b1 b2");
        assert_eq!(queue.next().as_deref(), Some("a1"));
        queue.join(&caller(b'a'), "a2".into()).unwrap();
        assert_eq!(rest(queue), "b1 a2 b2");
    }

    #[rstest]
    // Nobody has more than this caller would have then.
    #[case("", 'a', None, "")]
    #[case("a1", 'b', None, "a1")]
    #[case("a1 b1", 'c', None, "a1 b1")]
    #[case("a1 a2", 'a', None, "a1 a2")]
    #[case("a1 a2 b1", 'b', None, "a1 b1 a2")]
    // Somebody has, and loses the newest.
    #[case("a1 a2", 'b', Some("a2"), "a1 bx")]
    #[case("a1 a2 a3 b1", 'b', Some("a3"), "a1 b1 a2 bx")]
    #[case("a1 a2 a3 b1", 'c', Some("a3"), "a1 b1 cx a2")]
    // Of two, the one whose turn is later.
    #[case("a1 a2 b1 b2", 'c', Some("b2"), "a1 b1 cx a2")]
    fn a_full_queue_is_shared(
        #[case] full: &str,
        #[case] newcomer: char,
        #[case] displaced: Option<&str>,
        #[case] served: &str,
    ) {
        let (mut queue, tickets) = queue(full.split_whitespace().count(), full);
        let joined = queue.join(&caller(newcomer as u8), format!("{newcomer}x"));
        assert_eq!(joined.map(|joined| joined.displaced).ok().flatten().as_deref(), displaced);
        assert_eq!(queue.len(), tickets.len());
        assert_eq!(rest(queue), served);
    }

    #[test]
    fn who_leaves_leaves_no_gap() {
        let (mut queue, tickets) = queue(9, "a1 b1 a2 a3 c1");
        for left in [1, 2] {
            assert!(queue.leave(&tickets[left]).is_some());
            assert!(queue.leave(&tickets[left]).is_none(), "only once");
        }
        assert_eq!(queue.next().as_deref(), Some("a1"));
        assert!(queue.leave(&tickets[0]).is_none(), "it was served");
        assert_eq!(rest(queue), "c1 a3");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join(u8),
        Next,
        Leave(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u8..5).prop_map(Step::Join),
            3 => Just(Step::Next),
            1 => (0_usize..8).prop_map(Step::Leave),
        ]
    }

    proptest! {
        /// Against lists that are searched from end to end: within a caller the oldest is served,
        /// nobody is served twice while another waits, and nothing is kept of who does not wait.
        #[test]
        fn nobody_starves(limit in 0_usize..7, steps in prop::collection::vec(step(), 0..60)) {
            let mut queue = Queue::new(limit);
            let mut waiting: Vec<(u8, u32, Ticket)> = Vec::new();
            // For each caller: who was served since it waits, or since it was served itself.
            let mut since: HashMap<u8, Vec<u8>> = HashMap::new();
            for (entry, step) in (0_u32..).zip(steps) {
                match step {
                    Step::Join(name) => match queue.join(&caller(name), (name, entry)) {
                        Ok(Joined { ticket, displaced }) => {
                            waiting.push((name, entry, ticket));
                            since.entry(name).or_default();
                            if let Some((lost, number)) = displaced {
                                let newest = waiting.iter().rposition(|(n, ..)| *n == lost);
                                let (_, of_lost, _) = waiting.remove(newest.unwrap());
                                prop_assert_eq!(of_lost, number);
                                let left = |name| waiting.iter().filter(|w| w.0 == name).count();
                                prop_assert!(left(lost) >= left(name));
                            }
                        }
                        Err(Full) => prop_assert_eq!(waiting.len(), limit),
                    },
                    Step::Next => {
                        let Some((name, number)) = queue.next() else {
                            prop_assert!(waiting.is_empty());
                            continue;
                        };
                        let oldest = waiting.iter().position(|(n, ..)| *n == name);
                        prop_assert_eq!(waiting.remove(oldest.unwrap()).1, number);
                        since.insert(name, vec![]);
                        for (other, served) in &mut since {
                            let twice = *other != name && served.contains(&name);
                            prop_assert!(!twice, "{} waits, and {} comes again", other, name);
                            served.push(name);
                        }
                    }
                    Step::Leave(which) => if which < waiting.len() {
                        let (name, number, ticket) = waiting.remove(which);
                        prop_assert_eq!(queue.leave(&ticket), Some((name, number)));
                    },
                }
                since.retain(|name, _| waiting.iter().any(|(n, ..)| n == name));
                prop_assert_eq!(queue.len(), waiting.len());
                prop_assert!(queue.len() <= limit);
                prop_assert_eq!(queue.lines.len(), since.len());
                prop_assert_eq!(queue.turns.len(), since.len());
            }
        }
    }
}
