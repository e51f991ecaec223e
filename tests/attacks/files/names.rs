//! Names of files that come with a request (F01, F02, F03, F04, F06).

use reqwest::blocking::multipart::{Form, Part};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::send;
use crate::stage::Stage;
use crate::support::{Engine, Raw, Service};

/// Everything that there is beneath the working directory and above it, in folders that can be
/// written.
const LIST: &str = "cd /tmp; find . /dev/shm -mindepth 1 | LC_ALL=C sort";

/// Refused in both forms, with the file's name.
#[track_caller]
fn refused(service: &Service, name: &str) {
    for reply in send(service, "echo ran", name, b"x") {
        assert_eq!(reply.http, 400, "{name:.80?}: {}", String::from_utf8_lossy(&reply.body));
        let problem = reply.refused();
        let said = (problem.code(), problem.field());
        assert_eq!(said, ("invalid_path", "files[0].path"), "{name:.80?}: {}", problem.0);
    }
}

/// Stored in both forms under this very name, and nowhere else.
#[track_caller]
fn stored(service: &Service, name: &str, within: &str) {
    for reply in send(service, LIST, name, b"x") {
        let answer = reply.ran();
        let expected = format!("./work\n./work/script.sh\n{within}");
        let mut expected: Vec<&str> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(answer.text().lines().collect::<Vec<_>>(), expected, "{name:?}");
    }
}

fn f01_no_name_leads_out(engine: Engine) {
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        for name in [
            "../x",
            "a/../../x",
            "/etc/x",
            "./../x",
            "a//b",
            "a/./b",
            "a/..",
            "../../../../tmp/x",
            "//x",
            "a/",
        ] {
            refused(service, name);
        }
        stored(service, "..\\x", "./work/..\\x");
        stored(service, "%2e%2e/x", "./work/%2e%2e\n./work/%2e%2e/x");
        stored(service, "%2e%2e%2fx", "./work/%2e%2e%2fx");
        stored(service, "...", "./work/...");
        stored(service, "~", "./work/~");
        stored(service, "C:\\x", "./work/C:\\x");
    });
}

fn f02_no_name_is_empty_or_endless(engine: Engine) {
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        let component = "x".repeat(256);
        let long = ["x".repeat(240).as_str(); 17].join("/");
        let deep = ["x"; 65].join("/");
        assert!((4096..4200).contains(&long.len()), "{}", long.len());
        for name in ["", ".", "..", " ", "\u{3000}", &component, &long, &deep] {
            refused(service, name);
        }
        let most = ["x"; 64].join("/");
        for name in [&component[1..], &most] {
            for reply in send(service, "find . -type f ! -name script.sh", name, b"x") {
                assert_eq!(reply.ran().text(), format!("./{name}\n"));
            }
        }
    });
}

fn f03_names_keep_every_character_or_are_refused(engine: Engine) {
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        for character in (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32) {
            let name = format!("a{character}b");
            let request = json!({"script": "echo ran", "files": [{"path": name, "content": ""}]});
            let problem = service.refuse(&request);
            assert_eq!((problem.http(), problem.field()), (400, "files[0].path"), "{name:?}");
        }
        for body in [
            &b"{\"script\":\"echo ran\",\"files\":[{\"path\":\"a\xff\",\"content\":\"\"}]}"[..],
            b"{\"script\":\"echo ran\",\"files\":[{\"path\":\"a\\ud800\",\"content\":\"\"}]}",
        ] {
            assert_eq!(service.execute_raw(body.to_vec()).refused().http(), 400);
        }
        for name in [&b"a\xff"[..], b"a\0b", b"a\x1bb"] {
            let head = b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename=\"";
            let tail = b"\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"script\"\r\n\r\necho ran\r\n--b--\r\n";
            let body = [head, name, tail].concat();
            let length = body.len();
            let request = format!(
                "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n\
                 Content-Length: {length}\r\n\r\n"
            );
            let answer = Raw::to(service).say([request.as_bytes(), &body].concat()).answer();
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, 400, "{name:?}: {said}");
        }
        let names = [
            "safe\u{202e}txt.exe", "\u{1f980}", "\u{e9}", "e\u{301}", "grüße", "日本語", "\u{200d}", "\u{feff}x", "a\u{2028}b",
        ];
        for name in names {
            for reply in send(service, "for f in *; do [ $f = script.sh ] || printf %s \"$f\"; done", name, b"x") {
                let answer = reply.ran();
                assert_eq!(answer.stdout(), name.as_bytes(), "{name:?}: {}", answer.0);
            }
        }
        // Both spellings of one letter are two files, and come back as they were.
        let files = ["\u{e9}", "e\u{301}"].map(|name| json!({"path": name, "content": name}));
        let answer = service.run(&json!({"script": ":", "files": files, "outputs": ["*"]}));
        let returned = answer.0["files"].as_array().expect("files");
        for name in ["\u{e9}", "e\u{301}"] {
            assert!(returned.iter().any(|file| file["path"] == name && file["content"] == name));
        }
    });
}

