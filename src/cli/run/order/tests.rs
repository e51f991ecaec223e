use std::time::Duration;

use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::cli;
use crate::registry::PullPolicy;

/// What the arguments ask for where the caller has the variable `HAS`, and types this.
fn read(args: &[&str], stdin: &[u8], terminal: bool) -> Result<Execution, String> {
    let args = ["oncebox", "run"].iter().chain(args);
    let matches = cli::command().try_get_matches_from(args).map_err(|e| e.to_string())?;
    let (_, matches) = matches.subcommand().expect("one");
    let limits = own(&mut cli::flags(matches));
    let around = Surroundings {
        variable: &|name| (name == "HAS").then(|| "its value".to_owned()),
        stdin: &mut &*stdin,
        terminal,
        most: 1000,
    };
    execution(matches, &limits, around)
}

fn check(args: &[&str]) -> Execution {
    read(args, b"", true).expect("an execution")
}

fn refused(args: &[&str]) -> String {
    read(args, b"", true).expect_err("refused")
}

/// A folder with a script, and its path.
fn script(name: &str, content: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    (folder, path.into_os_string().into_string().expect("text"))
}

#[test]
fn a_script_is_read_with_its_standard_input() {
    let (_folder, path) = script("x.py", "print()");
    let asked = read(&[&path], b"typed", false).expect("an execution");
    assert_eq!((&*asked.script, asked.stdin.as_deref()), (&b"print()"[..], Some(&b"typed"[..])));
    assert_eq!(asked.language.map(|language| language.name), Some("python"));
    // Nobody is asked to type, and nothing is as good as no standard input.
    assert_eq!(read(&[&path], b"typed", true).expect("an execution").stdin, None);
    assert_eq!(read(&[&path], b"", false).expect("an execution").stdin, None);

    let asked = read(&["-"], b"\xffecho", true).expect("an execution");
    assert_eq!((&*asked.script, asked.stdin, asked.language), (&b"\xffecho"[..], None, None));
}

#[test]
fn a_language_that_is_named_is_the_one() {
    let (_folder, path) = script("x.py", "print()");
    for args in [&["--language", "ruby", &path][..], &[&path, "--language=ruby"]] {
        assert_eq!(check(args).language.map(|language| language.name), Some("ruby"));
    }
    assert!(refused(&["--language", "cobol", "-"]).starts_with("--language: \"cobol\""));
}

#[test]
fn limits_have_the_names_of_settings_and_shorter_ones() {
    let all = [
        "--timeout=2.5",
        "--memory=64m",
        "--cpu=500m",
        "--pids=9",
        "--tmp-size=1m",
        "--output-limit=1k",
        "-",
    ];
    let (_folder, path) = script("x", "echo");
    let asked = |args: &[&str]| read(args, b"echo", true).expect("an execution").limits;
    let limits = AskedLimits {
        timeout: Some(Duration::from_millis(2500)),
        memory: Some(64 << 20),
        cpu_millis: Some(500),
        pids: Some(9),
        tmp: Some(1 << 20),
        output: Some(1024),
    };
    assert_eq!(asked(&all), limits);
    let long = all.map(|arg| {
        arg.replace("memory", "memory-limit")
            .replace("cpu", "cpu-limit")
            .replace("pids", "pids-limit")
    });
    assert_eq!(asked(&long.each_ref().map(String::as_str)), limits);
    assert_eq!(asked(&[&path]), AskedLimits::default());
    assert!(refused(&["--memory=1q", "-"]).starts_with("--memory-limit: \"1q\" is not a size"));
    assert!(refused(&["--pids=x", "-"]).starts_with("--pids-limit: write a whole number"));
    assert!(refused(&["--memory=1m", "--memory-limit=2m", "-"]).contains("multiple times"));
}

#[test]
fn limits_are_no_settings_here_and_no_short_names_elsewhere() {
    let flags = |args: &[&str]| {
        let matches = cli::command().try_get_matches_from(args).expect("valid");
        cli::flags(cli::innermost(&matches))
    };
    let mut flags =
        flags(&["oncebox", "--timeout", "9", "run", "--memory=1m", "--engine=native", "-"]);
    let limits = own(&mut flags);
    assert_eq!((&*limits["timeout"], &*limits["memory_limit"]), ("9", "1m"));
    assert_eq!(flags.values.keys().collect::<Vec<_>>(), [&"engine"]);
    assert!(cli::command().try_get_matches_from(["oncebox", "serve", "--memory=1m"]).is_err());
}

