//! Files that go in before the script starts, and files that come back after it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Engine, Service};

fn every_byte() -> String {
    STANDARD.encode((0..=u8::MAX).collect::<Vec<u8>>())
}

behaviours! {
    [and: many_result_files_are_capped]

    writes_a_file:
        {"script": "cat in.txt", "files": [{"path": "in.txt", "content": "grüße\n"}]} => {"stdout": "grüße\n"};
    writes_an_empty_file:
        {"script": "wc -c < e", "files": [{"path": "e", "content": ""}]} => {"stdout": "0\n"};
    writes_every_byte:
        {"script": "cat b", "files": [{"path": "b", "content_base64": (every_byte())}]}
            => {"stdout_base64": (every_byte())};
    writes_nested_files:
        {"script": "find . -type f -not -name 'script*' | sort", "files": [
            {"path": "a/b/c", "content": "1"}, {"path": "a/b/d", "content": "2"}, {"path": "a/e", "content": "3"}
        ]} => {"stdout": "./a/b/c\n./a/b/d\n./a/e\n"};
    writes_an_executable_file:
        {"script": "./tool x", "files": [{"path": "tool", "content": "#!/bin/sh\necho tool $1\n", "executable": true}]}
            => {"stdout": "tool x\n"};
    leaves_other_files_unexecutable:
        {"script": "test -x plain || echo no", "files": [{"path": "plain", "content": ""}]} => {"stdout": "no\n"};
    lets_the_script_change_its_files:
        {"script": "echo more >> a/f; cat a/f; rm -r a", "files": [{"path": "a/f", "content": "some\n"}]}
            => {"stdout": "some\nmore\n"};
    lets_a_language_import_a_file:
        {"script": "import helper; print(helper.word)", "language": "python",
            "files": [{"path": "helper.py", "content": "word = 'imported'"}]} => {"stdout": "imported\n"};

    returns_a_file:
        {"script": "echo result > out.txt", "outputs": ["out.txt"]}
            => {"files": [{"path": "out.txt", "size": 7, "content": "result\n", "executable": false}]};
    returns_every_byte_of_a_file:
        {"script": "import os; open('b', 'wb').write(bytes(range(256)))", "language": "python", "outputs": ["b"]}
            => {"files": [{"path": "b", "size": 256, "content_base64": (every_byte()), "executable": false}]};
    returns_an_executable_file:
        {"script": "printf x > tool; chmod +x tool", "outputs": ["tool"]}
            => {"files": [{"path": "tool", "size": 1, "content": "x", "executable": true}]};
    returns_files_by_pattern:
        {"script": "mkdir d; echo 1 > d/1.txt; echo 2 > d/2.txt; echo 3 > d/3.log; echo 4 > 4.txt", "outputs": ["d/*.txt"]}
            => {"files": [
                {"path": "d/1.txt", "size": 2, "content": "1\n", "executable": false},
                {"path": "d/2.txt", "size": 2, "content": "2\n", "executable": false}
            ]};
    returns_nothing_that_was_not_asked_for:
        {"script": "echo x > other", "outputs": ["none-*"]} => {"files": []};
    returns_files_of_a_script_that_failed:
        {"script": "echo partial > out; exit 5", "outputs": ["out"]}
            => {"exit_code": 5, "files": [{"path": "out", "size": 8, "content": "partial\n", "executable": false}]};
}

/// Ten thousand small files neither fill the answer nor stop the service.
fn many_result_files_are_capped(engine: Engine) {
    let service = Service::start(engine, &[]);
    let answer = service.run(&json!({
        "script": "mkdir d; cd d; for i in $(seq 10000); do : > $i; done",
        "outputs": ["d/*"],
        "timeout": 60,
    }));
    let files = answer.0["files"].as_array().expect("files");
    let returned = files.iter().filter(|file| file.get("content").is_some()).count();
    let skipped = files.iter().filter(|file| file["skipped"] == "too_many").count();
    assert!((1..10000).contains(&returned), "{returned} files came back");
    assert!(skipped > 0, "nobody said that files are missing");
    assert_eq!(service.run(&json!({"script": "echo next"})).text(), "next\n");
}
