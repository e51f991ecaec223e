//! Classic BPF, written from its end to its beginning: jumps only lead forward, so every place
//! that an instruction leads to is already written, and its distance known.

use std::collections::BTreeMap;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use seccompiler::sock_filter;

/// A program in the making.
#[derive(Default)]
pub(super) struct Code {
    /// The last instruction comes first.
    reversed: Vec<sock_filter>,
    /// Where each answer was written last.
    answers: BTreeMap<u32, Label>,
}

/// A written instruction: its index from the end.
#[derive(Clone, Copy)]
pub(super) struct Label(usize);

/// What a conditional jump asks about the accumulator.
#[derive(Clone, Copy)]
pub(super) enum Test {
    Equals(u32),
    AtLeast(u32),
}

/// How many instructions a conditional jump can skip, less the one that the other arm may put in
/// between.
const REACH: usize = u8::MAX as usize - 1;

impl Code {
    /// Ends the program with `action` (seccomp(2)); near ones are shared.
    pub(super) fn answer(&mut self, action: u32) -> Label {
        if let Some(label) = self.answers.get(&action)
            && self.skipped(*label) <= REACH
        {
            return *label;
        }
        let label = self.push(BPF_RET | BPF_K, 0, 0, action);
        self.answers.insert(action, label);
        label
    }

    /// Loads the word `offset` bytes into `seccomp_data`.
    pub(super) fn load(&mut self, offset: u32, then: Label) -> Label {
        self.lead_to(then);
        self.push(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
    }

    pub(super) fn mask(&mut self, mask: u32, then: Label) -> Label {
        self.lead_to(then);
        self.push(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask)
    }

    pub(super) fn branch(&mut self, test: Test, yes: Label, no: Label) -> Label {
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        let (test, operand) = match test {
            Test::Equals(operand) => (libc::BPF_JEQ, operand),
            Test::AtLeast(operand) => (libc::BPF_JGE, operand),
        };
        // `REACH` keeps both within a byte.
        let (yes, no) = (self.skipped(yes) as u8, self.skipped(no) as u8);
        self.push(BPF_JMP | test | BPF_K, yes, no, operand)
    }

    /// The program, which begins with the instruction written last.
    pub(super) fn into_program(self) -> Vec<sock_filter> {
        self.reversed.into_iter().rev().collect()
    }

    /// How many instructions lie between the next one written and `target`.
    fn skipped(&self, target: Label) -> usize {
        self.reversed.len() - 1 - target.0
    }

    /// `target`, or a jump to it where it is too far for a conditional one.
    fn within_reach(&mut self, target: Label) -> Label {
        if self.skipped(target) <= REACH { target } else { self.jump(target) }
    }

    /// Sees to it that whatever is written next goes on at `target`.
    fn lead_to(&mut self, target: Label) {
        if self.skipped(target) > 0 {
            self.jump(target);
        }
    }

    fn jump(&mut self, target: Label) -> Label {
        let skipped = self.skipped(target) as u32;
        self.push(BPF_JMP | BPF_JA, 0, 0, skipped)
    }

    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Label {
        self.reversed.push(sock_filter { code: code as u16, jt, jf, k });
        Label(self.reversed.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::emulator::run;
    use super::*;

    #[test]
    fn a_branch_reaches_any_distance() {
        for between in (0..600).chain([4000]) {
            let mut code = Code::default();
            let [no, yes] = [10, 20].map(|action| code.answer(action));
            let mut padding = code.answer(30);
            for _ in 0..between {
                padding = code.load(4, padding);
            }
            let branch = code.branch(Test::Equals(7), yes, no);
            code.load(0, branch);
            let program = code.into_program();
            assert_eq!(run(&program, 7, 0, [0; 6]).action, 20, "{between} in between");
            assert_eq!(run(&program, 8, 0, [0; 6]).action, 10, "{between} in between");
        }
    }

    #[test]
    fn a_load_goes_on_anywhere() {
        let mut code = Code::default();
        let far = code.answer(10);
        let near = code.answer(20);
        let branch = code.branch(Test::AtLeast(5), far, near);
        code.answer(30);
        code.load(0, branch);
        let program = code.into_program();
        assert_eq!(run(&program, 5, 0, [0; 6]).action, 10);
        assert_eq!(run(&program, 4, 0, [0; 6]).action, 20);
    }

    #[test]
    fn near_answers_are_shared_and_far_ones_written_again() {
        let mut code = Code::default();
        let mut then = code.answer(10);
        code.answer(10);
        assert_eq!(code.reversed.len(), 1);
        for _ in 0..REACH {
            then = code.load(0, then);
        }
        code.answer(10);
        assert_eq!(code.reversed.len(), 1 + REACH);
        code.load(0, then);
        code.answer(10);
        assert_eq!(code.reversed.len(), 1 + REACH + 2);
    }
}