#[test]
fn variables_are_set_or_passed_on_and_the_last_one_counts() {
    let args = ["-e", "A=1", "-e", "B=", "-eHAS", "--env", "HAS_NOT", "-e", "A=x=y", "-"];
    let asked = read(&args, b"echo", true).expect("an execution");
    let env: Vec<_> =
        asked.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("B", ""), ("HAS", "its value"), ("A", "x=y")]);
    assert!(refused(&["-e", "=x", "-"]).starts_with("-e: a name is empty"));
    let secret = refused(&["-e", "A=open\u{0}sesame", "-"]);
    assert!(secret.starts_with("-e A:") && !secret.contains("sesame"), "{secret}");
}

#[rstest]
#[case("a.txt", "a.txt")]
#[case("./d/a.txt", "d/a.txt")]
#[case("././a.txt", "a.txt")]
#[case("d/a.txt", "d/a.txt")]
#[case("../a.txt", "a.txt")]
#[case("/etc/a.txt", "a.txt")]
#[case("d/../a.txt", "a.txt")]
fn a_file_is_where_the_script_would_find_it(#[case] local: &str, #[case] path: &str) {
    assert_eq!(beside(local), path);
}

#[test]
fn files_are_read_with_their_names_and_modes() {
    let (folder, path) = script("x.sh", "echo");
    let tool = folder.path().join("tool");
    fs::write(&tool, b"\xff").expect("a file");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o700)).expect("its owner");
    let tool = tool.to_str().expect("text");
    let asked = check(&["--file", tool, "--file", &format!("{path}:d/y"), &path]);
    let files: Vec<_> = asked
        .files
        .iter()
        .map(|file| (file.path.as_str(), &*file.content, file.executable))
        .collect();
    assert_eq!(files, [("tool", &b"\xff"[..], true), ("d/y", b"echo", false)]);
    assert!(refused(&["--file", &format!("{path}:../y"), "-"]).contains(".."));
    assert!(refused(&["--file", &format!("{path}:"), "-"]).contains("empty"));
    assert!(refused(&["--file", "/nowhere/x", "-"]).contains("/nowhere/x can't be read"));
    assert!(refused(&["--file", "/tmp:x", "-"]).contains("/tmp can't be read"));
}

#[test]
fn everything_else_finds_its_place() {
    let args = [
        "--image",
        "registry.example/a:1",
        "--pull-policy",
        "never",
        "--output",
        "*.txt",
        "--output=b",
        "-",
        "--",
        "-x",
        "--memory",
        "a b",
    ];
    let asked = read(&args, b"echo", true).expect("an execution");
    assert_eq!(asked.image.map(|image| image.to_string()).as_deref(), Some("registry.example/a:1"));
    assert_eq!(asked.pull_policy, Some(PullPolicy::Never));
    assert_eq!(asked.outputs.iter().map(|p| p.as_str()).collect::<Vec<_>>(), ["*.txt", "b"]);
    assert_eq!(
        asked.args.iter().map(|a| a.as_str()).collect::<Vec<_>>(),
        ["-x", "--memory", "a b"]
    );
}

#[rstest]
#[case(&[], "required")]
#[case(&["-", "arg"], "unexpected argument")]
#[case(&["-", "--output-dir", "x"], "--output")]
#[case(&["-", "--output=a", "--output-dir", "x", "--json"], "--json")]
#[case(&["-", "--api-key-file", "x"], "--server")]
#[case(&["-", "--api-key", "x"], "unexpected argument")]
#[case(&["-", "--image", "A b"], "--image:")]
#[case(&["-", "--output", "../x"], "--output:")]
#[case(&["-", "--pull-policy", "sometimes"], "--pull-policy:")]
#[case(&["/nowhere/x.py"], "/nowhere/x.py can't be read")]
#[case(&["/dev/zero"], "/dev/zero is larger than 1000 bytes")]
fn what_is_not_understood_is_refused(#[case] args: &[&str], #[case] told: &str) {
    let why = refused(args);
    assert!(why.contains(told), "{why}");
}
