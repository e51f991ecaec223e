//! What archives become, the hostile ones above all. Unpacking happens in the test's own process
//! here, without the confinement that `tests/it` looks at: what stays inside does so by itself.
//! Archives that were made by no one are in `properties`.

mod bombs;
mod caller;
mod gnu;
mod hostile;
mod meaning;
mod names;
mod streams;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use tar::Header;
use tempfile::TempDir;

use super::testing::*;
use super::{Caps, UnpackError, Unpacked};
