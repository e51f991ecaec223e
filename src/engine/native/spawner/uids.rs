//! A uid for each living container.

/// The first of the range: systemd's list of uids calls 0x7000_0000 to 0x7fff_ffff unused
/// (systemd.io, "Users, Groups, UIDs and GIDs on systemd Systems").
const FIRST: u32 = 0x7000_0000;
/// A block is what one service uses; which block, its keeper's pid decides, so that two services
/// on one machine hardly ever meet.
const BLOCK: u32 = 4096;
/// All but the last, where the files of unpacked layers have their owner.
const BLOCKS: u32 = 0x1000_0000 / BLOCK - 1;

/// Uids that no two living containers share, since the kernel counts many of its quotas by uid.
pub struct Uids {
    first: u32,
    taken: Vec<bool>,
    next: usize,
}

impl Uids {
    pub fn new(owner_pid: u32) -> Self {
        let first = FIRST + (owner_pid % BLOCKS) * BLOCK;
        Self { first, taken: vec![false; BLOCK as usize], next: 0 }
    }

    /// The uid longest unused, roughly; `None` when all are taken.
    pub fn take(&mut self) -> Option<u32> {
        let len = self.taken.len();
        let at = (0..len).map(|step| (self.next + step) % len).find(|at| !self.taken[*at])?;
        self.taken[at] = true;
        self.next = at + 1;
        u32::try_from(at).ok().map(|at| self.first + at)
    }

    pub fn give_back(&mut self, uid: u32) {
        if let Some(taken) = self.taken.get_mut(uid.wrapping_sub(self.first) as usize) {
            *taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_living_containers_share_a_uid() {
        let mut uids = Uids::new(4242);
        let all: HashSet<u32> = std::iter::from_fn(|| uids.take()).collect();
        assert_eq!(all.len(), BLOCK as usize);
        assert!(all.iter().all(|uid| (FIRST..0x8000_0000).contains(uid)));
        let one = *all.iter().next().unwrap();
        uids.give_back(one);
        assert_eq!(uids.take(), Some(one));
        assert_eq!(uids.take(), None);
    }
}
