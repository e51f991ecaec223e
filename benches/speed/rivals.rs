//! What the service is compared with on the host: a minimal single-threaded program that forks and
//! executes a command, reads what it prints and waits for its end. The bench is that program too,
//! re-executed under [`WORD`].
//!
//! It is asked for so many milliseconds (32 bits) and runs the command, one after the other, until
//! they have passed, but once at the least; it answers with the count (32 bits) and the nanoseconds
//! of each run (64 bits).

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The first argument of the re-execution.
pub const WORD: &str = "rival";

/// The environment of a container, so that both sides find and start the same interpreters.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ENVIRONMENT: [(&str, &str); 3] = [("PATH", PATH), ("HOME", "/tmp"), ("LANG", "C.UTF-8")];

/// The life of the minimal program: `argv` is the command.
pub fn serve(argv: &[String]) {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
    // Without this std would use `posix_spawn`; asked for a user, though it is the one we are, it
    // really forks and executes, and needs no unsafe code of ours.
    command.uid(rustix::process::getuid().as_raw());
    let mut asked = [0; 4];
    while io::stdin().read_exact(&mut asked).is_ok() {
        let time = Duration::from_millis(u32::from_le_bytes(asked).into());
        let began = Instant::now();
        let mut times = Vec::new();
        loop {
            times.push(once(&mut command));
            if began.elapsed() >= time {
                break;
            }
        }
        let mut answer = u32::try_from(times.len()).unwrap().to_le_bytes().to_vec();
        answer.extend(times.iter().flat_map(|nanoseconds| nanoseconds.to_le_bytes()));
        io::stdout().write_all(&answer).and_then(|()| io::stdout().flush()).expect("the bench");
    }
}

fn once(command: &mut Command) -> u64 {
    let began = Instant::now();
    let mut child = command.spawn().expect("the command starts");
    let mut stdout = child.stdout.take().expect("it is piped");
    let mut output = [0; 64];
    let mut length = 0;
    loop {
        match stdout.read(&mut output[length..]).expect("its output") {
            0 => break,
            read => length += read,
        }
    }
    let status = child.wait().expect("its end");
    let took = began.elapsed();
    assert!(status.success() && &output[..length] == b"hi\n", "the command did not print hi");
    u64::try_from(took.as_nanos()).unwrap()
}

/// A minimal program that waits to be asked. Without its standard input it ends.
pub struct Rival {
    child: Child,
    asks: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Rival {
    pub fn start(argv: &[String]) -> Self {
        let mut program = Command::new(std::env::current_exe().expect("this program"));
        program.arg(WORD).args(argv).env_clear().envs(ENVIRONMENT);
        program.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        program.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = program.spawn().expect("this program starts again");
        let asks = child.stdin.take();
        let answers = child.stdout.take().expect("it is piped");
        Self { child, asks, answers }
    }

    /// Runs the command once.
    pub fn once(&mut self) -> Duration {
        self.ask(Duration::ZERO);
        self.answer()[0]
    }

    /// Has the command run again and again for so long; [`Rival::answer`] waits for it.
    pub fn ask(&mut self, time: Duration) {
        let asks = self.asks.as_mut().expect("it has not been told to end");
        let milliseconds = u32::try_from(time.as_millis()).expect("less than a month");
        asks.write_all(&milliseconds.to_le_bytes()).expect("the rival listens");
    }

    pub fn answer(&mut self) -> Vec<Duration> {
        let mut count = [0; 4];
        self.answers.read_exact(&mut count).expect("the rival answers");
        let mut times = vec![0; 8 * u32::from_le_bytes(count) as usize];
        self.answers.read_exact(&mut times).expect("the rival answers");
        let (times, _) = times.as_chunks::<8>();
        times.iter().map(|time| Duration::from_nanos(u64::from_le_bytes(*time))).collect()
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.asks = None;
        let _ = self.child.wait();
    }
}

/// `hello.py` and `hello.js` on the host.
pub struct Scripts(TempDir);

impl Scripts {
    pub fn write() -> Self {
        let folder = tempfile::Builder::new().prefix("oncebox-speed-").tempdir().expect("a folder");
        for (name, script) in [("hello.py", "print('hi')\n"), ("hello.js", "console.log('hi')\n")] {
            std::fs::write(folder.path().join(name), script).expect("a script");
        }
        Self(folder)
    }

    /// The command that runs one of them by this interpreter.
    pub fn command(&self, interpreter: &str, script: &str) -> Vec<String> {
        let script = self.0.path().join(script);
        [find(interpreter, PATH), script].map(|path| path.display().to_string()).to_vec()
    }
}

/// A program on a search path.
pub fn find(program: &str, path: &str) -> PathBuf {
    let found = path.split(':').map(|folder| PathBuf::from(folder).join(program));
    found
        .into_iter()
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("no {program} in {path}"))
}
