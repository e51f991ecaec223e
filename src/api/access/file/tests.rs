use rstest::rstest;

use super::*;
use crate::api::access::testing::KeyFile;
use crate::api::access::token::Token;

const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A text with one key, of the lines that are given.
fn entry(lines: &str) -> String {
    format!("[[keys]]\nname = \"ci\"\nhash = \"{HASH}\"\n{lines}\n")
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn an_entry_says_all_that_a_key_may() {
    let keys = parse(&entry(
        "scopes = [\"execute\", \"images\"]\nrate = \"100/m\"\nconcurrency = 4\nmax_timeout = 2.5\n\
         max_memory_limit = \"64m\"\nmax_cpu_limit = \"250m\"\nmax_pids_limit = 9\n\
         max_tmp_size = 1048576\nmax_output_limit = \"1k\"",
    ));
    let most = AskedLimits {
        timeout: Some(std::time::Duration::from_millis(2500)),
        memory: Some(64 << 20),
        cpu_millis: Some(250),
        pids: Some(9),
        tmp: Some(1 << 20),
        output: Some(1024),
    };
    let key = Key {
        name: "ci".into(),
        hash: Hash::of(b"abc"),
        scopes: vec![Scope::Execute, Scope::Images],
        rate: Some("100/m".parse().expect("a rate")),
        allowance: Arc::new(Allowance { concurrency: Some(4), most }),
    };
    assert_eq!(keys, Ok(vec![key]));
}

#[test]
fn what_is_not_said_is_what_holds_for_everyone() {
    let keys = parse(&entry("scopes = [\"admin\"]")).expect("valid");
    assert_eq!((keys[0].rate, &*keys[0].allowance), (None, &Allowance::default()));
    assert_eq!(parse(""), Ok(vec![]));
}

#[test]
fn what_breaks_a_rule_is_said_with_its_entry() {
    let good = entry("scopes = [\"execute\"]");
    let other = good.replace("sha256:ba", "sha256:bb");
    let with = |line: &str| entry(&format!("scopes = [\"execute\"]\n{line}"));
    let cases = [
        "]".to_owned(),
        "keys = 1".into(),
        "keys = [1]".into(),
        "key = []".into(),
        "[[keys]]".into(),
        "[[keys]]\nname = \"a b\"".into(),
        "[[keys]]\nname = 1".into(),
        "[[keys]]\nname = \"ci\"".into(),
        "[[keys]]\nname = \"ci\"\nhash = 7".into(),
        good.replace(HASH, "secret7"),
        good.replace(HASH, &HASH[..70]),
        good.replace(HASH, EXAMPLE),
        entry(""),
        entry("scopes = []"),
        entry("scopes = \"execute\""),
        entry("scopes = [\"execute\", \"all\"]"),
        with("rate = \"fast\""),
        with("rate = [1]"),
        with("concurrency = 0"),
        with("max_timeout = 0"),
        with("max_timeout = \"soon\""),
        with("max_memory_limit = \"1m\""),
        with("max_pids_limit = 1"),
        with("timeout = 5"),
        format!("{good}{other}"),
        format!("{good}{}", good.replace("\"ci\"", "\"cd\"")),
    ];
    let errors: Vec<_> = cases.iter().map(|text| refused(text)).collect();
    insta::assert_debug_snapshot!(errors);
}

/// Wherever a key is put by mistake, the message does not carry it on.
#[rstest]
#[case("[[keys]]\nname = \"ci\"\nhash = \"KEY\"")]
#[case("[[keys]]\nname = \"ci\"\nhash = KEY")]
#[case("[[keys]]\nname = \"ci\"\nhash = \"KEY")]
#[case("[[keys]]\nname = \"KEY\"\nhash = \"\"")]
#[case("[[keys]]\nname = \"ci\"\nKEY = \"x\"")]
#[case("[[keys]]\nname = \"ci\"\nkey = \"KEY\"")]
#[case("[[keys]]\nname = KEY")]
#[case("KEY = 1\nKEY = 2")]
#[case("KEY")]
#[case("[KEY]\n[KEY]")]
#[case("[[keys]]\nname = \"ci\"\nhash = \"HASH\"\nscopes = [\"KEY\"]")]
#[case("[[keys]]\nname = \"ci\"\nhash = \"HASH\"\nscopes = [\"admin\"]\nrate = \"KEY\"")]
#[case("[[keys]]\nname = \"ci\"\nhash = \"HASH\"\nscopes = [\"admin\"]\nmax_timeout = \"KEY\"")]
fn a_key_in_plain_is_refused_and_not_repeated(#[case] text: &str) {
    let key = Token::new().expect("random bytes");
    let told = refused(&text.replace("KEY", key.reveal()).replace("HASH", HASH));
    assert!(!told.contains("obx_") && !told.contains(&key.reveal()[4..]), "{told}");
    // A short key of somebody's own is no less secret.
    let told = refused("[[keys]]\nname = \"ci\"\nhash = \"s3cret7\"");
    assert!(!told.contains("s3cret7"), "{told}");
}

#[test]
fn the_example_is_that_of_the_readme() {
    let readme = include_str!("../../../../README.md");
    let key = readme.split(|c: char| !(c.is_ascii_alphanumeric() || "_-".contains(c)));
    let mut keys = key.filter(|word| word.starts_with("obx_") && word.len() == 47);
    let key = keys.next().expect("an example of a key");
    assert!(keys.all(|other| other == key));
    assert_eq!(Hash::of(key.as_bytes()).to_string(), EXAMPLE);
    assert!(readme.contains(EXAMPLE));
}

#[rstest]
#[case(0o600, true)]
#[case(0o640, true)]
#[case(0o660, true)]
#[case(0o604, false)]
#[case(0o602, false)]
#[case(0o644, false)]
#[case(0o666, false)]
fn a_file_for_everyone_is_refused(#[case] mode: u32, #[case] accepted: bool) {
    let mut file = KeyFile::new();
    file.add("ci", "scopes = [\"execute\"]");
    file.chmod(mode);
    assert_eq!(read(file.path()).is_ok(), accepted);
}

#[test]
fn a_file_that_is_none_or_empty_or_too_large_is_refused() {
    let file = KeyFile::new();
    let told = |path: &Path| read(path).expect_err("refused").to_string();
    assert!(told(file.path()).contains("there is no key in it"));
    assert!(told(file.path()).contains("keys.toml"));
    assert!(told(file.path().parent().expect("a folder")).contains("no file"));
    file.write(&"#".repeat((1 << 20) + 1));
    assert!(told(file.path()).contains("larger than 1 MiB"));
    file.remove();
    assert!(told(file.path()).contains("can't be read"));
}
