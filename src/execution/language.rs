//! The catalogue of languages: how to run a script that does not say so itself.

use std::path::Path;

use oncebox_guest::{PROGRAM_CAP, WORKDIR};

use super::text::{Arg, Invalid};
use crate::pool::SHELL;
use crate::registry::quoted;

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    pub name: &'static str,
    /// Interpreter argument vectors, tried in order until one's program exists; the script's path
    /// and the request's args follow.
    pub interpreters: &'static [&'static [&'static str]],
    /// The script's file name beneath the working directory.
    pub file_name: &'static str,
    /// The interpreter takes a FIFO as its script file, so it can be started before the script is
    /// there.
    pub ahead: Option<Ahead>,
}

/// What must be true of a request for an interpreter that was started ahead to treat it like one
/// that is started for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Bytes of a script, at most.
    pub longest: usize,
    /// Names in the working directory that the interpreter looks for before it reads its script.
    pub looked_for: &'static [&'static str],
    /// It wants to read the first lines twice when they name an encoding (PEP 263).
    pub encoding_line: bool,
}

const AHEAD: Ahead = Ahead { longest: PROGRAM_CAP, looked_for: &[], encoding_line: false };

/// Every language, by name. At most three interpreters each: the args travel once with every one
/// of them.
pub const CATALOGUE: &[Language] = &[
    Language {
        name: SHELL,
        interpreters: &[&["/bin/sh"]],
        file_name: "script.sh",
        ahead: Some(AHEAD),
    },
    Language {
        name: "bash",
        interpreters: &[&["bash"]],
        file_name: "script.bash",
        // It reads what it can't seek in byte by byte.
        ahead: Some(Ahead { longest: 4096, ..AHEAD }),
    },
    Language {
        name: "python",
        interpreters: &[&["python3"], &["python"]],
        file_name: "script.py",
        ahead: Some(Ahead { encoding_line: true, ..AHEAD }),
    },
    Language {
        name: "node",
        interpreters: &[&["node"], &["nodejs"]],
        file_name: "script.js",
        ahead: Some(Ahead { looked_for: &["package.json"], ..AHEAD }),
    },
    Language { name: "ruby", interpreters: &[&["ruby"]], file_name: "script.rb", ahead: None },
    Language { name: "perl", interpreters: &[&["perl"]], file_name: "script.pl", ahead: None },
    Language {
        name: "lua",
        interpreters: &[&["lua"], &["lua5.4"], &["lua5.3"]],
        file_name: "script.lua",
        ahead: None,
    },
    Language { name: "php", interpreters: &[&["php"]], file_name: "script.php", ahead: None },
];

/// Other names that people use, and whose they are.
pub const ALIASES: &[(&str, &str)] =
    &[("python3", "python"), ("javascript", "node"), ("js", "node"), ("shell", "sh")];

/// The language of a script that names none and has no `#!` line.
pub const FALLBACK: Language = CATALOGUE[0];

/// What a script with a `#!` line is called when no language names it.
const BARE_NAME: &str = "script";

impl Language {
    /// The language of that name or alias.
    ///
    /// # Errors
    /// [`Invalid`] with the names there are.
    pub fn find(name: &str) -> Result<Self, Invalid> {
        let name =
            ALIASES.iter().find_map(|(alias, of)| (*alias == name).then_some(*of)).unwrap_or(name);
        CATALOGUE.iter().find(|language| language.name == name).copied().ok_or_else(|| {
            let known: Vec<_> = CATALOGUE.iter().map(|language| language.name).collect();
            Invalid(format!("{} is not known; choose one of {}", quoted(name), known.join(", ")))
        })
    }

    /// The language in which a file of that name is written, by its ending.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let ending = |name| Path::new(name).extension();
        let wanted = ending(name)?;
        CATALOGUE.iter().find(|language| ending(language.file_name) == Some(wanted)).copied()
    }

    /// Its other names.
    pub fn aliases(&self) -> impl Iterator<Item = &'static str> {
        ALIASES.iter().filter_map(|(alias, of)| (*of == self.name).then_some(*alias))
    }
}

/// The script as a file, and the ways to start it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HowToRun {
    /// The script's file name beneath the working directory.
    pub entry: &'static str,
    /// Whether the kernel itself is to run it.
    pub executable: bool,
    /// Complete argument vectors, tried in order until one's program exists.
    pub argvs: Vec<Vec<Vec<u8>>>,
}

