use oncebox_guest::wire::{
    CHUNK, CgroupLimits, Ended, Exit, Job, Posture, Prestart, SkipReason, Usage,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::testing::pair;
use super::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40)
}

fn posture() -> impl Strategy<Value = Posture> {
    let ids = any::<(u16, u32, u32, u32, u32, [u64; 5], bool, u8)>();
    let places = any::<(bool, u64, u64, bool, bool, u64, u64, u64, u64)>();
    let cgroup = any::<Option<[Option<u64>; 4]>>();
    (ids, places, cgroup).prop_map(|(ids, places, cgroup)| Posture {
        version: ids.0,
        pid: ids.1,
        uid: ids.2,
        gid: ids.3,
        groups: ids.4,
        capabilities: ids.5,
        no_new_privs: ids.6,
        seccomp: ids.7,
        root_read_only: places.0,
        tmp_bytes: places.1,
        tmp_inodes: places.2,
        tmp_nosuid: places.3,
        tmp_nodev: places.4,
        nofile: places.5,
        fsize: places.6,
        core: places.7,
        memlock: places.8,
        cgroup: cgroup.map(|[memory, memory_and_swap, pids, cpu_us_per_s]| CgroupLimits {
            memory,
            memory_and_swap,
            pids,
            cpu_us_per_s,
        }),
    })
}

fn ended() -> impl Strategy<Value = Ended> {
    let exit = prop_oneof![any::<u8>().prop_map(Exit::Code), any::<u8>().prop_map(Exit::Signal)];
    let usage = any::<([Option<u64>; 5], bool)>().prop_map(|(counters, tmp_full)| {
        let [cpu_ns, max_memory, max_pids, oom_kills, pids_refused] = counters;
        Usage { cpu_ns, max_memory, max_pids, oom_kills, pids_refused, tmp_full }
    });
    (exit, any::<(bool, u64, u64, u64)>(), usage).prop_map(
        |(exit, (stopped, wall_ns, stdout_total, stderr_total), usage)| Ended {
            exit,
            stopped,
            wall_ns,
            stdout_total,
            stderr_total,
            usage,
        },
    )
}

/// A report's values; the report itself borrows.
#[derive(Debug, Clone)]
enum Said {
    Ready(Posture),
    Ended(Ended),
    Bytes(u8, Vec<u8>, i32, bool, u64),
}

impl Said {
    fn report(&self) -> Report<'_> {
        match self {
            Self::Ready(posture) => Report::Ready(posture.clone()),
            Self::Ended(ended) => Report::Ended(*ended),
            Self::Bytes(kind, bytes, errno, flag, size) => match kind {
                0 => Report::Broken { step: bytes, errno: *errno },
                1 => Report::Refused { path: bytes, errno: *errno },
                2 => Report::Started,
                3 => Report::Stdout(bytes),
                4 => Report::Stderr(bytes),
                5 => Report::File { path: bytes, executable: *flag, size: *size },
                6 => Report::Data(bytes),
                7 => Report::Skipped { path: bytes, reason: SkipReason::TooMany },
                8 => Report::Prestarted { waits: *flag, memory: flag.then_some(*size) },
                _ => Report::Done,
            },
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        1 => posture().prop_map(Said::Ready),
        1 => ended().prop_map(Said::Ended),
        6 => (0_u8..10, bytes(), any::<i32>(), any::<bool>(), any::<u64>())
            .prop_map(|(kind, bytes, errno, flag, size)| Said::Bytes(kind, bytes, errno, flag, size)),
    ]
}

fn job() -> impl Strategy<Value = Job> {
    let argvs = vec(vec(bytes(), 0..4), 0..4);
    let numbers = any::<(u64, u64, u64, u32, u64, bool)>();
    (argvs, vec(bytes(), 0..4), vec(bytes(), 0..4), numbers).prop_map(
        |(argvs, env, outputs, numbers)| {
            let (output_cap, file_cap, files_cap, files_count, timer_ms, prestarted) = numbers;
            Job {
                argvs,
                env,
                output_cap,
                outputs,
                file_cap,
                files_cap,
                files_count,
                timer_ms,
                prestarted,
            }
        },
    )
}

fn decoded(frame: &[u8]) -> (u8, &[u8]) {
    let (head, payload) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
    let (kind, len) = wire::header(*head, usize::MAX).unwrap();
    assert_eq!(len, payload.len());
    (kind, payload)
}

proptest! {
    #[test]
    fn reports_round_trip(said in said()) {
        let mut frame = Vec::new();
        said.report().encode(&mut frame);
        let (kind, payload) = decoded(&frame);
        prop_assert_eq!(Report::decode(kind, payload).unwrap(), said.report());
        // One byte less or more is never the same report, but for those that run to their end.
        if !matches!(said.report(), Report::Stdout(_) | Report::Stderr(_) | Report::Data(_)) {
            let longer = [payload, &[0]].concat();
            prop_assert!(Report::decode(kind, &longer).is_err());
            if let Some((_, shorter)) = payload.split_last() {
                prop_assert!(Report::decode(kind, shorter).is_err());
            }
        }
    }

    #[test]
    fn orders_round_trip(
        job in job(),
        path in bytes(),
        executable: bool,
        size: u64,
    ) {
        let ahead =
            Prestart { argvs: job.argvs.clone(), env: job.env.clone(), entry: path.clone() };
        let orders = [
            Order::Prestart(ahead),
            Order::Job(job),
            Order::File { path: &path, executable, size },
            Order::Stdin { size },
            Order::Data(&path),
            Order::Go,
            Order::Stop,
        ];
        for order in orders {
            let mut frame = Vec::new();
            order.encode(&mut frame);
            let (kind, payload) = decoded(&frame);
            prop_assert_eq!(Order::decode(kind, payload).unwrap(), order);
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_within_a_frame_is_lost() {
    let mut frame = Vec::new();
    Report::Stdout(b"hello").encode(&mut frame);
    for cut in 1..frame.len() {
        let (mut channel, mut guest) = pair();
        guest.say_bytes(&frame[..cut]).await;
        drop(guest);
        assert!(matches!(channel.next().await, Err(EngineError::Lost(_))), "{cut}");
    }
}

#[tokio::test]
async fn an_oversized_frame_is_refused_by_its_header() {
    let (mut channel, mut guest) = pair();
    let len = u32::try_from(MAX_REPORT + 1).unwrap().to_le_bytes();
    guest.say_bytes(&[69, len[0], len[1], len[2], len[3]]).await;
    assert!(matches!(channel.next().await, Err(EngineError::Protocol(_))));
}

#[tokio::test]
async fn the_largest_chunk_passes() {
    let (mut channel, mut guest) = pair();
    let chunk = vec![b'x'; CHUNK];
    let say = async {
        guest.say(&Report::Stdout(&chunk)).await;
    };
    let ((), report) = futures_util::future::join(say, channel.next()).await;
    assert_eq!(report.unwrap(), Some(Report::Stdout(&chunk)));
}
