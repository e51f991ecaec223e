//! `oncebox run`: a script from the command line behaves as if it were run by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::residue::Residue;
use crate::support::service::{Service, oncebox};
use crate::support::{Engine, host, until};

mod server;

/// For one script to end, its engine's start and end included.
const SOON: Duration = Duration::from_secs(30);

/// How it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

/// A folder to be in, with files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::Builder::new().prefix("oncebox-it-run-").tempdir().expect("a folder");
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).expect("a file");
    }
    folder
}

/// The command, which is not started yet.
fn command(engine: Engine, args: &[&str]) -> Command {
    let mut command = oncebox("run", engine);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end with this standard input.
#[track_caller]
fn finish(mut command: Command, stdin: &[u8]) -> Ran {
    let residue = Residue::before();
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    residue.owned_by(child.id());
    let mut pipe = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // It may be refused before it is read.
        scope.spawn(move || pipe.write_all(stdin));
        let output = child.wait_with_output().expect("it ends");
        residue.gone();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran {
            code: output.status.code().expect("an exit code"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    })
}

#[track_caller]
fn script(engine: Engine, args: &[&str], script: &str) -> Ran {
    finish(command(engine, &[args, &["-"]].concat()), script.as_bytes())
}

/// One that goes on, and must leave nothing behind.
struct Going {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    residue: Residue,
}

impl Going {
    fn start(mut command: Command, script: &str) -> Self {
        let residue = Residue::before();
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(script.as_bytes()).expect("a script is taken");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let stderr = child.stderr.take().expect("a pipe");
        Self { child, stdout, stderr, residue }
    }

    /// The next line of its output, once its script runs.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        self.residue.owned_by(self.child.id());
        line
    }

    fn signal(&self, signal: Signal) {
        host::signal(self.child.id(), signal);
    }

    /// Its exit code and what it says at the end.
    fn end(self) -> Ran {
        let Self { mut child, mut stdout, mut stderr, residue } = self;
        let status = until("the end", SOON, || child.try_wait().expect("a child"));
        residue.gone();
        let mut ran = Ran {
            code: status.code().expect("a code"),
            stdout: String::new(),
            stderr: String::new(),
        };
        stdout.read_to_string(&mut ran.stdout).expect("text");
        stderr.read_to_string(&mut ran.stderr).expect("text");
        ran
    }
}

/// Exit codes are the script's, all of them, and signals are counted as by a shell.
fn exits_as_the_script_does(engine: Engine) {
    let codes: &[i32] = match engine {
        Engine::Native => &[0, 1, 2, 42, 124, 125, 126, 127, 128, 130, 254, 255],
        Engine::Docker => &[0, 3, 255],
    };
    for code in codes {
        let ran = script(engine, &[], &format!("exit {code}"));
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (*code, "", ""), "{ran:?}");
    }
    for (signal, code) in [("KILL", 137), ("SEGV", 139), ("TERM", 143)] {
        let ran = script(engine, &[], &format!("kill -{signal} $$"));
        assert_eq!(ran.code, code, "{ran:?}");
        assert_eq!(ran.stderr, format!("oncebox: The script was ended by SIG{signal}.\n"));
    }
}

/// Standard input, args, variables and files go in; output and files come out.
fn everything_reaches_the_script_and_comes_back(engine: Engine) {
    let folder = folder(&[
        (
            "x.sh",
            "cat; echo \"$# $1 $2\"; echo \"$A $HAS ${HAS_NOT-none}\"; cat data.txt; ./tool\n\
             mkdir -p out; echo made >out/a.txt; cp tool out/tool; echo hid >other; echo err >&2\n",
        ),
        ("data.txt", "data\n"),
        ("tool", "#!/bin/sh\necho tool\n"),
    ]);
    let tool = folder.path().join("tool");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).expect("its owner");
    let args = [
        "x.sh",
        "-e",
        "A=a b",
        "-e",
        "HAS",
        "-e",
        "HAS_NOT",
        "--file",
        "data.txt",
        "--file",
        "./tool",
        "--output",
        "out/*",
        "--output-dir",
        "back/here",
        "--",
        "one two",
        "--three",
    ];
    let mut command = command(engine, &args);
    command.current_dir(&folder).env("HAS", "passed on");
    let ran = finish(command, b"typed\n");
    let wanted = "typed\n2 one two --three\na b passed on none\ndata\ntool\n";
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, wanted, "err\n"), "{ran:?}");
    let back = folder.path().join("back/here/out");
    assert_eq!(std::fs::read_to_string(back.join("a.txt")).expect("a file"), "made\n");
    let executable = |name: &str| {
        let about = std::fs::metadata(back.join(name)).expect("a file");
        about.permissions().mode() & 0o100 != 0
    };
    assert!(executable("tool") && !executable("a.txt"));
    assert_eq!(std::fs::read_dir(&back).expect("a folder").count(), 2);
}

