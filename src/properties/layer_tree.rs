//! Honest layers, chosen by the bytes: each becomes the tree that GNU tar makes of it.

use std::collections::BTreeMap;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use super::Draw;
use crate::registry::unpack::testing::same;

pub fn check(bytes: &[u8]) {
    let planned = consistent(planned(&mut Draw::new(bytes)));
    let archive = built(&planned);
    // GNU tar forgets a directory's time when it comes back to it.
    let keeps_its_time = |path: &Path| {
        let mut files = planned.iter().filter(|(_, one)| !matches!(one.what, What::Directory));
        files.any(|(said, _)| Path::new(said) == path)
    };
    same(&archive, keeps_its_time);
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    File {
        length: usize,
        again: bool,
    },
    Symlink(String),
    /// To the file of this number, modulo their number.
    HardLink(usize),
    Fifo,
}

#[derive(Debug, Clone)]
struct Planned {
    what: What,
    mode: u32,
    mtime: u64,
    pax: bool,
    /// As many archives write paths: `./a`.
    dotted: bool,
}

/// Names of which a path consists; the last two take a GNU or a POSIX extension.
fn name(draw: &mut Draw<'_>) -> String {
    let plain = ["a", "b", "c", "d", "e f", "zäöü", r"back\slash", "'q", ".hidden", "-x", "dev"];
    match draw.below(plain.len() + 2) {
        long @ 0..=1 => ["l", "m"][long].repeat(90 + draw.below(110)),
        short => plain[short - 2].to_owned(),
    }
}

fn path(draw: &mut Draw<'_>) -> String {
    (0..=draw.below(4)).map(|_| name(draw)).collect::<Vec<_>>().join("/")
}

fn planned(draw: &mut Draw<'_>) -> Vec<(String, Planned)> {
    let mut all = Vec::new();
    while !draw.is_empty() && all.len() < 40 {
        let path = path(draw);
        let what = match draw.below(6) {
            0 => What::Directory,
            1 | 2 => What::File { length: draw.below(1500), again: draw.flag() },
            // GNU tar makes links that may lead out only when it has made everything else.
            3 => What::Symlink(self::path(draw)),
            4 => What::HardLink(draw.below(256)),
            _ => What::Fifo,
        };
        let mode = u32::try_from(draw.below(0o10000)).unwrap();
        let mtime = draw.number() % 1_700_000_000;
        let choices = draw.byte();
        let (pax, dotted) = (choices & 1 == 1, choices & 2 == 2);
        all.push((path, Planned { what, mode, mtime, pax, dotted }));
    }
    all
}

/// Leaves out what lies beneath something that is no directory, what is there already, and what a
/// container has of its own.
fn consistent(planned: Vec<(String, Planned)>) -> Vec<(String, Planned)> {
    let mut kept: BTreeMap<String, bool> = BTreeMap::new();
    let mut fits = |(path, planned): &(String, Planned)| {
        let is_directory = matches!(planned.what, What::Directory);
        let mut above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        let free = !kept.contains_key(path)
            && above.all(|above| kept.get(above).copied().unwrap_or(true))
            && (is_directory || !kept.keys().any(|key| key.starts_with(&format!("{path}/"))))
            && path.split('/').next() != Some("dev");
        if free {
            kept.insert(path.clone(), is_directory);
        }
        free
    };
    planned.into_iter().filter(|one| fits(one)).collect()
}

fn built(planned: &[(String, Planned)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut files: Vec<&str> = Vec::new();
    for (path, Planned { what, mode, mtime, pax, dotted }) in planned {
        let mut header = Header::new_gnu();
        header.set_mode(*mode);
        header.set_mtime(*mtime);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let dotted = if *dotted { format!("./{path}") } else { path.clone() };
        let mut name = &*dotted;
        if *pax {
            let mtime = format!("{mtime}.25");
            let records = [("path", dotted.as_bytes()), ("mtime", mtime.as_bytes())];
            builder.append_pax_extensions(records).unwrap();
            name = "short";
        }
        match what {
            What::Directory => {
                header.set_entry_type(EntryType::Directory);
                builder.append_data(&mut header, name, &[][..]).unwrap();
            }
            What::File { length, again } => {
                header.set_entry_type(EntryType::Regular);
                if *again && !pax {
                    header.set_size(3);
                    builder.append_data(&mut header, name, &b"old"[..]).unwrap();
                }
                let content: Vec<u8> = path.bytes().cycle().take(*length).collect();
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, name, &content[..]).unwrap();
                files.push(path);
            }
            What::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                builder.append_link(&mut header, name, target).unwrap();
            }
            What::HardLink(number) if !files.is_empty() => {
                header.set_entry_type(EntryType::Link);
                builder.append_link(&mut header, name, files[number % files.len()]).unwrap();
            }
            What::HardLink(_) | What::Fifo => {
                header.set_entry_type(EntryType::Fifo);
                builder.append_data(&mut header, name, &[][..]).unwrap();
            }
        }
    }
    builder.into_inner().unwrap()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let choices = prop::collection::vec(any::<u8>(), 0..600);
        twin::run("layer_tree", 40, choices, super::check);
    }
}
