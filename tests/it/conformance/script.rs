//! The script: its bytes, what runs it, its arguments and its environment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Engine, Shared};

/// A script that prints itself and carries every byte there is.
fn every_byte() -> Vec<u8> {
    let mut script = b"cat \"$0\"; exit 0\n".to_vec();
    script.extend(0..=u8::MAX);
    script
}

fn coded(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// A script of exactly so many bytes that counts itself.
fn of_size(bytes: usize) -> String {
    let head = "wc -c < \"$0\"; exit 0\n";
    format!("{head}{}", "#".repeat(bytes - head.len()))
}

behaviours! {
    [and: a_shebang_with_a_carriage_return_is_127]

    says_hello:
        {"script": "echo hello"} => {"stdout": "hello\n", "stdout_bytes": 6};
    runs_by_sh_when_nothing_is_said:
        {"script": "test -z \"$BASH_VERSION\" && echo sh"} => {"stdout": "sh\n"};
    keeps_stdout_and_stderr_apart:
        {"script": "echo out; echo err >&2"} => {"stdout": "out\n", "stderr": "err\n", "stderr_bytes": 4};
    reports_a_failure_as_the_script_s_own:
        {"script": "echo before; exit 3; echo after"} => {"stdout": "before\n", "exit_code": 3, "success": false};
    stops_where_sh_stops:
        {"script": "set -e; false; echo never"} => {"exit_code": 1};
    takes_every_byte_in_base64:
        {"script_base64": (coded(every_byte()))} => {"stdout_base64": (coded(every_byte()))};
    takes_text_in_base64:
        {"script_base64": (coded("echo 'grüße'"))} => {"stdout": "grüße\n"};
    takes_unicode_as_it_is:
        {"script": "printf '%s' 'e\u{301}é 🎈 \u{202e}\u{2028}'"} => {"stdout": "e\u{301}é 🎈 \u{202e}\u{2028}"};
    takes_a_script_without_a_last_newline:
        {"script": "printf done"} => {"stdout": "done"};
    takes_just_under_a_mebibyte:
        {"script": (of_size(1024 * 1024 - 1))} => {"stdout": "1048575\n"};
    takes_a_mebibyte:
        {"script": (of_size(1024 * 1024))} => {"stdout": "1048576\n"};
    takes_a_mebibyte_and_a_byte:
        {"script": (of_size(1024 * 1024 + 1))} => {"stdout": "1048577\n"};
    starts_in_its_working_directory:
        {"script": "pwd; touch here && echo writable"} => {"stdout": "/tmp/work\nwritable\n"};

    // `#!` wins over the language, the language over sh.
    runs_by_its_shebang:
        {"script": "#!/bin/sh\necho \"$0 $*\"", "args": ["a", "b"]} => {"stdout": "/tmp/work/script a b\n"};
    runs_by_env_in_the_shebang:
        {"script": "#!/usr/bin/env python3\nprint('hi')"} => {"stdout": "hi\n"};
    passes_the_shebang_s_argument:
        {"script": "#!/bin/sh -e\nfalse\necho never"} => {"exit_code": 1};
    prefers_the_shebang_to_the_language:
        {"script": "#!/bin/sh\necho sh", "language": "python"} => {"stdout": "sh\n"};
    runs_the_language_s_interpreter:
        {"script": "echo ${BASH_VERSION:+bash}", "language": "bash"} => {"stdout": "bash\n"};
    knows_a_language_by_its_other_name:
        {"script": "import sys; print(sys.version_info.major)", "language": "python3"} => {"stdout": "3\n"};

    // Arguments arrive one by one, whatever is in them.
    passes_args:
        {"script": "printf '<%s>' \"$@\"", "args": ["a b", "", "$(id)", "-rf", "*", "'\"\n"]}
            => {"stdout": "<a b><><$(id)><-rf><*><'\"\n>"};
    passes_args_to_a_language:
        {"script": "import sys; print(sys.argv[1:])", "language": "python", "args": ["x y", "-c"]}
            => {"stdout": "['x y', '-c']\n"};
    has_no_args_when_none_are_given:
        {"script": "echo $#"} => {"stdout": "0\n"};

    // The environment is the request's and reaches the script alone.
    passes_env:
        {"script": "printf '%s|%s|%s' \"$A\" \"$B\" \"$C\"", "env": {"A": "1", "B": "x=y\nz", "C": ""}}
            => {"stdout": "1|x=y\nz|"};
    lets_env_replace_path:
        {"script": "echo $PATH", "env": {"PATH": "/nowhere:/bin"}} => {"stdout": "/nowhere:/bin\n"};
    passes_loader_hooks_to_nothing_of_ours:
        {"script": "echo ran", "env": {"LD_PRELOAD": "", "BASH_ENV": "/nowhere", "ENV": "/nowhere", "IFS": "x"}}
            => {"stdout": "ran\n"};
}

/// A script from an editor of another system: the kernel looks for `/bin/sh\r`.
fn a_shebang_with_a_carriage_return_is_127(engine: Engine) {
    let answer = Shared::get(engine).run(&json!({"script": "#!/bin/sh\r\necho hi\r\n"}));
    assert_eq!((answer.status(), answer.exit_code()), ("completed", 127), "{}", answer.0);
}
