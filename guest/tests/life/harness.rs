//! A guest in a private pid and mount namespace with its own small `/tmp`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use oncebox_guest::wire::{
    CHUNK, Ended, Exit, HEADER_LEN, Job, MAX_REPORT, Order, Posture, Report, SkipReason, header,
};

/// No step of a test takes this long unless something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Becomes PID 1 with `/tmp` mounted and `$SETUP` done, and gives up every privilege.
const BECOME_GUEST: &str = r#"
exec 9<"$GUEST" || exit 1
mount -t tmpfs -o "$TMP,mode=1777" tmpfs /tmp || exit 1
eval "$SETUP"
exec setpriv $DROP --inh-caps=-all --bounding-set=-all --no-new-privs /proc/self/fd/9 "$@"
"#;

/// What a container of a test is like.
pub(crate) struct Setup {
    /// Mount options of `/tmp`.
    pub(crate) tmp: &'static str,
    /// Shell commands to run before the guest.
    pub(crate) before: &'static str,
    /// The guest's own argument.
    pub(crate) argument: Option<&'static str>,
    /// Two pipes, as Docker passes, rather than one socket.
    pub(crate) pipes: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { tmp: "size=16m,nr_inodes=1024", before: "", argument: Some("none"), pipes: false }
    }
}

/// A guest, seen from the service's side.
pub(crate) struct Guest {
    child: Child,
    /// `None` once the stream was closed.
    orders: Option<Box<dyn Write>>,
    /// The same stream, where it is a socket.
    socket: Option<UnixStream>,
    reports: Receiver<Report<'static>>,
}

impl Guest {
    pub(crate) fn start(setup: &Setup) -> Self {
        let mut socket = None;
        let (orders, input, reports, output) = if setup.pipes {
            let (input, orders) = io::pipe().unwrap();
            let (reports, output) = io::pipe().unwrap();
            (
                boxed(orders),
                OwnedFd::from(input),
                File::from(OwnedFd::from(reports)),
                OwnedFd::from(output),
            )
        } else {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let input = OwnedFd::from(theirs.try_clone().unwrap());
            let reader = File::from(OwnedFd::from(ours.try_clone().unwrap()));
            socket = ours.try_clone().ok();
            (boxed(ours), input, reader, OwnedFd::from(theirs))
        };
        let child = namespaces(setup)
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .spawn()
            .expect("util-linux's unshare");
        let (sender, receiver) = sync_channel(0);
        thread::spawn(move || {
            let mut reports = reports;
            while let Some(report) = next_report(&mut reports) {
                if sender.send(report).is_err() {
                    return;
                }
            }
        });
        Self { child, orders: Some(orders), socket, reports: receiver }
    }

    /// A guest that has said it is ready.
    pub(crate) fn ready(setup: &Setup) -> Self {
        let guest = Self::start(setup);
        guest.posture();
        guest
    }

    pub(crate) fn posture(&self) -> Posture {
        match self.next() {
            Some(Report::Ready(posture)) => posture,
            other => panic!("expected the guest to be ready, got {other:?}"),
        }
    }

    /// The next report; `None` at the end of the stream.
    pub(crate) fn next(&self) -> Option<Report<'static>> {
        use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
        match self.reports.recv_timeout(PATIENCE) {
            Ok(report) => Some(report),
            Err(Disconnected) => None,
            Err(Timeout) => panic!("the guest says nothing"),
        }
    }

    /// Sends encoded orders. A guest that no longer listens is for the test to find out.
    pub(crate) fn send(&mut self, frames: &[u8]) {
        let _ = self.orders.as_mut().unwrap().write_all(frames);
    }

    pub(crate) fn order(&mut self, order: &Order<'_>) {
        let mut frame = Vec::new();
        order.encode(&mut frame);
        self.send(&frame);
    }

    pub(crate) fn deliver(&mut self, task: &Task) {
        self.send(&task.frames());
    }

    /// Waits for this text on the script's stdout, in one piece.
    pub(crate) fn wait_for_stdout(&self, text: &str) {
        loop {
            match self.next() {
                Some(Report::Stdout(bytes)) if bytes == text.as_bytes() => return,
                Some(Report::Started) => {}
                other => panic!("expected {text:?} on stdout, got {other:?}"),
            }
        }
    }

    /// Reads to the end.
    pub(crate) fn outcome(self) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            match self.next().expect("the stream ended before Done") {
                Report::Started => assert_eq!(outcome.ended, None),
                Report::Stdout(bytes) => outcome.stdout.extend_from_slice(bytes),
                Report::Stderr(bytes) => outcome.stderr.extend_from_slice(bytes),
                Report::Ended(ended) => assert_eq!(outcome.ended.replace(ended), None),
                Report::File { path, executable, size } => {
                    let mut bytes = Vec::new();
                    while (bytes.len() as u64) < size {
                        match self.next() {
                            Some(Report::Data(chunk)) => bytes.extend_from_slice(chunk),
                            other => panic!("expected data, got {other:?}"),
                        }
                    }
                    assert_eq!(bytes.len() as u64, size);
                    outcome.files.push((text(path), bytes, executable));
                }
                Report::Skipped { path, reason } => outcome.skipped.push((text(path), reason)),
                Report::Done => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(self.next(), None, "Done is the last word");
        assert!(self.exit());
        outcome
    }

    /// Closes the control stream as a service that dies does.
    pub(crate) fn hang_up(&mut self) {
        self.orders = None;
        if let Some(socket) = self.socket.take() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        let (_, dead) = sync_channel(0);
        self.reports = dead;
    }

    /// Waits for the container's end; whether the guest ended well.
    pub(crate) fn exit(self) -> bool {
        self.exit_code() == Some(0)
    }

    pub(crate) fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

