//! Reading and writing a group's files, always relative to an open directory.

use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};

/// Opens one file of a group for reading.
///
/// # Errors
/// `NotFound` when the kernel has no such file.
pub fn open(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

/// The whole text of one file.
///
/// # Errors
/// What the kernel says.
pub fn read(dir: impl AsFd, name: &str) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::from(open(dir, name)?).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes one value.
///
/// # Errors
/// What the kernel says.
pub fn write(dir: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = openat(dir, name, flags, Mode::empty())?;
    std::fs::File::from(fd).write_all(value.as_bytes())
}

/// Writes one value and reads it back.
///
/// # Errors
/// With the file's name when it can't be written, or says something else than `value` afterwards.
pub fn set(dir: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{name} = {value}: {e}"));
    let set = || {
        let flags = OFlags::RDWR | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = std::fs::File::from(openat(dir, name, flags, Mode::empty())?);
        file.write_all(value.as_bytes())?;
        let mut found = String::new();
        file.rewind()?;
        file.read_to_string(&mut found)?;
        Ok(found)
    };
    let found = set().map_err(named)?;
    if found.trim_end() == value {
        return Ok(());
    }
    Err(io::Error::other(format!("{name} is {}, wanted {value}", found.trim_end())))
}

/// As [`set`], for a value that is most likely there already.
///
/// # Errors
/// As [`set`].
pub fn keep(dir: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    match read(dir.as_fd(), name) {
        Ok(found) if found.trim_end() == value => Ok(()),
        _ => set(dir, name, value),
    }
}

/// As [`set`], but a kernel without the file is no error.
///
/// # Errors
/// As [`set`].
pub fn set_if_there(dir: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    match set(dir, name, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