/// No file takes the place of the script, under whatever name.
fn f04_no_file_replaces_the_script(engine: Engine) {
    let stage = Stage::get(engine);
    stage.clean_after(|service| {
        for (language, entry) in
            [("sh", "script.sh"), ("python", "script.py"), ("node", "script.js")]
        {
            for name in [
                entry.to_owned(),
                format!("./{entry}"),
                format!("a/../{entry}"),
                format!("{entry}/"),
                format!("{entry}/x"),
            ] {
                let files = json!([{"path": name, "content": "echo replaced"}]);
                let problem =
                    service.refuse(&json!({"script": "x", "language": language, "files": files}));
                assert_eq!((problem.http(), problem.code()), (400, "invalid_path"), "{name}");
            }
        }
        let direct = json!({
            "script": "#!/bin/cat\nitself", "files": [{"path": "script", "content": "replaced"}]
        });
        assert_eq!(service.refuse(&direct).code(), "invalid_path");
        // What only looks like it is another file.
        let script = "sha256sum <script.sh | cut -d ' ' -f 1";
        let hash = Sha256::digest(script).iter().map(|b| format!("{b:02x}")).collect::<String>();
        for name in [
            "SCRIPT.SH",
            "script.sh ",
            "ſcript.sh",
            "script.sh\u{200b}",
            "script",
            "work/script.sh",
        ] {
            for reply in send(service, script, name, b"echo replaced") {
                assert_eq!(reply.ran().text().trim_end(), hash, "{name}");
            }
        }
        let form = Form::new()
            .text("script", script)
            .part("files", Part::bytes(b"a".to_vec()).file_name("script.sh"));
        assert_eq!(service.execute_form(form).refused().code(), "invalid_path");
    });
}

/// No shell, no pattern and no option comes of a name, on the way in and on the way out.
fn f06_names_are_taken_literally(engine: Engine) {
    let names = [
        "$(id)", "`id`", ";id;", "&& id", "| id", "-rf", "--help", "-", "*", "?", "[a-z]", "{a,b}",
        "'", "\"", "\\", "a'b\"c", "$HOME", "${IFS}", "!!", "#", "x y", " lead", "trail ", "~root",
        "%s%n", "%00", "\\n", "a=b", "@x", "<x>", "..x", "x..", "...", "a:b",
    ];
    let files: Vec<_> =
        names.iter().map(|name| json!({"path": format!("d/{name}"), "content": name})).collect();
    let script = "
import os
for name in sorted(os.listdir('d')):
    print(name, open('d/' + name).read() == name)
";
    let stage = Stage::get(engine);
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let listed: Vec<String> = sorted.iter().map(|name| format!("{name} True")).collect();
    let mut form =
        Form::new().text("script", script).text("language", "python").text("outputs", "d/*");
    for name in names {
        let part = Part::bytes(name.as_bytes().to_vec()).file_name(format!("d/{name}"));
        form = form.part("files", part);
    }
    let by_json =
        json!({"script": script, "language": "python", "files": files, "outputs": ["d/*"]});
    stage.clean_after(|service| {
        for answer in [service.run(&by_json), service.execute_form(form).ran()] {
            assert!(!answer.0.to_string().contains("uid="), "{}", answer.0);
            assert_eq!(answer.text().lines().collect::<Vec<_>>(), listed, "{}", answer.0);
            let returned = answer.0["files"].as_array().expect("files").iter();
            let mut returned: Vec<&str> = returned
                .map(|file| {
                    file["path"].as_str().expect("a path").strip_prefix("d/").expect("below d")
                })
                .collect();
            returned.sort_unstable();
            assert_eq!(returned, sorted);
        }
    });
}

on_both_engines! {
    together: f01_no_name_leads_out, f02_no_name_is_empty_or_endless,
        f03_names_keep_every_character_or_are_refused, f04_no_file_replaces_the_script,
        f06_names_are_taken_literally
}
