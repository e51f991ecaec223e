use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use rustix::net::{AddressFamily, SocketType, socket};

use super::super::emulator::{Ended, run};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const FEIGNED: u32 = 0x0005_0000;
const EPERM: u32 = 0x0005_0001;
const EINVAL: u32 = 0x0005_0016;
const ENOSYS: u32 = 0x0005_0026;

/// Marks the calls of x86-64's third interface, whose architecture is the native one.
const X32: u32 = 0x4000_0000;

const CORE: u64 = libc::RLIMIT_CORE as u64;

fn program() -> Vec<sock_filter> {
    bpf().unwrap().0
}

/// What the list says, read in the plainest way.
fn listed(number: u32, args: [u64; 6]) -> u32 {
    if let Some(call) = list::ANSWERED.iter().find(|call| call.number == number) {
        return match call.errno {
            libc::EINVAL => EINVAL,
            libc::ENOSYS => ENOSYS,
            other => panic!("{} answers {other}", call.name),
        };
    }
    if number > list::NEWEST.number {
        return ENOSYS;
    }
    let Some(call) = allowed().find(|call| call.number == number) else { return EPERM };
    let holds = |a: &Argument| args[usize::from(a.index)] & a.mask == a.value;
    let matches = |pattern: &Pattern| pattern.iter().all(holds);
    if call.patterns.is_empty() || call.patterns.iter().any(matches) {
        ALLOW
    } else if call.feigned.iter().any(matches) {
        FEIGNED
    } else {
        EPERM
    }
}

fn numbers() -> impl Iterator<Item = u32> {
    let small = 0..1000;
    let top = [i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX - 1, u32::MAX];
    small.clone().chain(small.map(|number| number | X32)).chain(top)
}

#[test]
fn every_number_gets_what_the_list_says() {
    let program = program();
    for number in numbers() {
        for args in [[0; 6], [1; 6], [u64::MAX; 6], [1 << 32; 6]] {
            let action = run(&program, number, NATIVE, args).action;
            assert_eq!(action, listed(number, args), "call {number:#x} with {args:x?}");
        }
    }
}

#[test]
fn well_known_calls_get_what_the_module_promises() {
    let program = program();
    let none = [0; 6];
    let inet = |kind, protocol| [libc::AF_INET as u64, kind, protocol, 0, 0, 0];
    let cases = [
        (libc::SYS_read as u32, none, ALLOW),
        (libc::SYS_ptrace as u32, none, EPERM),
        (libc::SYS_clone3 as u32, none, ENOSYS),
        (libc::SYS_splice as u32, none, EINVAL),
        (libc::SYS_set_mempolicy_home_node as u32, none, EPERM),
        (libc::SYS_set_mempolicy_home_node as u32 + 1, none, ENOSYS),
        (libc::SYS_read as u32 | X32, none, ENOSYS),
        (u32::MAX, none, ENOSYS),
        (libc::SYS_clone as u32, [libc::SIGCHLD as u64, 0, 0, 0, 0, 0], ALLOW),
        (libc::SYS_clone as u32, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0], EPERM),
        (libc::SYS_socket as u32, inet(1 | 0o2_004_000, 6), ALLOW),
        (libc::SYS_socket as u32, inet(1, 6 | 1 << 40), ALLOW),
        (libc::SYS_socket as u32, inet(3, 0), EPERM),
        (libc::SYS_socket as u32, inet(1, 17), EPERM),
        (libc::SYS_socketpair as u32, inet(1, 0), EPERM),
        (libc::SYS_socketpair as u32, [libc::AF_UNIX as u64, 1, 0, 0, 0, 0], ALLOW),
        (libc::SYS_prlimit64 as u32, [0, CORE, 0, 1, 0, 0], ALLOW),
        (libc::SYS_prlimit64 as u32, [0, CORE, 1, 0, 0, 0], FEIGNED),
        (libc::SYS_prlimit64 as u32, [0, CORE, 1, 1, 0, 0], EPERM),
        (libc::SYS_prlimit64 as u32, [0, CORE | 1 << 40, 1, 1, 0, 0], EPERM),
        (libc::SYS_prlimit64 as u32, [0, libc::RLIMIT_NOFILE as u64, 1, 1, 0, 0], ALLOW),
        (libc::SYS_setrlimit as u32, [CORE, 1, 0, 0, 0, 0], FEIGNED),
    ];
    for (number, args, action) in cases {
        assert_eq!(run(&program, number, NATIVE, args).action, action, "{number:#x} {args:x?}");
    }
}

