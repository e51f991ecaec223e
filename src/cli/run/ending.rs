//! How the script ended, from the answer's document: what to exit with, and what to say.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

/// What `timeout` of coreutils exits with.
const TIMED_OUT: u8 = 124;

/// The part of an answer that is not printed as it comes.
#[derive(Debug, Deserialize)]
pub(super) struct Ending {
    status: String,
    exit_code: u16,
    error: Option<String>,
    stdout_bytes: u64,
    stderr_bytes: u64,
    stdout_truncated: bool,
    stderr_truncated: bool,
    limits_hit: Vec<String>,
    pub(super) files: Vec<Brought>,
}

/// A result file.
#[derive(Debug, Deserialize)]
pub(super) struct Brought {
    pub(super) path: String,
    #[serde(default)]
    pub(super) executable: bool,
    /// Why it was left behind.
    skipped: Option<String>,
    content: Option<String>,
    #[serde(default, deserialize_with = "base64")]
    content_base64: Option<Vec<u8>>,
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Some).map_err(|_| serde::de::Error::custom("this is not base64"))
}

impl Brought {
    /// Its bytes, or why there are none.
    pub(super) fn content(&self) -> Result<&[u8], String> {
        let text = self.content.as_deref().map(str::as_bytes);
        text.or(self.content_base64.as_deref()).ok_or_else(|| {
            match self.skipped.as_deref() {
                Some("not_regular") => "it is no regular file",
                Some("too_large") => "it is too large",
                Some("too_many") => "there are too many files",
                _ => "it could not be read",
            }
            .to_owned()
        })
    }
}

impl Ending {
    /// # Errors
    /// A sentence, when it is no answer.
    pub(super) fn read(document: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(document).map_err(|e| format!("the answer is not understood: {e}"))
    }

    /// As a shell would have it.
    pub(super) fn exit_code(&self) -> u8 {
        match self.status.as_str() {
            "timed_out" => TIMED_OUT,
            _ => u8::try_from(self.exit_code).unwrap_or(u8::MAX),
        }
    }

    /// What is to be known beside the output.
    pub(super) fn sentences(&self) -> Vec<String> {
        let hit = |limit: &str| self.limits_hit.iter().any(|hit| hit == limit);
        let cut = |name: &str, truncated: bool, bytes: u64| {
            let all = format!("{name} was cut, {bytes} bytes in all; --output-limit keeps more");
            truncated.then_some(all)
        };
        let full = |limit: &str, what: &str| hit(limit).then(|| what.to_owned());
        let all = [
            self.error.clone(),
            full("pids", "the script ran into its limit of processes; --pids allows more"),
            full("tmp", "the script filled its /tmp; --tmp-size gives it more"),
            cut("stdout", self.stdout_truncated, self.stdout_bytes),
            cut("stderr", self.stderr_truncated, self.stderr_bytes),
        ];
        all.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn ending(change: &[(&str, Value)]) -> Ending {
        let mut document = json!({
            "id": "x", "status": "completed", "exit_code": 0, "signal": null, "error": null,
            "stdout": "", "stdout_bytes": 0, "stderr_bytes": 0, "stdout_truncated": false,
            "stderr_truncated": false, "limits_hit": [], "files": [],
        });
        for (name, value) in change {
            document[name] = value.clone();
        }
        Ending::read(document.to_string().as_bytes()).expect("an answer")
    }

    #[rstest]
    #[case("completed", 0, 0)]
    #[case("completed", 255, 255)]
    #[case("signaled", 139, 139)]
    #[case("signaled", 383, 255)]
    #[case("timed_out", 137, 124)]
    #[case("out_of_memory", 137, 137)]
    #[case("out_of_memory", 0, 0)]
    #[case("cancelled", 137, 137)]
    fn exits_as_a_shell_does(#[case] status: &str, #[case] code: u16, #[case] exits: u8) {
        let ending = ending(&[("status", status.into()), ("exit_code", code.into())]);
        assert_eq!(ending.exit_code(), exits);
    }

    #[test]
    fn says_what_is_not_in_the_output() {
        assert!(ending(&[]).sentences().is_empty());
        let all = ending(&[
            ("error", "It was killed.".into()),
            ("limits_hit", json!(["memory", "pids", "tmp", "output"])),
            ("stderr_truncated", true.into()),
            ("stderr_bytes", 7.into()),
        ]);
        let said = all.sentences();
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(said[0], "It was killed.");
        assert_eq!(said[3], "stderr was cut, 7 bytes in all; --output-limit keeps more");
    }

    #[test]
    fn files_come_as_text_as_base64_or_not_at_all() {
        let files = json!([
            {"path": "a", "size": 1, "content": "x", "executable": true},
            {"path": "b", "size": 2, "content_base64": "/wA=", "executable": false},
            {"path": "c", "skipped": "too_large"},
        ]);
        let ending = ending(&[("files", files)]);
        let [a, b, c] = &ending.files[..] else { panic!("{ending:?}") };
        assert_eq!((a.content(), a.executable), (Ok(&b"x"[..]), true));
        assert_eq!((b.content(), b.executable), (Ok(&b"\xff\x00"[..]), false));
        assert_eq!(c.content(), Err("it is too large".to_owned()));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for document in ["", "{}", "[]", r#"{"status":"completed"}"#] {
            assert!(Ending::read(document.as_bytes()).is_err(), "{document}");
        }
    }
}
