//! What the kernel does with a filter, for tests: classic BPF over one `seccomp_data`.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_K, BPF_LD};
use libc::{BPF_RET, BPF_W};
use seccompiler::sock_filter;

/// How a program ended.
pub(super) struct Ended {
    pub(super) action: u32,
    pub(super) steps: usize,
}

/// Runs a program on a call. Panics where the kernel would refuse the program.
pub(super) fn run(program: &[sock_filter], number: u32, arch: u32, args: [u64; 6]) -> Ended {
    let mut data = [0_u8; 64];
    data[0..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&arch.to_ne_bytes());
    for (index, arg) in args.into_iter().enumerate() {
        data[16 + 8 * index..][..8].copy_from_slice(&arg.to_ne_bytes());
    }
    let (mut accumulator, mut at) = (0_u32, 0);
    for steps in 1..=program.len() {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let branch = |yes| usize::from(if yes { jt } else { jf });
        const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
        const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
        const JUMP: u32 = BPF_JMP | BPF_JA;
        const EQUALS: u32 = BPF_JMP | BPF_JEQ | BPF_K;
        const AT_LEAST: u32 = BPF_JMP | BPF_JGE | BPF_K;
        const GREATER: u32 = BPF_JMP | BPF_JGT | BPF_K;
        const ANSWER: u32 = BPF_RET | BPF_K;
        match u32::from(code) {
            LOAD => {
                assert_eq!(k % 4, 0, "instruction {} loads an unaligned word", at - 1);
                let word = data[k as usize..][..4].try_into().unwrap();
                accumulator = u32::from_ne_bytes(word);
            }
            AND => accumulator &= k,
            JUMP => at += k as usize,
            EQUALS => at += branch(accumulator == k),
            AT_LEAST => at += branch(accumulator >= k),
            GREATER => at += branch(accumulator > k),
            ANSWER => return Ended { action: k, steps },
            _ => panic!("instruction {} has the code {code:#x}", at - 1),
        }
    }
    unreachable!("a program that only jumps forward ends within its length");
}
