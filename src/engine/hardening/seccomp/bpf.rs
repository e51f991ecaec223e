//! The list as a BPF program, compiled by `seccompiler` (seccomp(2)).

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use super::{Allowed, allowed, list};

/// A filter ready to load; compiled once, loaded for every container.
pub struct Program(BpfProgram);

/// The list could not be compiled or loaded.
#[derive(Debug, thiserror::Error)]
pub enum NotCompiled {
    #[error("seccomp filter: {0}")]
    Compile(#[from] BackendError),
    #[error("seccomp filter: {0}")]
    Load(#[from] seccompiler::Error),
    #[error("seccomp filter: this architecture is not supported")]
    Architecture,
}

/// Compiles the list.
///
/// # Errors
/// [`NotCompiled`] on an architecture without a list.
pub fn bpf() -> Result<Program, NotCompiled> {
    let arch = std::env::consts::ARCH.try_into().map_err(|_| NotCompiled::Architecture)?;
    let rules = allowed().map(rules).collect::<Result<BTreeMap<_, _>, _>>()?;
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        arch,
    )?;
    let compiled: BpfProgram = filter.try_into()?;
    Ok(Program(splice_answers(compiled)))
}

/// Loads a program into the calling thread, for good; sets *no new privileges* on the way.
///
/// # Errors
/// The kernel's refusal.
pub fn load(program: &Program) -> Result<(), NotCompiled> {
    Ok(seccompiler::apply_filter(&program.0)?)
}

fn rules(call: &Allowed) -> Result<(i64, Vec<SeccompRule>), BackendError> {
    let rules = call.patterns.iter().map(|pattern| {
        let conditions = pattern.iter().map(|argument| {
            SeccompCondition::new(
                argument.index,
                SeccompCmpArgLen::Qword,
                SeccompCmpOp::MaskedEq(argument.mask),
                argument.value,
            )
        });
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    });
    Ok((call.number, rules.collect::<Result<_, _>>()?))
}

/// How many instructions `seccompiler` spends on the architecture check that it puts in front:
/// load it, compare, kill. The native architecture continues behind them.
const ARCH_CHECK: usize = 3;

/// `seccompiler` knows one answer for what is not on the list; ours has three. The other two are
/// put between its architecture check and its own rules, which load the number again.
fn splice_answers(compiled: BpfProgram) -> BpfProgram {
    let mut program = compiled;
    let own = program.split_off(ARCH_CHECK);
    program.push(LOAD_NUMBER);
    for call in list::ANSWERED {
        program.push(jump(libc::BPF_JEQ, call.number, 0, 1));
        program.push(answer(call.errno));
    }
    program.push(jump(libc::BPF_JGT, list::NEWEST.number, 0, 1));
    program.push(answer(libc::ENOSYS));
    program.extend(own);
    program
}

/// `seccomp_data.nr` is the first word.
const LOAD_NUMBER: sock_filter =
    sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: 0 };

fn jump(test: u32, number: i64, jt: u8, jf: u8) -> sock_filter {
    let k = u32::try_from(number).unwrap_or(u32::MAX);
    sock_filter { code: (libc::BPF_JMP | test | libc::BPF_K) as u16, jt, jf, k }
}

fn answer(errno: i32) -> sock_filter {
    let k = SeccompAction::Errno(errno.unsigned_abs()).into();
    sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}
