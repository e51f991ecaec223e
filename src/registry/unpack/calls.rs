//! The system calls that unpacking takes: a list of its own, since it is far shorter than a
//! script's and has what a script may not do, such as leaving an overlay's marks.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::UnpackError;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

const FILES: &[libc::c_long] = &[
    libc::SYS_close,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_ppoll,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// What a C library does for threads and memory.
const RUNTIME: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_prctl,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
];

/// Makes every other call unknown to this process, as if the kernel were too old for it; sets *no
/// new privileges* on the way.
///
/// # Errors
/// [`UnpackError::Failed`] with the kernel's refusal.
pub(super) fn restrict() -> Result<(), UnpackError> {
    let calls = FILES.iter().chain(RUNTIME).map(|call| (*call, Vec::new()));
    let others = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let calls: BTreeMap<_, _> = calls.collect();
    let restricted = || -> Result<(), Box<dyn std::error::Error>> {
        let filter = SeccompFilter::new(calls, others, SeccompAction::Allow, ARCHITECTURE)?;
        Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
    };
    restricted().map_err(|e| UnpackError::Failed(format!("system call filter: {e}")))
}
