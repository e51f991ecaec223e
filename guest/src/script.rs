//! Starting the script: what a shell does between `fork` and `exec`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use oncebox_guest::wire::Job;
use oncebox_guest::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND};

use crate::job::c_string;
use crate::sys::{self, Strings};

/// Where programs are looked up when the environment names no `PATH` (execvp(3)).
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// A script that runs: its process, and our ends of its standard streams.
pub(crate) struct Script {
    pub(crate) pid: i32,
    pub(crate) started: Instant,
    /// What it has not been given yet; `None` when that is everything.
    pub(crate) stdin: Option<Feed>,
    pub(crate) stdout: PipeReader,
    pub(crate) stderr: PipeReader,
}

/// The rest of a script's stdin, and the pipe it goes into as the script reads.
pub(crate) struct Feed {
    pub(crate) pipe: PipeWriter,
    bytes: Vec<u8>,
    given: usize,
}

impl Feed {
    fn new(pipe: PipeWriter, bytes: Vec<u8>) -> io::Result<Option<Self>> {
        sys::set_nonblocking(&pipe)?;
        Ok(Self { pipe, bytes, given: 0 }.give())
    }

    /// Writes what the pipe takes. `None`, and with it the end of the script's input, when
    /// everything is written or nobody reads any more.
    pub(crate) fn give(mut self) -> Option<Self> {
        while self.given < self.bytes.len() {
            match self.pipe.write(&self.bytes[self.given..]) {
                Ok(n) => self.given += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Some(self),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        None
    }
}

/// Starts the script in the working directory.
pub(crate) fn start(job: &Job, stdin: Option<Vec<u8>>, workdir: &File) -> io::Result<Script> {
    let (input, feed) = match stdin {
        None => (OwnedFd::from(File::open("/dev/null")?), None),
        Some(bytes) => {
            let (reader, writer) = io::pipe()?;
            (OwnedFd::from(reader), Feed::new(writer, bytes)?)
        }
    };
    let script = launch(&job.argvs, &job.env, &input, workdir)?;
    Ok(Script { stdin: feed, ..script })
}

/// Starts the first of these programs that is there, with this standard input.
pub(crate) fn launch(
    argvs: &[Vec<Vec<u8>>],
    env: &[Vec<u8>],
    input: &OwnedFd,
    workdir: &File,
) -> io::Result<Script> {
    let programs = programs(argvs, env)?;
    let env = strings(env)?;
    let (stdout, script_stdout) = io::pipe()?;
    let (stderr, script_stderr) = io::pipe()?;
    sys::set_nonblocking(&stdout)?;
    sys::set_nonblocking(&stderr)?;
    let started = Instant::now();
    let pid = sys::fork(|| {
        become_script(&programs, &env, workdir, [input, &script_stdout, &script_stderr])
    })?;
    Ok(Script { pid, started, stdin: None, stdout, stderr })
}

/// One argument vector and the paths its program may be at.
struct Program {
    name: Vec<u8>,
    paths: Vec<CString>,
    argv: Strings,
    /// The arguments alone, for a program that is a script without a `#!` line.
    args: Vec<CString>,
}

/// Runs in the child: the code to end with where no program could be run.
fn become_script(
    programs: &[Program],
    env: &Strings,
    workdir: &File,
    streams: [&dyn AsRawFd; 3],
) -> u8 {
    let settled = sys::settle(workdir, streams);
    // The script owns its process again: its `/proc/self` is its own, as it is on any machine.
    let _ = sys::set_dumpable(true);
    // A process may always raise this. The kernel then kills scripts before it kills guests.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    sys::give_back_signals();
    let failure = match settled {
        Ok(()) => run_first(programs, env),
        Err(e) => Failure::of(b"working directory", &e),
    };
    let _ = io::stderr().write_all(&failure.line());
    failure.code
}

/// Why nothing was run, and the exit code that says so.
struct Failure {
    name: Vec<u8>,
    reason: String,
    code: u8,
}

impl Failure {
    fn of(name: &[u8], e: &io::Error) -> Self {
        let (reason, code) = match e.raw_os_error() {
            Some(sys::ENOENT | sys::ENOTDIR) => ("not found".to_owned(), EXIT_NOT_FOUND),
            Some(sys::EACCES) => ("Permission denied".to_owned(), EXIT_NOT_EXECUTABLE),
            _ => (e.to_string(), EXIT_NOT_EXECUTABLE),
        };
        Self { name: name.to_vec(), reason, code }
    }

    fn line(&self) -> Vec<u8> {
        [b"oncebox: ", &self.name[..], b": ", self.reason.as_bytes(), b"\n"].concat()
    }
}

/// Tries every program at every path, as a shell does: what is not there is passed over, what may
/// not be run is remembered. Returns only when nothing could be run.
fn run_first(programs: &[Program], env: &Strings) -> Failure {
    let mut worst: Option<Failure> = None;
    for program in programs {
        for path in &program.paths {
            let mut error = sys::exec(path, &program.argv, env);
            if error.raw_os_error() == Some(sys::ENOEXEC) && !names_interpreter(path) {
                error = run_by_shell(path, &program.args, env);
            }
            let mut failure = Failure::of(&program.name, &error);
            if failure.code == EXIT_NOT_FOUND && is_there(path) {
                "its interpreter was not found".clone_into(&mut failure.reason);
            } else if failure.code == EXIT_NOT_FOUND {
                continue;
            }
            worst.get_or_insert(failure);
        }
    }
    let nothing = || {
        let name = programs.first().map_or(&b""[..], |program| &program.name);
        Failure::of(name, &io::Error::from_raw_os_error(sys::ENOENT))
    };
    worst.unwrap_or_else(nothing)
}

/// Begins with `#!`: then it was the interpreter that the kernel could not load.
fn names_interpreter(path: &CString) -> bool {
    let mut head = [0; 2];
    File::open(OsStr::from_bytes(path.to_bytes()))
        .and_then(|mut file| file.read_exact(&mut head))
        .is_ok_and(|()| head == *b"#!")
}

/// A file that may be run and names no interpreter is a shell script (execvp(3)).
fn run_by_shell(path: &CString, args: &[CString], env: &Strings) -> io::Error {
    let shell = c"/bin/sh";
    let argv = [shell.to_owned(), path.clone()].into_iter().chain(args.iter().cloned()).collect();
    sys::exec(shell, &Strings::new(argv), env)
}

fn is_there(path: &CString) -> bool {
    Path::new(OsStr::from_bytes(path.to_bytes())).exists()
}

fn programs(argvs: &[Vec<Vec<u8>>], env: &[Vec<u8>]) -> io::Result<Vec<Program>> {
    let search = env.iter().find_map(|pair| pair.strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    let program = |argv: &Vec<Vec<u8>>| {
        let name = argv.first().filter(|name| !name.is_empty()).ok_or_else(no_program)?;
        let args = argv[1..].iter().map(|arg| c_string(arg)).collect::<io::Result<_>>()?;
        let paths = paths(name, search)?;
        Ok(Program { name: name.clone(), paths, argv: strings(argv)?, args })
    };
    argvs.iter().map(program).collect()
}

/// The paths a program may be at: the name itself where it holds a slash, else one in each folder
/// of the search path, where an empty folder is the working directory.
fn paths(name: &[u8], search: &[u8]) -> io::Result<Vec<CString>> {
    if name.contains(&b'/') {
        return Ok(vec![c_string(name)?]);
    }
    let in_folder = |folder: &[u8]| match folder {
        b"" => c_string(name),
        folder => c_string(&[folder, b"/", name].concat()),
    };
    search.split(|byte| *byte == b':').map(in_folder).collect()
}

fn strings(list: &[Vec<u8>]) -> io::Result<Strings> {
    Ok(Strings::new(list.iter().map(|item| c_string(item)).collect::<io::Result<_>>()?))
}

fn no_program() -> io::Error {
    io::Error::from_raw_os_error(sys::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, search: &str) -> Vec<String> {
        let paths = paths(name.as_bytes(), search.as_bytes()).unwrap();
        paths.into_iter().map(|path| path.into_string().unwrap()).collect()
    }

    #[test]
    fn a_name_is_searched_and_a_path_is_not() {
        assert_eq!(found("sh", "/a:/b"), ["/a/sh", "/b/sh"]);
        assert_eq!(found("sh", "/a::/b"), ["/a/sh", "sh", "/b/sh"]);
        assert_eq!(found("./sh", "/a:/b"), ["./sh"]);
    }

    #[test]
    fn a_program_without_a_name_or_with_a_nul_is_an_error() {
        for argv in [vec![], vec![b"".to_vec()], vec![b"a\0b".to_vec()]] {
            assert!(programs(&[argv], &[]).is_err());
        }
    }

    #[test]
    fn failures_read_like_a_shells() {
        let of = |errno| {
            let failure = Failure::of(b"x", &io::Error::from_raw_os_error(errno));
            (String::from_utf8(failure.line()).unwrap(), failure.code)
        };
        assert_eq!(of(sys::ENOENT), ("oncebox: x: not found\n".into(), 127));
        assert_eq!(of(sys::EACCES), ("oncebox: x: Permission denied\n".into(), 126));
        assert_eq!(of(libc::E2BIG).1, 126);
    }
}
