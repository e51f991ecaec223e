//! What is written is read by the service's own code.

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use bytes::Bytes;

use super::*;
use crate::api::reading;
use crate::execution::language::Language;
use crate::execution::testing::{execution, file as text_file};

/// Everything an execution can have.
fn example() -> Execution {
    let text = |text: &str| text.to_owned();
    let mut all = execution("print(1)\n");
    all.stdin = Some(Bytes::from_static(b"in\0"));
    all.image = Some("registry.example/a:1".parse().unwrap());
    all.pull_policy = Some("never".parse().unwrap());
    all.language = Some(Language::find("python").unwrap());
    all.args = vec![text("a b").try_into().unwrap(), text("\"c\n").try_into().unwrap()];
    all.env = vec![(text("N").try_into().unwrap(), text("v=\u{e9}").try_into().unwrap())];
    all.forward_env = false;
    all.files = vec![text_file("d/\"a\\.\u{e9} txt", "one"), text_file("b", "\u{1}")];
    all.files[1].content = Bytes::from_static(b"\xff\0");
    all.outputs = vec![text("**/*.txt").try_into().unwrap()];
    all.limits = AskedLimits {
        timeout: Some(Duration::from_millis(2500)),
        memory: Some(100 << 20),
        cpu_millis: Some(333),
        pids: Some(7),
        tmp: Some(65536),
        output: Some(0),
    };
    all
}

/// An execution without its id, which is the service's to give.
fn shown(execution: &Execution) -> String {
    format!("{:?}", Execution { id: uuid::Uuid::nil(), ..execution.clone() })
}

async fn check(execution: &Execution, encoding: &str) {
    let Body { content_type, bytes } = body(execution).expect("a body");
    assert!(content_type.starts_with(encoding), "{content_type}");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    let read = reading(&headers, bytes.into()).await.expect("an execution");
    assert_eq!(shown(&read), shown(execution));
}

#[actix_web::test]
async fn the_service_reads_what_was_asked_for() {
    check(&execution("echo"), "application/json").await;
    let mut all = example();
    all.files[1].executable = true;
    check(&all, "application/json").await;
    all.script = Bytes::from_static(b"\xff\n");
    check(&all, "application/json").await;
}

#[actix_web::test]
async fn a_standard_input_of_any_bytes_goes_as_a_form() {
    let mut all = example();
    all.stdin = Some((0..=255).collect::<Vec<u8>>().into());
    check(&all, "multipart/form-data").await;
    all.files[0].executable = true;
    let Err(why) = body(&all) else { panic!("a form has no place for that") };
    assert!(why.contains("executable") && why.contains("d/"), "{why}");
}
