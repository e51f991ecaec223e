//! What the process says at its end, on its standard output.

use serde::{Deserialize, Serialize};

use super::{UnpackError, Unpacked};
use crate::registry::LayerId;

/// The process has parsed a stranger's archive: no more than this is read of it.
pub(super) const LONGEST: u64 = 16 << 10;
const LONGEST_TEXT: usize = 1000;

/// How unpacking ended, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Report {
    Whole { id: String, bytes: u64, entries: u64 },
    Corrupt(String),
    Unsupported(String),
    TooLarge(String),
    NoSpace,
    Failed(String),
}

impl From<Result<Unpacked, UnpackError>> for Report {
    fn from(result: Result<Unpacked, UnpackError>) -> Self {
        match result {
            Ok(Unpacked { id, bytes, entries }) => {
                Self::Whole { id: format!("{id:?}"), bytes, entries }
            }
            Err(UnpackError::Corrupt(why)) => Self::Corrupt(why),
            Err(UnpackError::Unsupported(why)) => Self::Unsupported(why),
            Err(UnpackError::TooLarge(why)) => Self::TooLarge(why),
            Err(UnpackError::NoSpace) => Self::NoSpace,
            Err(UnpackError::Failed(why)) => Self::Failed(why),
        }
    }
}

impl From<Report> for Result<Unpacked, UnpackError> {
    fn from(report: Report) -> Self {
        Err(match report {
            Report::Whole { id, bytes, entries } => match LayerId::from_digest(&id) {
                Some(id) => return Ok(Unpacked { id, bytes, entries }),
                None => UnpackError::Failed("the report names no layer".into()),
            },
            Report::Corrupt(why) => UnpackError::Corrupt(plain(&why)),
            Report::Unsupported(why) => UnpackError::Unsupported(plain(&why)),
            Report::TooLarge(why) => UnpackError::TooLarge(plain(&why)),
            Report::NoSpace => UnpackError::NoSpace,
            Report::Failed(why) => UnpackError::Failed(plain(&why)),
        })
    }
}

/// One short line, whoever wrote it.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_arrives_as_it_was() {
        let whole = Unpacked { id: LayerId([7; 32]), bytes: 1, entries: 2 };
        for result in [
            Ok(whole),
            Err(UnpackError::Corrupt("a".into())),
            Err(UnpackError::Unsupported("b".into())),
            Err(UnpackError::TooLarge("c".into())),
            Err(UnpackError::NoSpace),
            Err(UnpackError::Failed("d".into())),
        ] {
            let json = serde_json::to_vec(&Report::from(result.clone())).unwrap();
            let back: Report = serde_json::from_slice(&json).unwrap();
            assert_eq!(Result::from(back), result);
        }
    }

    #[test]
    fn what_is_said_stays_on_one_line() {
        let said = Report::Corrupt(format!("a\nb\x1b[31m{}", "c".repeat(5000)));
        let Err(UnpackError::Corrupt(heard)) = Result::from(said) else { panic!("no error") };
        assert!(heard.starts_with("ab[31mccc") && heard.len() == 1000, "{heard}");
        let nameless = Report::Whole { id: "sha256:".into(), bytes: 0, entries: 0 };
        assert!(matches!(Result::from(nameless), Err(UnpackError::Failed(_))));
    }
}
