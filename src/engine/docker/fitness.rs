//! Whether an image has what its containers mount upon.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::creation::NotCreated;
use super::daemon::{Daemon, DaemonError};
use super::image::Facts;
use super::request::{GUEST_DIR, HOSTS};
use super::tar;
use crate::engine::EngineError;
use crate::registry::{ImageError, Reference};

/// Mount points of ours that an image may have made into something else and whose mounts then follow
/// it: what lies in `/dev`, `/proc` and `/sys` the runtime covers with mounts of its own.
const FOLDERS: [&str; 2] = ["/tmp", GUEST_DIR];

/// How a daemon that looks into a container, and mounts its volumes for that, says that there is
/// something else where they belong: that it went round and round, in its own resolver's words and in
/// the kernel's, and that one of the two is a folder and the other is none.
const MISPLACED: [&str; 3] =
    ["too many links", "too many levels of symbolic links", "not a directory"];

/// Images that were looked at and found fit, by their ids.
#[derive(Debug, Default)]
pub(super) struct Fitness(Mutex<HashSet<String>>);

impl Fitness {
    /// Looks into a container that was made and not started yet, once for each image: on a file there
    /// is nothing to mount upon, and through a link `/tmp` would come to lie over another folder.
    ///
    /// # Errors
    /// [`EngineError::Unfit`] when the image is to blame; otherwise what the daemon says.
    pub(super) async fn check(
        &self,
        daemon: &Daemon,
        container: &str,
        reference: &Reference,
        image: &Facts,
    ) -> Result<(), NotCreated> {
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&image.id) {
            return Ok(());
        }
        for folder in FOLDERS {
            let fit = match daemon.download(container, folder, tar::BLOCK).await {
                Ok(archive) => tar::begins_with_folder(&archive).unwrap_or(true),
                // The runtime makes what is missing.
                Err(error) if error.status() == Some(404) => true,
                Err(DaemonError::Refused { text, .. })
                    if MISPLACED.iter().any(|words| text.contains(words)) =>
                {
                    false
                }
                Err(error) => return Err(error.into()),
            };
            if !fit {
                let [tmp, guest] = FOLDERS;
                let reason = format!("its {tmp} or {guest} is no folder, or its {HOSTS} no file");
                return Err(EngineError::Unfit(ImageError::unsupported(reference, reason)).into());
            }
        }
        known().insert(image.id.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::fake::{Answer, Fake};
    use super::super::request::tests::facts;
    use super::*;

    /// What is said of an image whose folders are this, and how often the daemon was asked for it.
    async fn looked_at_twice(answer: fn() -> Answer) -> (Vec<Option<String>>, usize) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let fake = Fake::start(move |_, path| {
            let places = ["%2Ftmp", "%2F.oncebox"];
            let asked = places.map(|place| format!("/containers/c/archive?path={place}"));
            assert!(asked.iter().any(|asked| path.contains(asked)), "{path}");
            count.fetch_add(1, Ordering::SeqCst);
            answer()
        })
        .await;
        let daemon = Daemon::new(Some(&fake.host())).unwrap();
        let (fitness, reference) = (Fitness::default(), "busybox".parse().unwrap());
        let mut said = Vec::new();
        for _ in 0..2 {
            let error = fitness.check(&daemon, "c", &reference, &facts()).await.err();
            said.push(error.map(|error| EngineError::from(error).to_string()));
        }
        (said, asked.load(Ordering::SeqCst))
    }

    /// An archive of one entry of this kind.
    fn archive(kind: u8) -> Answer {
        let mut bytes = vec![0; 3 * tar::BLOCK];
        bytes[156] = kind;
        Answer::Bytes(bytes)
    }

    #[tokio::test]
    async fn a_folder_is_fit_and_so_is_nothing() {
        assert_eq!(looked_at_twice(|| archive(b'5')).await, (vec![None, None], 2));
        let missing = || Answer::Status(404, r#"{"message":"no such file"}"#.into());
        assert_eq!(looked_at_twice(missing).await, (vec![None, None], 2));
    }

    #[tokio::test]
    async fn anything_else_is_the_image_s_fault() {
        let round = || {
            let said = r#"{"message":"evalSymlinksInScope: too many links in /x/merged/tmp"}"#;
            Answer::Status(500, said.into())
        };
        let other = || {
            let said = r#"{"message":"mount /x/hosts:/y/merged/etc/hosts, flags: 0x5001: not a directory"}"#;
            Answer::Status(500, said.into())
        };
        for answer in [|| archive(b'0'), || archive(b'2'), || archive(b'6'), round, other] {
            let (said, asked) = looked_at_twice(answer).await;
            for said in said {
                let said = said.unwrap();
                assert!(
                    said.contains("busybox") && said.ends_with("or its /etc/hosts no file"),
                    "{said}"
                );
            }
            assert_eq!(asked, 2);
        }
        let broken = || Answer::Status(500, r#"{"message":"broken"}"#.into());
        let (said, _) = looked_at_twice(broken).await;
        assert!(said.iter().flatten().all(|said| !said.contains("no folder")), "{said:?}");
    }
}