/// The ending of a file's name says how to run it, an argument or a `#!` line says otherwise.
fn a_script_runs_in_its_language(engine: Engine) {
    let folder = folder(&[
        ("a.py", "import sys; print('python', sys.argv[1:])"),
        ("b.py", "#!/bin/sh\necho sh $1"),
        ("c", "echo also sh $1"),
    ]);
    for (args, told) in [
        (&["a.py", "--", "x"][..], "python ['x']\n"),
        (&["b.py", "--", "x"], "sh x\n"),
        (&["c", "--", "x"], "also sh x\n"),
        (&["c", "--language", "bash", "--", "x"], "also sh x\n"),
    ] {
        let mut command = command(engine, args);
        let ran = finish(
            {
                command.current_dir(&folder);
                command
            },
            b"",
        );
        assert_eq!((ran.code, &*ran.stdout), (0, told), "{args:?}: {ran:?}");
    }
    let ran = script(engine, &["--language", "python"], "print(6 * 7)");
    assert_eq!((ran.code, &*ran.stdout), (0, "42\n"), "{ran:?}");
}

/// What is printed is there when it is printed, bytes as they are, each on its own stream.
fn output_comes_as_it_is_written(engine: Engine) {
    let mark = host::mark("61");
    let mut going =
        Going::start(command(engine, &["-"]), &format!("echo first; sleep {mark}; printf last"));
    assert_eq!(going.line(), "first\n");
    host::signal(host::await_argument(&mark), Signal::KILL);
    let ran = going.end();
    assert_eq!((ran.code, &*ran.stdout), (0, "last"), "{ran:?}");

    let mut command = command(engine, &["-"]);
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"printf '\\377\\000\\n\\303'; printf '\\251' >&2").expect("taken");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((&*output.stdout, &*output.stderr), (&b"\xff\0\n\xc3"[..], &b"\xa9"[..]));
}

/// As in any pipeline, the script ends when nobody reads, and nothing is said of it.
fn a_reader_that_leaves_ends_the_script(engine: Engine) {
    let args = ["--timeout", "60", "-"];
    let mut going = Going::start(command(engine, &args), "while :; do echo y; done");
    assert_eq!(going.line(), "y\n");
    let Going { child, stdout, mut stderr, residue } = going;
    drop(stdout);
    let mut child = child;
    let status = until("the end", SOON, || child.try_wait().expect("a child"));
    residue.gone();
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!((status.code(), &*said), (Some(141), ""));
}

/// Ctrl-C ends the script, its container and us, and says nothing.
fn a_signal_ends_everything(engine: Engine) {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mark = host::mark("62");
        let endless = format!("trap '' INT TERM; echo on; sleep {mark} & sleep {mark}; echo no");
        let mut going = Going::start(command(engine, &["--timeout", "60", "-"]), &endless);
        assert_eq!(going.line(), "on\n");
        host::await_argument(&mark);
        going.signal(signal);
        let ran = going.end();
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (code, "", ""), "{ran:?}");
        assert!(host::with_argument(&mark).is_empty());
    }
}