fn boxed(writer: impl Write + 'static) -> Box<dyn Write> {
    Box::new(writer)
}

fn namespaces(setup: &Setup) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]);
    let is_root = Path::new("/proc/self").metadata().unwrap().uid() == 0;
    if !is_root {
        command.args(["--user", "--map-root-user"]);
    }
    let drop = if is_root { "--reuid=64999 --regid=64998 --clear-groups" } else { "" };
    command
        .args(["sh", "-c", BECOME_GUEST, "sh"])
        .args(setup.argument)
        .env("GUEST", env!("CARGO_BIN_EXE_oncebox-guest"))
        .env("TMP", setup.tmp)
        .env("SETUP", setup.before)
        .env("DROP", drop);
    command
}

fn next_report(from: &mut impl Read) -> Option<Report<'static>> {
    let mut head = [0; HEADER_LEN];
    from.read_exact(&mut head).ok()?;
    let (kind, len) = header(head, MAX_REPORT).unwrap();
    let mut payload = vec![0; len];
    from.read_exact(&mut payload).ok()?;
    // Leaked, so that a test can keep it: a test process is short.
    Some(Report::decode(kind, payload.leak()).unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A job as a test writes it.
#[derive(Clone, Default)]
pub(crate) struct Task {
    pub(crate) job: Job,
    pub(crate) files: Vec<(&'static str, Vec<u8>, bool)>,
    pub(crate) stdin: Option<Vec<u8>>,
}

impl Task {
    /// Tries these argument vectors.
    pub(crate) fn argvs(argvs: &[&[&str]]) -> Self {
        let bytes = |argv: &&[&str]| argv.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let job = Job {
            argvs: argvs.iter().map(bytes).collect(),
            env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec()],
            output_cap: 1 << 20,
            file_cap: 1 << 20,
            files_cap: 4 << 20,
            files_count: 20,
            timer_ms: 60_000,
            ..Job::default()
        };
        Self { job, ..Self::default() }
    }

    /// A shell script, as a file.
    pub(crate) fn sh(script: &str) -> Self {
        Self::argvs(&[&["/bin/sh", "script"]]).file("script", script, false)
    }

    pub(crate) fn file(
        mut self,
        path: &'static str,
        content: impl AsRef<[u8]>,
        executable: bool,
    ) -> Self {
        self.files.push((path, content.as_ref().to_vec(), executable));
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub(crate) fn outputs(mut self, patterns: &[&str]) -> Self {
        self.job.outputs = patterns.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Job)) -> Self {
        change(&mut self.job);
        self
    }

    pub(crate) fn frames(&self) -> Vec<u8> {
        let mut frames = Vec::new();
        Order::Job(self.job.clone()).encode(&mut frames);
        let data = |frames: &mut Vec<u8>, bytes: &[u8]| {
            bytes.chunks(CHUNK).for_each(|chunk| Order::Data(chunk).encode(frames));
        };
        for (path, content, executable) in &self.files {
            let (path, size) = (path.as_bytes(), content.len() as u64);
            Order::File { path, executable: *executable, size }.encode(&mut frames);
            data(&mut frames, content);
        }
        if let Some(stdin) = &self.stdin {
            Order::Stdin { size: stdin.len() as u64 }.encode(&mut frames);
            data(&mut frames, stdin);
        }
        Order::Go.encode(&mut frames);
        frames
    }

    pub(crate) fn run(&self) -> Outcome {
        self.run_in(&Setup::default())
    }

    pub(crate) fn run_in(&self, setup: &Setup) -> Outcome {
        let mut guest = Guest::ready(setup);
        guest.deliver(self);
        guest.outcome()
    }
}

/// All that a guest reported.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    ended: Option<Ended>,
    pub(crate) files: Vec<(String, Vec<u8>, bool)>,
    pub(crate) skipped: Vec<(String, SkipReason)>,
}

impl Outcome {
    pub(crate) fn ended(&self) -> Ended {
        self.ended.expect("Ended comes before Done")
    }

    pub(crate) fn exit(&self) -> Exit {
        self.ended().exit
    }

    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }
}
