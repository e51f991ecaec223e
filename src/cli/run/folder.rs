//! Where result files are put. Their names are the script's choice, so no link leads out of the
//! folder, and nothing but a regular file is written to.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, accessat, fstat, mkdirat, openat};

use super::ending::Brought;
use crate::execution::request::RelativePath;

/// An open folder, the same one whatever happens to its name.
pub(super) struct Folder {
    folder: OwnedFd,
    name: String,
}

impl Folder {
    /// Opens it; one that is not there is made.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn open(name: &str) -> Result<Self, String> {
        let failed = |e: io::Error| format!("the folder {name} can't be used: {e}");
        fs::create_dir_all(Path::new(name)).map_err(failed)?;
        // The caller's own links are his own choice.
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let folder = rustix::fs::open(name, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
        Ok(Self { folder, name: name.to_owned() })
    }

    /// Asks before the script runs, by the user that this process is now.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn can_be_written(&self) -> Result<(), String> {
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        accessat(&self.folder, c".", access, AtFlags::EACCESS).map_err(|e| {
            let uid = rustix::process::geteuid().as_raw();
            format!("the folder {} can't be written by user {uid}: {e}", self.name)
        })
    }

    /// Puts one file into it.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn put(&self, file: &Brought) -> Result<(), String> {
        let shown = crate::registry::quoted(&file.path);
        let content = file.content().map_err(|why| format!("{shown} was not brought: {why}"))?;
        let path = RelativePath::try_from(file.path.clone());
        let path = path.map_err(|e| format!("{shown} was not written: {e}"))?;
        let written = write(self.folder.as_fd(), path.as_str(), content, file.executable);
        written.map_err(|e| format!("{shown} was not written to {}: {e}", self.name))
    }
}

const FOLDER: OFlags =
    OFlags::DIRECTORY.union(OFlags::PATH).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Each folder on the way is opened in the one before, and a link is none.
fn write(folder: BorrowedFd<'_>, path: &str, content: &[u8], executable: bool) -> io::Result<()> {
    if let Some((first, rest)) = path.split_once('/') {
        match mkdirat(folder, first, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let next = openat(folder, first, FOLDER, Mode::empty())?;
        return write(next.as_fd(), rest, content, executable);
    }
    // A pipe that nobody reads would hold us up for ever.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(folder, path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o666))?;
    let about = fstat(&file)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile || about.st_nlink != 1 {
        return Err(io::Error::other("there is something else than a plain file of this name"));
    }
    let mut file = File::from(file);
    file.set_len(0)?;
    file.write_all(content)?;
    // Whoever may read it may run it.
    let mode = about.st_mode & 0o777;
    let wanted = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
    if wanted != mode {
        file.set_permissions(fs::Permissions::from_mode(wanted))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn brought(path: &str, content: &str, executable: bool) -> Brought {
        let file = json!({"path": path, "content": content, "executable": executable});
        serde_json::from_value(file).expect("a file")
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o777
    }

    #[test]
    fn files_are_written_with_their_folders_and_over_earlier_ones() {
        let place = tempfile::tempdir().expect("a folder");
        let inside = place.path().join("new/results");
        let folder = Folder::open(inside.to_str().expect("text")).expect("made");
        assert_eq!(folder.can_be_written(), Ok(()));
        for (content, executable) in [("a longer first", true), ("second", false), ("third", true)]
        {
            folder.put(&brought("a/b/c", content, executable)).expect("written");
            let path = inside.join("a/b/c");
            assert_eq!(fs::read_to_string(&path).expect("a file"), content);
            assert_eq!(mode(&path) & 0o100 != 0, executable, "{:o}", mode(&path));
        }
    }

    #[test]
    fn no_link_and_no_path_leads_out() {
        let place = tempfile::tempdir().expect("a folder");
        let outside = place.path().join("outside");
        fs::create_dir_all(&outside).expect("a folder");
        let inside = place.path().join("inside");
        let folder = Folder::open(inside.to_str().expect("text")).expect("made");
        fs::write(outside.join("mine"), "mine").expect("a file");
        symlink("../outside", inside.join("folder")).expect("a link");
        symlink("../outside/mine", inside.join("file")).expect("a link");
        symlink("../outside/new", inside.join("dangling")).expect("a link");
        fs::hard_link(outside.join("mine"), inside.join("hard")).expect("a link");
        for path in
            ["folder/x", "file", "dangling", "hard", "../outside/x", "/tmp/x", "a/../../x", "."]
        {
            let why = folder.put(&brought(path, "theirs", false)).expect_err(path);
            assert!(why.contains("was not written"), "{why}");
        }
        assert_eq!(fs::read_to_string(outside.join("mine")).expect("a file"), "mine");
        assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 1);
    }

    #[test]
    fn a_pipe_is_no_file() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(place.path().to_str().expect("text")).expect("there");
        let pipe = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(&folder.folder, "pipe", FileType::Fifo, pipe, 0).expect("a pipe");
        folder.put(&brought("pipe", "x", false)).expect_err("refused");
        let socket = std::os::unix::net::UnixListener::bind(place.path().join("socket"));
        drop(socket.expect("a socket"));
        folder.put(&brought("socket", "x", false)).expect_err("refused");
    }

    #[test]
    fn a_folder_that_can_t_be_is_said() {
        let place = tempfile::tempdir().expect("a folder");
        fs::write(place.path().join("file"), "").expect("a file");
        let name = place.path().join("file/x");
        let Err(why) = Folder::open(name.to_str().expect("text")) else { panic!("opened") };
        assert!(why.contains("can't be used"), "{why}");
    }
}