/// Limits hold, and a sentence says which one it was.
fn limits_are_said(engine: Engine) {
    let ran = script(engine, &["--timeout", "0.3"], "printf before; sleep 1000");
    assert_eq!((ran.code, &*ran.stdout), (124, "before"), "{ran:?}");
    assert_eq!(
        ran.stderr,
        "oncebox: The script ran longer than its timeout of 0.3 s and was killed.\n"
    );
    let hungry = "x = bytearray(200 << 20)";
    let ran = script(engine, &["--memory", "32m", "--language", "python"], hungry);
    assert_eq!(ran.code, 137, "{ran:?}");
    assert!(ran.stderr.contains("more memory than its limit of 32 MiB"), "{ran:?}");
    let ran = script(engine, &["--output-limit", "5"], "printf 1234567");
    assert_eq!((ran.code, &*ran.stdout), (0, "12345"), "{ran:?}");
    assert_eq!(ran.stderr, "oncebox: stdout was cut, 7 bytes in all; --output-limit keeps more\n");
}

/// The whole answer, as a service would give it.
fn the_answer_comes_as_json(engine: Engine) {
    let args = ["--json", "--output", "a"];
    let ran = script(engine, &args, "echo out; echo err >&2; echo file >a; exit 3");
    assert_eq!((ran.code, &*ran.stderr, ran.stdout.lines().count()), (3, "", 1), "{ran:?}");
    let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(answer["status"], "completed");
    assert_eq!((&answer["stdout"], &answer["stderr"]), (&"out\n".into(), &"err\n".into()));
    assert_eq!((&answer["exit_code"], &answer["image"]), (&3.into(), &image(engine).into()));
    assert_eq!(answer["files"][0]["content"], "file\n");
}

fn image(engine: Engine) -> &'static str {
    engine.base_image()
}