/// A script that begins with `#!` runs by itself; otherwise its language's interpreter reads it;
/// otherwise `/bin/sh`.
#[must_use]
pub fn how_to_run(script: &[u8], language: Option<Language>, args: &[Arg]) -> HowToRun {
    let executable = script.starts_with(b"#!");
    let (entry, interpreters): (_, &[&[&str]]) = match (executable, language) {
        (true, language) => (language.map_or(BARE_NAME, |language| language.file_name), &[&[]]),
        (false, language) => {
            let language = language.unwrap_or(FALLBACK);
            (language.file_name, language.interpreters)
        }
    };
    let path = format!("{WORKDIR}/{entry}");
    let argv = |interpreter: &&[&str]| {
        let words = interpreter.iter().copied().chain([path.as_str()]);
        words.chain(args.iter().map(Arg::as_str)).map(|word| word.as_bytes().to_vec()).collect()
    };
    HowToRun { entry, executable, argvs: interpreters.iter().map(argv).collect() }
}

#[cfg(test)]
mod tests {
    use oncebox_guest::wire::{Job, MAX_ORDER, Order};
    use rstest::rstest;

    use super::*;
    use crate::execution::request::MAX_ARGS_AND_ENV;

    fn words(how: &HowToRun) -> Vec<String> {
        how.argvs.iter().map(|argv| String::from_utf8(argv.join(&b' ')).unwrap()).collect()
    }

    #[rstest]
    #[case("echo", None, "script.sh", &["/bin/sh /tmp/work/script.sh x"])]
    #[case("echo", Some("bash"), "script.bash", &["bash /tmp/work/script.bash x"])]
    #[case(
        "print()",
        Some("python3"),
        "script.py",
        &["python3 /tmp/work/script.py x", "python /tmp/work/script.py x"]
    )]
    #[case("#!/bin/cat\n", None, "script", &["/tmp/work/script x"])]
    #[case("#!/bin/cat\n", Some("node"), "script.js", &["/tmp/work/script.js x"])]
    #[case(" #!/bin/cat\n", None, "script.sh", &["/bin/sh /tmp/work/script.sh x"])]
    fn a_shebang_wins_then_the_language_then_sh(
        #[case] script: &str,
        #[case] language: Option<&str>,
        #[case] entry: &str,
        #[case] argvs: &[&str],
    ) {
        let language = language.map(|name| Language::find(name).unwrap());
        let args = ["x".to_owned().try_into().unwrap()];
        let how = how_to_run(script.as_bytes(), language, &args);
        assert_eq!(how.entry, entry);
        assert_eq!(how.executable, script.starts_with("#!"));
        assert_eq!(words(&how), argvs);
    }

    #[test]
    fn an_unknown_language_lists_the_known_ones() {
        let Invalid(why) = Language::find("cobol\n").unwrap_err();
        assert_eq!(
            why,
            "\"cobol\\n\" is not known; choose one of sh, bash, python, node, ruby, perl, lua, php"
        );
    }

    #[test]
    fn every_alias_leads_to_a_language() {
        for (alias, of) in ALIASES {
            let language = Language::find(alias).unwrap();
            assert_eq!(language.name, *of);
            assert!(language.aliases().any(|name| name == *alias));
        }
    }

    #[rstest]
    #[case("x.py", Some("python"))]
    #[case("/a.b/x.sh", Some("sh"))]
    #[case("x.bash", Some("bash"))]
    #[case("x.tar.js", Some("node"))]
    #[case("x.rb", Some("ruby"))]
    #[case("x.pl", Some("perl"))]
    #[case("x.lua", Some("lua"))]
    #[case("x.php", Some("php"))]
    #[case("x.PY", None)]
    #[case("py", None)]
    #[case(".py", None)]
    #[case("-", None)]
    fn a_file_s_ending_says_its_language(#[case] file: &str, #[case] name: Option<&str>) {
        assert_eq!(Language::of_file(file).map(|language| language.name), name);
    }

    #[test]
    fn the_largest_args_still_fit_one_frame() {
        let arg: Arg = "x".repeat(128 * 1024 - 9).try_into().unwrap();
        let args = vec![arg; MAX_ARGS_AND_ENV / (128 * 1024)];
        for language in CATALOGUE {
            let how = how_to_run(b"", Some(*language), &args);
            let mut frame = Vec::new();
            Order::Job(Job { argvs: how.argvs, ..Job::default() }).encode(&mut frame);
            // The rest is for the image's own environment and the patterns.
            assert!(frame.len() < MAX_ORDER * 7 / 8, "{}", language.name);
        }
    }
}
