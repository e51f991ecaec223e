//! What comes back of stdout and stderr.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Engine, Shared};

fn every_byte() -> String {
    STANDARD.encode((0..=u8::MAX).collect::<Vec<u8>>())
}

behaviours! {
    [and: a_character_cut_in_two_at_the_cap_does_not_make_text_binary]

    returns_every_byte_on_stdout:
        {"script": "import os; os.write(1, bytes(range(256)))", "language": "python"}
            => {"stdout_base64": (every_byte()), "stdout_bytes": 256};
    returns_every_byte_on_stderr:
        {"script": "import os; os.write(2, bytes(range(256)))", "language": "python"}
            => {"stderr_base64": (every_byte()), "stderr_bytes": 256};
    keeps_text_beside_bytes:
        {"script": "printf '\\377'; echo text >&2"} => {"stdout_base64": "/w==", "stderr": "text\n"};
    keeps_nul_and_escapes_in_text:
        {"script": "printf 'a\\000b\\033[1m\\r\\n'"} => {"stdout": "a\u{0}b\u{1b}[1m\r\n"};
    keeps_what_looks_like_an_answer:
        {"script": "echo '{\"status\":\"completed\",\"exit_code\":0}'; exit 9"}
            => {"stdout": "{\"status\":\"completed\",\"exit_code\":0}\n", "exit_code": 9};
    cuts_stderr_by_its_own_cap:
        {"script": "head -c 1001 /dev/zero | tr '\\0' e >&2; printf out", "output_limit": 1000}
            => {"stderr": ("e".repeat(1000)), "stderr_bytes": 1001, "stderr_truncated": true,
                "stdout": "out", "limits_hit": ["output"]};
    goes_on_after_the_cap:
        {"script": "head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2; exit 4", "output_limit": "1k"}
            => {"stdout": ("x".repeat(1024)), "stdout_bytes": 5_000_000, "stdout_truncated": true,
                "stderr": "end\n", "exit_code": 4, "limits_hit": ["output"]};
    returns_what_was_printed_last:
        {"script": "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done | tail -n 1; printf end"}
            => {"stdout": "1999\nend"};
    returns_output_of_a_child_that_ended:
        {"script": "(echo child); sh -c 'echo grandchild'"} => {"stdout": "child\ngrandchild\n"};
}

/// A character that the cap cuts in two is no reason to return all the text before it as base64.
fn a_character_cut_in_two_at_the_cap_does_not_make_text_binary(engine: Engine) {
    let request = json!({"script": "printf 'ééé'", "output_limit": 5});
    let answer = Shared::get(engine).run(&request);
    assert_eq!(answer.0["stdout_bytes"], 6, "{}", answer.0);
    assert_eq!(answer.0["stdout_truncated"], true, "{}", answer.0);
    let shown = answer.stdout();
    // Either the whole characters as text, or the five bytes exactly in base64.
    assert!(shown == "éé".as_bytes() || shown == "ééé".as_bytes()[..5], "{}", answer.0);
}
