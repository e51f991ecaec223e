//! trinity: system calls with arguments that make sense to the kernel half-way.

use super::{attack, record};
use crate::stage::Stage;
use crate::support::Engine;
use crate::support::length::rounds;

/// Calls of one run.
const CALLS: usize = 2000;

/// 32-bit calls are left out, with which the filter ends whoever makes one; and so are descriptors
/// that trinity goes on trying to open forever where it may not.
fn trinity_finds_no_hole(engine: Engine) {
    let stage = Stage::with(engine, &[]);
    let (runs, mut made, mut ended) = (rounds(1, 50), 0, 0);
    for seed in 1..=runs {
        let command = format!(
            "trinity -a 64 -q -l off -s {seed} -N {CALLS} -C 4 \
             --disable-fds=perf --disable-fds=sockets --stats"
        );
        let answer = attack(&stage, &command);
        let text = String::from_utf8_lossy(&answer.stdout()).into_owned();
        let counts =
            text.lines().filter_map(|line| line.split_once("(attempted:")?.1.split('.').next());
        let calls: usize = counts.filter_map(|count| count.parse::<usize>().ok()).sum();
        if calls == 0 {
            // It has ended itself before it could count.
            ended += 1;
            record(&format!(
                "trinity on {engine}: seed {seed}: {} {}",
                answer.status(),
                answer.exit_code()
            ));
        }
        made += calls;
    }
    record(&format!(
        "trinity on {engine}: {made} calls counted; {ended} of {runs} runs ended themselves"
    ));
    assert!(made >= CALLS / 2, "trinity counted {made} calls only");
}

on_both_engines! { together: trinity_finds_no_hole }
