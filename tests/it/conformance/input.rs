//! Standard input.

/// One mebibyte of text.
fn mebibyte() -> String {
    "0123456789abcde\n".repeat(64 * 1024)
}

behaviours! {
    passes_stdin:
        {"script": "cat", "stdin": "one\ntwo"} => {"stdout": "one\ntwo"};
    passes_stdin_to_a_language:
        {"script": "print(input()[::-1])", "language": "python", "stdin": "abc\n"} => {"stdout": "cba\n"};
    ends_at_once_with_empty_stdin:
        {"script": "cat; echo end", "stdin": ""} => {"stdout": "end\n"};
    passes_a_mebibyte:
        {"script": "wc -c; cat", "stdin": (mebibyte())} => {"stdout": "1048576\n"};
    passes_a_mebibyte_unharmed:
        {"script": "sha256sum | cut -c1-16", "stdin": (mebibyte())} => {"stdout": "107b265e8f4929e5\n"};
    echoes_while_it_reads:
        {"script": "cat", "stdin": (mebibyte())} => {"stdout": (mebibyte()), "stdout_bytes": 1_048_576};
    keeps_stdin_from_the_script_s_bytes:
        {"script": "read line; echo \"got $line\"", "stdin": "input\n"} => {"stdout": "got input\n"};
    passes_nul_bytes:
        {"script": "od -An -tx1", "stdin": "a\u{0}b"} => {"stdout": " 61 00 62\n"};
}