/// Of all the requests that a terminal knows, and of those that differ from them in one bit.
#[test]
fn two_requests_to_terminals_are_refused() {
    let program = program();
    let near = (0x5400..0x5500).flat_map(|request| (0..64).map(move |bit| request ^ 1 << bit));
    for request in (0x5400..0x5500).chain(near) {
        let refused = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32].contains(&(request as u32));
        let args = [0, request, 0, 0, 0, 0];
        let action = run(&program, libc::SYS_ioctl as u32, NATIVE, args).action;
        assert_eq!(action, if refused { EPERM } else { ALLOW }, "{request:#x}");
    }
}

#[test]
fn k13_a_foreign_architecture_is_killed_whatever_it_calls() {
    let program = program();
    let flipped = (0..32).map(|bit| NATIVE ^ (1 << bit));
    for arch in flipped.chain([0, 0x4000_0003, 0x4000_0028]) {
        for number in numbers() {
            assert_eq!(run(&program, number, arch, [0; 6]).action, KILL, "{number} on {arch:#x}");
        }
    }
}

/// Arguments that a pattern matches.
fn matching(pattern: Pattern) -> [u64; 6] {
    let mut args = [0; 6];
    for argument in pattern {
        args[usize::from(argument.index)] |= argument.value;
    }
    args
}

#[test]
fn every_bit_of_every_argument_counts_as_in_the_list() {
    let program = program();
    for call in list::CONDITIONAL {
        for pattern in call.patterns.iter().chain(call.feigned) {
            let args = matching(pattern);
            assert_ne!(run(&program, call.number, NATIVE, args).action, EPERM, "{}", call.name);
            for (index, bit) in (0..6).flat_map(|index| (0..64).map(move |bit| (index, bit))) {
                let mut args = args;
                args[index] ^= 1 << bit;
                let action = run(&program, call.number, NATIVE, args).action;
                assert_eq!(action, listed(call.number, args), "{} with {args:x?}", call.name);
            }
        }
    }
}

