//! Where the native engine keeps images, and what it needs to know of registries.

use std::path::Path;

use rustix::fs::statvfs;

use super::Check;
use crate::config::Settings;
use crate::registry::store::StoreOptions;
use crate::startup::NoStore;
use crate::startup::images::client;

/// Less than this is not enough for an ordinary image.
const LITTLE: u64 = 1 << 30;
const GIB: f64 = (1 << 30) as f64;

/// `store` is what came of preparing it.
pub(super) fn checks(settings: &Settings, store: &Result<StoreOptions, NoStore>) -> Vec<Check> {
    let credentials = &settings.images.credentials;
    let docker = credentials.docker_config.as_ref().map(|folder| folder.join("config.json"));
    let mut checks = vec![match store {
        Ok(store) => room(&store.path, free(&store.path)),
        Err(why) => Check::missing(
            "store",
            why.to_string(),
            "name a folder by IMAGE_STORE; host needs none",
        ),
    }];
    checks.push(match client(settings) {
        Ok(_) if settings.images.authorities.is_empty() => {
            Check::ok("authorities", "the system's; REGISTRY_CA names further ones")
        }
        Ok(_) => Check::ok("authorities", "the system's and those of REGISTRY_CA"),
        Err(why) => Check::missing("authorities", why, "name a PEM file by REGISTRY_CA"),
    });
    checks.extend(credentials.auth_file.iter().chain(&docker).map(|path| credentials_in(path)));
    checks
}

/// Bytes that are left for us.
fn free(path: &Path) -> Option<u64> {
    let found = statvfs(path).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

fn room(path: &Path, free: Option<u64>) -> Check {
    let Some(free) = free else { return Check::ok("store", path.display().to_string()) };
    let found = format!("{}, {:.1} GiB free", path.display(), free as f64 / GIB);
    match free < LITTLE {
        false => Check::ok("store", found),
        true => Check::missing(
            "store",
            found,
            "make room (`oncebox image prune`), or name another folder by IMAGE_STORE",
        ),
    }
}

fn credentials_in(path: &Path) -> Check {
    let found = format!("{}", path.display());
    match std::fs::File::open(path) {
        Ok(_) => Check::ok("credentials", found),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Check::ok("credentials", format!("none: there is no {found}"))
        }
        Err(e) => Check::missing(
            "credentials",
            format!("{found}: {e}"),
            "make it readable for this user, or name another file by REGISTRY_AUTH_FILE",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_room_is_said_with_the_way_out() {
        assert_eq!(room(Path::new("/x"), Some(LITTLE)).fix, None);
        let little = room(Path::new("/x"), Some(LITTLE - 1));
        assert!(little.found.contains("1.0 GiB"), "{little}");
        assert!(little.fix.is_some_and(|fix| fix.contains("IMAGE_STORE")));
        assert!(free(Path::new("/")).is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn no_credentials_are_fine_and_closed_ones_are_not() {
        assert_eq!(credentials_in(Path::new("/nonexistent/config.json")).fix, None);
        assert_eq!(credentials_in(Path::new("/proc/self/status")).fix, None);
        // A file where a folder should be can't be opened by root either.
        assert!(credentials_in(Path::new("/proc/self/status/config.json")).fix.is_some());
    }
}
