//! The files that come back. Everything else in the container is dead when they are read, so what
//! is found cannot change any more; still no link is followed and no path is walked twice.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use oncebox_guest::glob::{Globs, Place};
use oncebox_guest::wire::{CHUNK, Job, Report, SkipReason};

use crate::control::Control;
use crate::end::Fatal;
use crate::sys::{self, Open};

/// How many folders deep files are looked for.
const MAX_DEPTH: usize = 64;

/// How many names are looked at, all folders together.
const MAX_VISITS: usize = 100_000;

/// Sends every file beneath the working directory that one of the job's patterns matches, within
/// its caps, and says which ones it left out and why.
pub(crate) fn send(control: &mut Control, job: &Job, workdir: &File) -> Result<(), Fatal> {
    let globs = Globs::new(&job.outputs);
    let start = globs.start();
    if start.is_dead_end() {
        return Ok(());
    }
    // The service need not wait for the search to learn how the script ended.
    control.flush()?;
    let mut search = Search {
        control,
        globs,
        path: Vec::new(),
        visits: MAX_VISITS,
        file_cap: job.file_cap,
        bytes: job.files_cap,
        files: job.files_count,
        skips: job.files_count,
    };
    search.folder(workdir, &start, 0)
}

struct Search<'a> {
    control: &'a mut Control,
    globs: Globs,
    /// Of the folder or file looked at, relative to the working directory.
    path: Vec<u8>,
    file_cap: u64,
    /// What is left of names to look at, bytes to send, files to send and skips to report.
    visits: usize,
    bytes: u64,
    files: u32,
    skips: u32,
}

impl Search<'_> {
    fn folder(&mut self, dir: &File, place: &Place, depth: usize) -> Result<(), Fatal> {
        let Ok((mut entries, complete)) = sys::entries(dir, self.visits) else {
            return self.skip(SkipReason::Unreadable);
        };
        self.visits -= entries.len().min(self.visits);
        // The same files come back whatever order the file system has them in.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let parent = self.path.len();
        for entry in entries {
            let name = entry.name.as_bytes();
            let (matched, beneath) = self.globs.step(place, name);
            if !matched && (entry.no_directory || beneath.is_dead_end()) {
                continue;
            }
            if parent > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            match sys::open_at(dir, &entry.name, Open::Read) {
                Ok(file) => self.opened(file, matched, &beneath, depth)?,
                Err(e) => match e.raw_os_error() {
                    // A symbolic link and a socket.
                    Some(sys::ELOOP | sys::ENXIO) if matched => {
                        self.skip(SkipReason::NotRegular)?
                    }
                    Some(sys::ELOOP | sys::ENXIO) => {}
                    _ => self.skip(SkipReason::Unreadable)?,
                },
            }
            self.path.truncate(parent);
        }
        if complete { Ok(()) } else { self.skip(SkipReason::TooMany) }
    }

    fn opened(
        &mut self,
        mut file: File,
        matched: bool,
        beneath: &Place,
        depth: usize,
    ) -> Result<(), Fatal> {
        let Ok(about) = file.metadata() else { return self.skip(SkipReason::Unreadable) };
        if about.is_dir() && !beneath.is_dead_end() {
            return match depth + 1 {
                MAX_DEPTH => self.skip(SkipReason::TooMany),
                depth => self.folder(&file, beneath, depth),
            };
        }
        match about.len() {
            _ if !matched => Ok(()),
            _ if !about.is_file() => self.skip(SkipReason::NotRegular),
            size if size > self.file_cap => self.skip(SkipReason::TooLarge),
            size if size > self.bytes || self.files == 0 => self.skip(SkipReason::TooMany),
            size => {
                let executable = about.permissions().mode() & 0o111 != 0;
                self.send(&mut file, size, executable)
            }
        }
    }

    fn send(&mut self, file: &mut File, size: u64, executable: bool) -> Result<(), Fatal> {
        self.bytes -= size;
        self.files -= 1;
        self.control.push(&Report::File { path: &self.path, executable, size });
        let mut chunk = Vec::new();
        let mut left = size;
        while left > 0 {
            chunk.clear();
            file.take(left.min(CHUNK as u64))
                .read_to_end(&mut chunk)
                .map_err(Fatal::broken("read a result file"))?;
            if chunk.is_empty() {
                return Err(Fatal::protocol("a result file became shorter"));
            }
            left -= chunk.len() as u64;
            self.control.make_room()?;
            self.control.push(&Report::Data(&chunk));
        }
        self.control.make_room()
    }

    fn skip(&mut self, reason: SkipReason) -> Result<(), Fatal> {
        let Some(skips) = self.skips.checked_sub(1) else { return Ok(()) };
        self.skips = skips;
        let path = if self.path.is_empty() { b"." } else { &self.path[..] };
        self.control.push(&Report::Skipped { path, reason });
        self.control.make_room()
    }
}