/// What must change in the arguments is said with exit code 2, and nothing runs.
fn what_can_t_be_meant_is_refused(engine: Engine) {
    let folder = folder(&[("x.sh", "echo ran"), ("empty.sh", ""), ("file", "")]);
    for (args, told) in [
        (&[][..], "<FILE>"),
        (&["x.sh", "y.sh"], "y.sh"),
        (&["x.sh", "--nonsense"], "--nonsense"),
        (&["nowhere.sh"], "nowhere.sh can't be read: No such file or directory"),
        (&["empty.sh"], "script: the script is empty"),
        (&["x.sh", "--language", "cobol"], "cobol"),
        (&["x.sh", "--memory", "9g"], "MAX_MEMORY_LIMIT"),
        (&["x.sh", "--timeout", "soon"], "--timeout"),
        (&["x.sh", "-e", "=x"], "-e"),
        (&["x.sh", "--file", "nowhere"], "nowhere can't be read"),
        (&["x.sh", "--file", "x.sh:script.sh"], "the script's own name"),
        (&["x.sh", "--output", "/etc/passwd"], "--output"),
        (&["x.sh", "--output", "a", "--output-dir", "file"], "the folder file can't be used"),
        (&["x.sh", "--server", "ftp://x"], "--server"),
        (&["x.sh", "--log-level", "loud"], "LOG_LEVEL"),
    ] {
        let mut command = command(engine, args);
        command.current_dir(&folder);
        let ran = finish(command, b"");
        assert_eq!((ran.code, &*ran.stdout), (2, ""), "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(told), "{args:?}: nothing of {told}: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    }
}

/// What is not the caller's fault is said with exit code 125, and never with the script's.
fn what_fails_is_said(engine: Engine) {
    let image = ["--image", "nobody.example/x:1", "--pull-policy", "never"];
    let ran = script(engine, &image, "echo ran");
    assert_eq!((ran.code, &*ran.stdout), (125, ""), "{ran:?}");
    assert!(ran.stderr.contains("image nobody.example/x:1 was not found"), "{ran:?}");

    let folder = folder(&[("in-the-way", "")]);
    let mut command = command(engine, &["--output", "*/*", "-"]);
    command.current_dir(&folder);
    let ran = finish(command, b"mkdir in-the-way ok; echo x >in-the-way/a; echo y >ok/b");
    assert_eq!(ran.code, 125, "{ran:?}");
    assert!(ran.stderr.contains("\"in-the-way/a\" was not written to ."), "{ran:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("ok/b")).expect("a file"), "y\n");
}

/// Result files are no way out of the folder for them.
fn no_result_file_leaves_its_folder(engine: Engine) {
    let folder = folder(&[("mine", "mine\n")]);
    let back = folder.path().join("back");
    std::fs::create_dir(&back).expect("a folder");
    std::os::unix::fs::symlink("../mine", back.join("a")).expect("a link");
    std::os::unix::fs::symlink("..", back.join("d")).expect("a link");
    let mut command = command(engine, &["--output", "**", "--output-dir", "back", "-"]);
    command.current_dir(&folder);
    let ran = finish(command, b"echo theirs >a; mkdir d; echo theirs >d/mine; echo fine >ok");
    assert_eq!(ran.code, 125, "{ran:?}");
    assert_eq!(std::fs::read_to_string(folder.path().join("mine")).expect("a file"), "mine\n");
    assert_eq!(std::fs::read_to_string(back.join("ok")).expect("a file"), "fine\n");
}

/// What the README says about the command line, where there is a `report.py` and its data.
fn the_readme_s_commands_work(engine: Engine) {
    let report = "import os, sys\nos.mkdir('out')\nrows = open('data.csv').read().split()\n\
                  print(len(rows), file=open('out/rows.txt', 'w'))\nprint(len(rows), sys.argv[1:])\n";
    let folder = folder(&[("report.py", report), ("data.csv", "a,1\nb,2\n")]);
    let program = Path::new(env!("CARGO_BIN_EXE_oncebox")).parent().expect("a folder");
    let paths = std::env::var("PATH").unwrap_or_default();
    let mut said = Vec::new();
    for line in crate::first_minute::readme_commands("run") {
        let plain = oncebox("run", engine);
        let mut command = Command::new("sh");
        command.args(["-c", &line]).env_clear().current_dir(&folder).stderr(Stdio::piped());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", format!("{}:{paths}", program.display())).stdout(Stdio::piped());
        let ran = finish(command, b"");
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{line}: {ran:?}");
        said.push(ran.stdout);
    }
    let [answer, report, document, languages] = &said[..] else { panic!("{said:?}") };
    assert_eq!((&**answer, &**report), ("42\n", "2 ['--all']\n"));
    assert_eq!(std::fs::read_to_string(folder.path().join("out/rows.txt")).expect("a file"), "2\n");
    let document: Value = serde_json::from_str(document).expect("JSON");
    assert_eq!(document["stdout"], "2 []\n");
    assert!(languages.starts_with("NAME "), "{languages}");
}

/// An engine that can't be had is said, with what to do about it.
#[test]
fn docker_that_does_not_answer_is_said() {
    let _turn = crate::support::turn::together();
    let mut command = command(Engine::Docker, &["-"]);
    command.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let ran = finish(command, b"echo ran");
    assert_eq!((ran.code, &*ran.stdout), (125, ""), "{ran:?}");
    assert!(ran.stderr.contains("/nowhere/docker.sock"), "{ran:?}");
}

/// What a script may be written in, for people and for programs.
#[test]
fn languages_are_listed() {
    let list = |args: &[&str]| {
        let output = oncebox("languages", Engine::Native).args(args).output().expect("it runs");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("text")
    };
    let table = list(&[]);
    assert!(table.lines().any(|line| line.starts_with("python ")), "{table}");
    let document: Value = serde_json::from_str(&list(&["--json"])).expect("JSON");
    let languages = document["languages"].as_array().expect("a list");
    assert_eq!(languages.len() + 1, table.lines().count());
    assert!(languages.iter().any(|language| language["name"] == "python"), "{document}");
}

on_both_engines! {
    together: exits_as_the_script_does, everything_reaches_the_script_and_comes_back,
        a_script_runs_in_its_language, output_comes_as_it_is_written, limits_are_said,
        the_answer_comes_as_json, what_fails_is_said;
    native: the_readme_s_commands_work, what_can_t_be_meant_is_refused, no_result_file_leaves_its_folder
}

/// What ends early is looked for on the whole machine.
mod early {
    use super::{a_reader_that_leaves_ends_the_script, a_signal_ends_everything};

    on_both_engines! {
        together: ;
        alone: a_reader_that_leaves_ends_the_script, a_signal_ends_everything
    }
}