/// Values on, beside and above those that the list compares with, and any others.
fn argument() -> impl Strategy<Value = u64> {
    let compared: BTreeSet<u64> = list::CONDITIONAL
        .iter()
        .flat_map(|call| call.patterns.iter().chain(call.feigned).copied().flatten())
        .flat_map(|argument| [argument.value, argument.value | !argument.mask, argument.mask])
        .flat_map(|value| [value, value.wrapping_sub(1), value.wrapping_add(1)])
        .collect();
    let compared = compared.into_iter().collect::<Vec<_>>();
    let upper = prop_oneof![Just(0), Just(1), Just(u32::MAX), any::<u32>()];
    let near = (select(compared), upper).prop_map(|(value, upper)| value ^ u64::from(upper) << 32);
    prop_oneof![4 => near, 2 => 0..64_u64, 1 => any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_arguments_get_what_the_list_says(
        call in 0..list::CONDITIONAL.len(),
        args in prop::array::uniform6(argument()),
    ) {
        let program = program();
        let number = list::CONDITIONAL[call].number;
        prop_assert_eq!(run(&program, number, NATIVE, args).action, listed(number, args));
    }
}

/// Few enough values that arguments, masks and patterns often coincide, in both halves.
fn word() -> impl Strategy<Value = u64> {
    let half = || select(vec![0, 1, 3, u32::MAX]);
    (half(), half()).prop_map(|(upper, lower)| u64::from(upper) << 32 | u64::from(lower))
}

fn condition() -> impl Strategy<Value = Argument> {
    let parts = (select(vec![0, 1, 5]), word(), word());
    parts.prop_map(|(index, mask, value)| Argument { index, mask, value: value & mask })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever a list may come to say, upper halves and beginnings in common included.
    #[test]
    fn any_patterns_are_tested_as_they_read(
        patterns in vec(vec(condition(), 0..4), 0..8),
        args in prop::array::uniform6(word()),
    ) {
        let mut code = Code::default();
        let no = code.answer(EPERM);
        let patterns: Vec<&[Argument]> = patterns.iter().map(Vec::as_slice).collect();
        let start = one_of(&mut code, &patterns, ALLOW, no);
        code.load(NUMBER, start);
        let holds = |a: &Argument| args[usize::from(a.index)] & a.mask == a.value;
        let matches = patterns.iter().any(|pattern| pattern.iter().all(holds));
        let action = run(&code.into_program(), 0, NATIVE, args).action;
        prop_assert_eq!(action, if matches { ALLOW } else { EPERM });
    }
}

proptest! {
    /// Trees of any size, such that jumps of every length occur.
    #[test]
    fn any_ranges_are_found(lengths in vec(1..5_u32, 1..900), answers in 1..600_u32) {
        let firsts = lengths.iter().scan(0, |next, length| {
            let first = *next;
            *next += length;
            Some(first)
        });
        let ranges: Vec<(u32, Rule)> =
            firsts.enumerate().map(|(at, first)| (first, Rule::Answer(at as u32 % answers))).collect();
        let mut code = Code::default();
        let tree = search(&mut code, &ranges);
        code.load(NUMBER, tree);
        let program = code.into_program();
        for (at, (first, _)) in ranges.iter().enumerate() {
            let last = ranges.get(at + 1).map_or(u32::MAX, |(next, _)| next - 1);
            for number in [*first, last] {
                let action = run(&program, number, NATIVE, [0; 6]).action;
                prop_assert_eq!(action, at as u32 % answers, "{} of {:?}", number, ranges.len());
            }
        }
    }
}

#[test]
fn the_program_stays_small_and_its_paths_short() {
    let program = program();
    assert!(program.len() <= 370, "{} instructions", program.len());
    let conditional = |number| list::CONDITIONAL.iter().any(|call| call.number == number);
    for number in numbers() {
        let Ended { steps, .. } = run(&program, number, NATIVE, [0; 6]);
        let most = if conditional(number) { 50 } else { 12 };
        assert!(steps <= most, "call {number:#x} takes {steps} instructions");
    }
}

#[test]
fn every_jump_lands_in_the_program_and_every_instruction_is_of_use() {
    let program = program();
    let mut reached = BTreeSet::from([0]);
    for (at, instruction) in program.iter().enumerate() {
        assert!(reached.contains(&at), "nothing leads to instruction {at}");
        let code = u32::from(instruction.code);
        match code & 0x07 {
            libc::BPF_RET => {}
            libc::BPF_JMP if code == libc::BPF_JMP | libc::BPF_JA => {
                reached.insert(at + 1 + instruction.k as usize);
            }
            libc::BPF_JMP => {
                reached.insert(at + 1 + usize::from(instruction.jt));
                reached.insert(at + 1 + usize::from(instruction.jf));
            }
            _ => {
                reached.insert(at + 1);
            }
        }
    }
    assert_eq!(reached.len(), program.len(), "a jump leads out of the program");
}

#[test]
fn the_kernel_takes_it_and_answers_by_it() {
    let open = |family, kind| socket(family, kind, None).map(drop);
    let thread = std::thread::spawn(move || {
        let before = open(AddressFamily::INET, SocketType::SEQPACKET);
        load(&bpf().unwrap()).unwrap();
        let after = open(AddressFamily::INET, SocketType::SEQPACKET);
        (before, after, open(AddressFamily::INET, SocketType::STREAM))
    });
    let (before, after, stream) = thread.join().unwrap();
    assert_ne!(before, Err(rustix::io::Errno::PERM));
    assert_eq!(after, Err(rustix::io::Errno::PERM));
    assert_eq!(stream, Ok(()));
}
