use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::execution::testing::CEILINGS;

fn file(path: Option<PathBuf>) -> RuntimeFile {
    let naming = Naming("registry.example/team".parse().ok());
    RuntimeFile { path, ceilings: CEILINGS, naming }
}

fn refused(text: &str) -> String {
    file(None).parse(text).unwrap_err()
}

#[test]
fn a_file_is_read_whole() {
    let offered = file(None).parse(
        r#"
        [[runtimes]]
        name = "python-scientific"
        display_name = "Python, scientific"
        description = "numpy\nand pandas"
        image = "scientific:3"
        version = "3.13"
        language = "python"
        env = { OMP_NUM_THREADS = "1" }
        timeout = 20
        memory_limit = "512m"
        cpu_limit = 1
        pids_limit = 32
        tmp_size = 1048576
        output_limit = "64k"
        pool = 2

        [[runtimes]]
        name = "other"
        image = "docker.io/library/alpine"

        [resources.small]
        timeout = 1.5
        memory_limit = "64m"

        [resources.gpu-less]
        pids_limit = 9
        "#,
    );
    insta::assert_debug_snapshot!(offered.unwrap());
}

#[test]
fn what_breaks_a_rule_is_said_with_its_runtime_and_its_field() {
    let entry = |more: &str| format!("[[runtimes]]\nname = \"a\"\nimage = \"alpine\"\n{more}");
    let cases = [
        "runtimes = 1".to_owned(),
        "[[runtime]]".to_owned(),
        "a b".to_owned(),
        "[[runtimes]]\nname = \"a\"".to_owned(),
        "[[runtimes]]\nname = \"A\"\nimage = \"alpine\"".to_owned(),
        "[[runtimes]]\nname = \"a\"\nimage = \"A;b\"".to_owned(),
        entry("langauge = \"python\""),
        entry("language = \"cobol\""),
        entry("env = { \"A=B\" = \"1\" }"),
        entry("env = { SECRET = 1234567 }"),
        entry("timeout = 600"),
        entry("timeout = \"long\""),
        entry("memory_limit = \"1m\""),
        entry("pool = -1"),
        entry("display_name = \"\""),
        entry("version = \"a\\u001b[31m\""),
        entry(&format!("env = {{ A = \"{}\" }}", "x".repeat(70_000))),
        entry(&entry("")),
        "resources = 1".to_owned(),
        "[resources]\nsmall = 1".to_owned(),
        "[resources.Small]".to_owned(),
        "[resources.small]\ncpu = 1".to_owned(),
        "[resources.small]\npids_limit = 100000".to_owned(),
    ];
    let said: Vec<_> = cases.iter().map(|text| refused(text)).collect();
    assert!(!said.iter().any(|said| said.contains("1234567")), "{said:?}");
    insta::assert_debug_snapshot!(said);
}

#[test]
fn a_file_that_everyone_may_change_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runtimes.toml");
    assert!(file(Some(path.clone())).read().unwrap_err().contains("can't be read"));
    fs::write(&path, "").unwrap();
    assert_eq!(file(Some(path.clone())).read().unwrap().templates.len(), 3);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
    assert!(file(Some(path)).read().unwrap_err().contains("chmod o-w"));
}
