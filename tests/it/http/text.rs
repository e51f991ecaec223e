//! Texts go in and come out as they are (W12, W13).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Engine, Shared};

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the script itself is, inside, in its own words.
fn w12_a_script_arrives_byte_by_byte(engine: Engine) {
    let service = Shared::get(engine);
    let first = "sha256sum < \"$0\" | cut -d ' ' -f 1; exit 0\n";
    for tail in [
        "\u{1F600} \u{1F469}\u{200D}\u{1F4BB}",
        "\u{202e}abc\u{2066}",
        "\u{feff}",
        "a\r\nb\r\n",
        "\u{2028}\u{2029}\u{85}",
        "e\u{301} \u{e9}",
        "\u{10ffff}\u{fffd}\u{1}\u{7f}",
        "",
    ] {
        let script = format!("{first}{tail}");
        let answer = service.run(&json!({ "script": script }));
        assert_eq!(answer.text().trim(), hash(script.as_bytes()), "{tail:?}: {}", answer.0);
    }
    // A mark in front is the shell's first word, and is kept all the same.
    let script = format!("\u{feff}true\n{first}");
    let answer = service.run(&json!({ "script": script }));
    assert_eq!(answer.text().trim(), hash(script.as_bytes()), "{}", answer.0);
    let mut script = first.as_bytes().to_vec();
    script.extend(0x00..=0xff);
    let answer = service.run(&json!({"script_base64": STANDARD.encode(&script)}));
    assert_eq!(answer.text().trim(), hash(&script), "{}", answer.0);
}

/// What a script prints that is no text, or looks like something else, comes back as it was.
fn w13_output_comes_back_byte_by_byte(engine: Engine) {
    let service = Shared::get(engine);
    let every: Vec<u8> = (0..=255).collect();
    let outputs: [&[u8]; 12] = [
        &every,
        b"\xc0\x80",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"cut \xe2\x82",
        "whole \u{20ac}\u{1F600}\u{fffd}".as_bytes(),
        b"\0\0nul\0",
        b"\x1b[31mred\x1b]0;title\x07\x9b",
        br#""},{"status":"completed","exit_code":0"#,
        b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"</script>\xe2\x80\xa8",
    ];
    for bytes in outputs {
        let script = format!(
            "import sys, base64; sys.stdout.buffer.write(base64.b64decode({:?}))",
            STANDARD.encode(bytes)
        );
        let answer = service.run(&json!({"script": script, "language": "python"}));
        // Read as base64 exactly where it is no UTF-8, which the answer's own check asks for.
        assert_eq!(answer.stdout(), bytes, "{}", answer.0);
        assert_eq!(answer.0["stdout_bytes"], bytes.len());
    }
}

/// However the bytes are cut up on their way, by the script's writes and by ours, the answer is the
/// same, and a cap within a character leaves that character out.
fn w13_any_chunks_give_one_answer(engine: Engine) {
    let service = Shared::get(engine);
    let script = "import os, random, sys
text = ('\u{20ac}\u{1F600}\u{e9}x' * 200).encode()
random.seed(int(sys.argv[1]))
while text:
    n = random.randint(1, 40)
    os.write(1, text[:n])
    text = text[n:]";
    let whole = "\u{20ac}\u{1F600}\u{e9}x".repeat(200);
    for seed in 0..20 {
        for limit in [10_000, 1001] {
            let answer = service.run(&json!({
                "script": script,
                "language": "python",
                "args": [seed.to_string()],
                "output_limit": limit,
            }));
            let mut kept = whole.as_str();
            while kept.len() > limit {
                kept = &kept[..kept.char_indices().next_back().expect("a character").0];
            }
            assert_eq!(answer.0["stdout"], Value::from(kept), "{seed} {limit}");
            assert_eq!(answer.0["stdout_bytes"], whole.len());
        }
    }
}

on_both_engines! {
    together: w12_a_script_arrives_byte_by_byte, w13_output_comes_back_byte_by_byte,
        w13_any_chunks_give_one_answer
}
