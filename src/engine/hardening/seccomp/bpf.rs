//! The list as a BPF program (seccomp(2)): a balanced search over the call's number, and behind it
//! the tests of arguments where a call has any.
//!
//! A list of comparisons instead of a tree would cost every container more than a millisecond: when
//! a filter is loaded, the kernel runs it once for every call there is.

use std::collections::BTreeMap;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};
use seccompiler::sock_filter;

use super::code::{Code, Label, Test};
use super::{Allowed, Answered, Argument, Pattern, allowed, list};

/// A filter ready to load; compiled once, loaded for every container.
pub struct Program(Vec<sock_filter>);

/// The list could not be compiled or loaded.
#[derive(Debug, thiserror::Error)]
pub enum NotCompiled {
    #[error("seccomp filter: {0} instructions, and the kernel takes {LONGEST}; shorten the list")]
    TooLong(usize),
    #[error("seccomp filter: {0}")]
    Load(#[from] seccompiler::Error),
}

/// The kernel's `BPF_MAXINSNS`.
const LONGEST: usize = 4096;

// `AUDIT_ARCH_…` of linux/audit.h: the ELF machine, 64-bit, little-endian.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

// Where the words of `seccomp_data` lie, in bytes.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Compiles the list.
///
/// # Errors
/// [`NotCompiled::TooLong`] when the list has outgrown the kernel's bound.
pub fn bpf() -> Result<Program, NotCompiled> {
    let mut code = Code::default();
    let tree = search(&mut code, &ranges());
    let native = code.load(NUMBER, tree);
    let foreign = code.answer(SECCOMP_RET_KILL_PROCESS);
    let start = code.branch(Test::Equals(NATIVE), native, foreign);
    code.load(ARCH, start);
    let program = code.into_program();
    if program.len() > LONGEST {
        Err(NotCompiled::TooLong(program.len()))
    } else {
        Ok(Program(program))
    }
}

/// Loads a program into the calling thread, for good; sets *no new privileges* on the way.
///
/// # Errors
/// The kernel's refusal.
pub fn load(program: &Program) -> Result<(), NotCompiled> {
    Ok(seccompiler::apply_filter(&program.0)?)
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Answer(u32),
    /// Allowed if any of the first matches, feigned if any of the second does.
    Match(&'static [Pattern], &'static [Pattern]),
}

impl From<&Allowed> for Rule {
    fn from(call: &Allowed) -> Self {
        match call.patterns {
            [] => Self::Answer(SECCOMP_RET_ALLOW),
            patterns => Self::Match(patterns, call.feigned),
        }
    }
}

impl From<&Answered> for Rule {
    fn from(call: &Answered) -> Self {
        Self::Answer(errno(call.errno))
    }
}

const fn errno(errno: i32) -> u32 {
    SECCOMP_RET_ERRNO | errno.unsigned_abs()
}

/// Every number there is, as ranges with one rule each: a range begins at its number and ends
/// before the next.
fn ranges() -> Vec<(u32, Rule)> {
    let listed = allowed().map(|call| (call.number, Rule::from(call)));
    let answered = list::ANSWERED.iter().map(|call| (call.number, Rule::from(call)));
    let rules: BTreeMap<u32, Rule> = listed.chain(answered).collect();
    let unlisted = Rule::Answer(errno(libc::EPERM));
    let unknown = (list::NEWEST.number + 1, Rule::Answer(errno(libc::ENOSYS)));
    let mut ranges: Vec<_> = (0..=list::NEWEST.number)
        .map(|number| (number, rules.get(&number).copied().unwrap_or(unlisted)))
        .chain([unknown])
        .collect();
    ranges.dedup_by(|next, range| next.1 == range.1);
    ranges
}

/// Finds the range of the loaded number by halves.
fn search(code: &mut Code, ranges: &[(u32, Rule)]) -> Label {
    match ranges {
        [] => code.answer(errno(libc::EPERM)),
        [(_, Rule::Answer(action))] => code.answer(*action),
        [(_, Rule::Match(patterns, feigned))] => {
            let no = code.answer(errno(libc::EPERM));
            let no = one_of(code, feigned, errno(0), no);
            one_of(code, patterns, SECCOMP_RET_ALLOW, no)
        }
        _ => {
            let (lower, upper) = ranges.split_at(ranges.len() / 2);
            let middle = upper[0].0;
            let upper = search(code, upper);
            let lower = search(code, lower);
            code.branch(Test::AtLeast(middle), upper, lower)
        }
    }
}

/// Answers `yes` to what any of the patterns matches. Neighbours that begin alike share their beginning.
fn one_of(code: &mut Code, patterns: &[&[Argument]], yes: u32, no: Label) -> Label {
    patterns.chunk_by(|one, next| one.first() == next.first()).rev().fold(no, |no, alike| {
        match alike[0].first() {
            None => code.answer(yes),
            Some(first) => {
                let rests: Vec<_> = alike.iter().map(|pattern| &pattern[1..]).collect();
                let rest = one_of(code, &rests, yes, no);
                equals(code, *first, rest, no)
            }
        }
    })
}

/// Arguments are little-endian: the lower half lies first.
fn equals(code: &mut Code, argument: Argument, yes: Label, no: Label) -> Label {
    let Argument { index, mask, value } = argument;
    let offset = ARGUMENTS + 8 * u32::from(index);
    let lower = half(code, offset, mask as u32, value as u32, yes, no);
    half(code, offset + 4, (mask >> 32) as u32, (value >> 32) as u32, lower, no)
}

fn half(code: &mut Code, offset: u32, mask: u32, value: u32, yes: Label, no: Label) -> Label {
    // Nothing of this half is asked for.
    if mask == 0 {
        return yes;
    }
    let test = code.branch(Test::Equals(value & mask), yes, no);
    let masked = if mask == u32::MAX { test } else { code.mask(mask, test) };
    code.load(offset, masked)
}

#[cfg(test)]
#[path = "bpf_tests.rs"]
mod tests;
