//! Who waits, and who is next: round robin between callers; within one, the interactive before those
//! in the background, and each of these in the order they came.

use std::collections::{BTreeMap, HashMap};

use super::{Caller, Lane, Who};

/// A queue with so many places for the interactive. What it keeps is bounded by who waits: nothing
/// is known of a caller who has nobody waiting.
#[derive(Debug)]
pub struct Queue<T> {
    limit: usize,
    /// All who wait, and those of them who take a place.
    len: usize,
    interactive: usize,
    lines: HashMap<Who, Line<T>>,
    /// The callers with somebody waiting, the next one first.
    turns: BTreeMap<Number, Who>,
    next: Number,
}

/// Counts entries and turns alike: what comes later has a higher one.
type Number = u64;

/// One caller's entries; never empty.
#[derive(Debug)]
struct Line<T> {
    turn: Number,
    /// How many of this caller may run at once, as of the last one who joined.
    concurrency: usize,
    interactive: usize,
    entries: BTreeMap<(Lane, Number), T>,
}

/// A place in the queue.
#[derive(Debug, Clone)]
pub struct Ticket {
    who: Who,
    entry: (Lane, Number),
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
        Self {
            limit,
            len: 0,
            interactive: 0,
            lines: HashMap::new(),
            turns: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts an entry at the end of its lane of its caller's line. Where an interactive one finds the
    /// queue full, it displaces the newest of those of the longest line, where that line is still no
    /// shorter than the caller's own then: so one caller can fill the queue, and can't keep the
    /// others out of it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn join(&mut self, caller: &Caller, entry: T) -> Result<Joined<T>, Full> {
        let takes_place = caller.lane == Lane::Interactive;
        let full = takes_place && self.interactive >= self.limit;
        let displaced = if full { Some(self.displace(&caller.who)?) } else { None };
        let number = self.number();
        let line = self.lines.entry(caller.who.clone()).or_insert_with(|| {
            self.turns.insert(number, caller.who.clone());
            Line { turn: number, concurrency: 0, interactive: 0, entries: BTreeMap::new() }
        });
        line.concurrency = caller.concurrency();
        line.entries.insert((caller.lane, number), entry);
        line.interactive += usize::from(takes_place);
        self.interactive += usize::from(takes_place);
        self.len += 1;
        let ticket = Ticket { who: caller.who.clone(), entry: (caller.lane, number) };
        Ok(Joined { ticket, displaced })
    }

    fn displace(&mut self, who: &Who) -> Result<T, Full> {
        let own = self.lines.get(who).map_or(0, |line| line.interactive);
        // Of lines of the same length, the one whose turn is last.
        let longest = self.lines.iter().max_by_key(|(_, line)| (line.interactive, line.turn));
        let (who, line) = longest.filter(|(_, line)| line.interactive >= own + 2).ok_or(Full)?;
        let newest = line.entries.keys().rfind(|(lane, _)| *lane == Lane::Interactive);
        let ticket = Ticket { who: who.clone(), entry: *newest.ok_or(Full)? };
        self.leave(&ticket).ok_or(Full)
    }

    /// Takes out the next entry of a caller who may have one more run, by how many he may have at
    /// once. His next turn comes when all others have had theirs.
    pub fn next(&mut self, may: impl Fn(&Who, usize) -> bool) -> Option<(Who, T)> {
        let concurrency = |who| self.lines.get(who).map_or(0, |line| line.concurrency);
        let (turn, who) = self.turns.iter().find(|(_, who)| may(who, concurrency(who)))?;
        let (turn, who) = (*turn, who.clone());
        let first = *self.lines.get(&who)?.entries.first_key_value()?.0;
        let entry = self.leave(&Ticket { who: who.clone(), entry: first })?;
        let last = self.number();
        if let Some(line) = self.lines.get_mut(&who) {
            line.turn = last;
            self.turns.remove(&turn);
            self.turns.insert(last, who.clone());
        }
        Some((who, entry))
    }

    /// Takes an entry out wherever it stands; `None` when it is not in the queue any more.
    pub fn leave(&mut self, Ticket { who, entry: key }: &Ticket) -> Option<T> {
        let line = self.lines.get_mut(who)?;
        let entry = line.entries.remove(key)?;
        let took_place = usize::from(key.0 == Lane::Interactive);
        line.interactive -= took_place;
        self.interactive -= took_place;
        self.len -= 1;
        if line.entries.is_empty() {
            self.turns.remove(&line.turn);
            self.lines.remove(who);
        }
        Some(entry)
    }

    /// How many are served before this one, should nobody else come and nobody leave; `None` when it
    /// is not in the queue any more.
    pub fn ahead(&self, Ticket { who, entry }: &Ticket) -> Option<usize> {
        let own = self.lines.get(who)?;
        own.entries.get(entry)?;
        let before = own.entries.range(..entry).count();
        let others = self.lines.iter().filter(|(other, _)| *other != who).map(|(_, line)| {
            let rounds = before + usize::from(line.turn < own.turn);
            line.entries.len().min(rounds)
        });
        Some(before + others.sum::<usize>())
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

    /// The next one, where nobody has a bound of his own.
    fn next<T>(queue: &mut Queue<T>) -> Option<T> {
        queue.next(|_, _| true).map(|(_, entry)| entry)
    }

    fn rest(mut queue: Queue<String>) -> String {
        let rest: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
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
        assert_eq!(next(&mut queue).as_deref(), Some("a1"));
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
        assert_eq!(next(&mut queue).as_deref(), Some("a1"));
        assert!(queue.leave(&tickets[0]).is_none(), "it was served");
        assert_eq!(rest(queue), "c1 a3");
    }

    #[test]
    fn the_background_waits_without_a_place_and_behind_its_caller() {
        let (mut queue, _) = queue(2, "a1 b1");
        let patient = caller(b'a').in_background();
        let tickets = ["a7", "a8"].map(|name| queue.join(&patient, name.into()).unwrap().ticket);
        // It neither takes a place nor gives one up.
        assert_eq!(queue.join(&caller(b'c'), "c1".into()).unwrap_err(), Full);
        assert_eq!(next(&mut queue).as_deref(), Some("a1"));
        assert_eq!(queue.ahead(&tickets[0]), Some(1));
        let own = queue.join(&caller(b'a'), "a2".into()).unwrap().ticket;
        assert_eq!(tickets.each_ref().map(|t| queue.ahead(t)), [Some(2), Some(3)]);
        assert_eq!(queue.ahead(&own), Some(1));
        assert_eq!((queue.len(), queue.interactive), (4, 2));
        assert_eq!(rest(queue), "b1 a2 a7 a8");
    }

    #[test]
    fn who_has_enough_lets_the_others_pass_and_keeps_his_turn() {
        let (mut queue, _) = queue(9, "a1 b1 a2 b2");
        let not_a = |who: &Who, _| *who != caller(b'a').who;
        let passed = queue.next(not_a).map(|(_, entry)| entry);
        assert_eq!(passed.as_deref(), Some("b1"));
        assert_eq!(rest(queue), "a1 b2 a2");
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
                        let Some((name, number)) = next(&mut queue) else {
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
            // Everyone is served when it was said.
            let ahead: Vec<_> = waiting.iter().map(|(.., ticket)| queue.ahead(ticket)).collect();
            let served: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
            for ((name, number, _), ahead) in waiting.iter().zip(ahead) {
                prop_assert_eq!(served.iter().position(|s| s == &(*name, *number)), ahead);
            }
        }
    }
}
