//! Scripts of some substance behave as written, with dash and with busybox. What each must print
//! lies beside it, and is the same for both: what both print on any machine.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::images::{Image, Packing, busybox};
use crate::support::service::oncebox;
use crate::support::{BUSYBOX, Engine, Service};
use crate::{each, files, image, read};

fn dash_behaves(engine: Engine) {
    behaves(&Service::start(engine, &[]), &json!({"image": image(engine)}));
}

/// With the image's shell, and with programs that are all busybox.
fn busybox_behaves(engine: Engine) {
    let service = Service::start(engine, &[]);
    if engine == Engine::Native {
        import(&Image::new([busybox().packed(Packing::Plain)]).docker_archive(BUSYBOX));
    }
    behaves(&service, &json!({"image": BUSYBOX, "pull_policy": "never"}));
}

fn behaves(service: &Service, how: &Value) {
    let wrong = each(&files("shells", "sh"), |file| run(service, how, file));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(service: &Service, how: &Value, file: &Path) -> Result<(), String> {
    let mut request = how.clone();
    request["script"] = read(file).into();
    request["timeout"] = 110.into();
    let answer = service.run(&request);
    let (printed, wanted) = (answer.text(), read(&file.with_extension("out")));
    if answer.0["success"] == true && printed == wanted {
        return Ok(());
    }
    let mut lines = printed.lines().zip(wanted.lines()).enumerate();
    let first = lines.find(|(_, (printed, wanted))| printed != wanted);
    Err(format!("{}: first difference {first:?}: {}", file.display(), answer.0))
}

/// Gives an image to the native engine's store.
fn import(archive: &[u8]) {
    let mut command = oncebox("image", Engine::Native);
    command.args(["import", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(archive).expect("it reads");
    assert!(child.wait().expect("a child").success(), "the image was not imported");
}

on_both_engines! { together: dash_behaves, busybox_behaves }
