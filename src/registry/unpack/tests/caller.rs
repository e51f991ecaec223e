//! The service's side, against processes that do not do as they should. The real one is looked at
//! in `tests/it`.

use std::os::unix::fs::PermissionsExt;

use super::super::Unpacker;
use super::*;

/// A program of our own in the place of this one, and a folder.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new(script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn start(&self) -> Unpacker {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let program = self.folder.path().join("program");
        loop {
            let folder = open(self.folder.path(), flags, Mode::empty()).unwrap();
            match Unpacker::start_program(program.as_os_str(), folder, None, CAPS) {
                // Another test has just forked, with the program still open for writing.
                Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                started => return started.unwrap(),
            }
        }
    }

    /// Writes until it fails, which it must.
    async fn write_for_ever(&self) -> UnpackError {
        let mut unpacker = self.start();
        loop {
            if let Err(e) = unpacker.write(&[0; 65536]).await {
                return e;
            }
        }
    }
}

#[tokio::test]
async fn whoever_gives_up_says_why() {
    let stage = Stage::new(r#"head -c 100000 > /dev/null; printf '{"unsupported":"a reason"}'"#);
    assert_eq!(stage.write_for_ever().await, UnpackError::Unsupported("a reason".into()));
}

#[tokio::test]
async fn whoever_dies_silently_has_failed() {
    for script in ["kill -9 $$", "echo nonsense", "yes | head -c 20000", "exit 0"] {
        let stage = Stage::new(script);
        let failed = stage.write_for_ever().await;
        assert!(matches!(&failed, UnpackError::Failed(why) if why.contains("without a report")));
        let finished = stage.start().finish().await;
        assert!(matches!(finished, Err(UnpackError::Failed(_))), "{finished:?}");
    }
}

/// A layer that goes on behind what was unpacked is not that layer.
#[tokio::test]
async fn whoever_is_content_too_early_is_not_believed() {
    let id = "0".repeat(64);
    let report = format!(r#"{{"whole":{{"id":"sha256:{id}","bytes":0,"entries":0}}}}"#);
    let stage = Stage::new(&format!("printf '{report}'"));
    let failed = stage.write_for_ever().await;
    assert!(matches!(failed, UnpackError::Corrupt(_)), "{failed:?}");
}

#[tokio::test]
async fn nothing_follows_a_failure() {
    let stage = Stage::new("printf '\"no_space\"'");
    let mut unpacker = stage.start();
    while unpacker.write(&[0; 65536]).await.is_ok() {}
    assert!(matches!(unpacker.write(b"more").await, Err(UnpackError::Failed(_))));
    assert!(matches!(unpacker.finish().await, Err(UnpackError::Failed(_))));
}

#[tokio::test]
async fn it_is_told_its_caps_and_nothing_else() {
    let stage = Stage::new(r#"printf '{"corrupt":"%s %s"}' "$*" "$(env | grep -v ^PWD= | wc -l)""#);
    // The shell itself sets two or three: what matters is that none of ours is among them.
    let result = stage.start().finish().await;
    let Err(UnpackError::Corrupt(said)) = result else { panic!("{result:?}") };
    let caps = format!("unpacker {} {} ", CAPS.bytes, CAPS.entries);
    let count: u32 = said.strip_prefix(&caps).unwrap().trim().parse().unwrap();
    assert!(count <= 3, "{count} variables");
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let stage = Stage::new("exec sleep 1000");
    let unpacker = stage.start();
    let pid = unpacker.process.id().unwrap();
    let stat = format!("/proc/{pid}/stat");
    assert!(Path::new(&stat).exists());
    drop(unpacker);
    let gone = async {
        // Gone, or dead and waiting for the runtime to collect it.
        while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
}
