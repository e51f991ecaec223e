//! A hello in every language, with stdin and args.

use serde_json::json;

use crate::support::{Engine, Shared};

/// Language, and a script that greets its first argument and repeats its stdin.
const HELLOS: &[(&str, &str)] = &[
    ("sh", "read line; echo \"hello $1: $line\""),
    ("bash", "read -r line; printf 'hello %s: %s\\n' \"${1}\" \"${line[0]}\""),
    ("python", "import sys\nprint(f'hello {sys.argv[1]}: {input()}')"),
    (
        "node",
        "const line = require('fs').readFileSync(0, 'utf8').trim();
console.log(`hello ${process.argv[2]}: ${line}`);",
    ),
    ("perl", "my $line = <STDIN>; chomp $line; print \"hello $ARGV[0]: $line\\n\";"),
    ("ruby", "puts \"hello #{ARGV[0]}: #{$stdin.gets.chomp}\""),
    ("lua", "print('hello ' .. arg[1] .. ': ' .. io.read())"),
    ("php", "<?php echo \"hello $argv[1]: \" . trim(fgets(STDIN)) . \"\\n\";"),
];

#[track_caller]
fn hello(engine: Engine, language: &str) {
    let (_, script) = HELLOS.iter().find(|(name, _)| *name == language).expect("a hello");
    let answer = Shared::get(engine).run(&json!({
        "script": script,
        "language": language,
        "args": ["wörld \"1\""],
        "stdin": "from stdin\n",
    }));
    assert_eq!(answer.text(), "hello wörld \"1\": from stdin\n", "{}", answer.0);
    assert_eq!((answer.exit_code(), answer.stderr()), (0, String::new()), "{}", answer.0);
}

macro_rules! hellos {
    ($($language:ident),*) => {
        $(fn $language(engine: Engine) {
            hello(engine, stringify!($language));
        })*
        on_both_engines! { together: $($language),* }
    };
}
hellos!(sh, bash, python, node, perl, ruby, lua, php);
