//! A script's output under its cap.

use super::observer::Observer;
use crate::engine::Sink;

/// One stream of output: the first bytes up to the cap, exactly, and how many there were in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    pub bytes: Vec<u8>,
    /// Bytes the script wrote, those past the cap included.
    pub total: u64,
}

impl Captured {
    /// Output past the cap was dropped.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.total > self.bytes.len() as u64
    }

    /// The bytes as text, without copying them. A character that the cap cut in two is left out.
    ///
    /// # Errors
    /// The bytes, when they are not UTF-8.
    pub fn into_text(self) -> Result<String, Vec<u8>> {
        let truncated = self.truncated();
        String::from_utf8(self.bytes).or_else(|e| {
            let (error, mut bytes) = (e.utf8_error(), e.into_bytes());
            if truncated && error.error_len().is_none() {
                bytes.truncate(error.valid_up_to());
                return String::from_utf8(bytes).map_err(|e| e.into_bytes());
            }
            Err(bytes)
        })
    }

    /// The part that is kept.
    fn push<'a>(&mut self, bytes: &'a [u8], cap: usize) -> &'a [u8] {
        let room = cap.saturating_sub(self.bytes.len());
        let kept = &bytes[..bytes.len().min(room)];
        self.bytes.extend_from_slice(kept);
        self.total = self.total.saturating_add(bytes.len() as u64);
        kept
    }
}

/// Collects both streams, each under the same cap, and passes on what is kept. The guest keeps that
/// cap too; here it is kept because a guest is not trusted.
pub struct Output<'a> {
    pub stdout: Captured,
    pub stderr: Captured,
    cap: usize,
    observer: &'a dyn Observer,
}

impl<'a> Output<'a> {
    /// Keeps `cap` bytes of each stream.
    #[must_use]
    pub fn new(cap: u64, observer: &'a dyn Observer) -> Self {
        let cap = usize::try_from(cap).unwrap_or(usize::MAX);
        Self { stdout: Captured::default(), stderr: Captured::default(), cap, observer }
    }
}

impl Sink for Output<'_> {
    fn started(&mut self) {
        self.observer.started();
    }

    fn stdout(&mut self, bytes: &[u8]) {
        let kept = self.stdout.push(bytes, self.cap);
        if !kept.is_empty() {
            self.observer.stdout(kept);
        }
    }

    fn stderr(&mut self, bytes: &[u8]) {
        let kept = self.stderr.push(bytes, self.cap);
        if !kept.is_empty() {
            self.observer.stderr(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"hi", 0, Some("hi"))]
    #[case("h\u{e9}".as_bytes(), 0, Some("h\u{e9}"))]
    #[case(b"nul\0", 0, Some("nul\0"))]
    // A character cut in two: by the cap, or by the script itself.
    #[case(b"h\xc3", 1, Some("h"))]
    #[case(b"h\xf0\x9f\xa6", 1, Some("h"))]
    #[case(b"h\xc3", 0, None)]
    #[case(b"\xff", 1, None)]
    #[case(b"\xc0\xaf", 1, None)]
    #[case(b"h\xc3x", 1, None)]
    fn text_is_lossless_or_no_text_and_never_copied(
        #[case] bytes: &[u8],
        #[case] dropped: u64,
        #[case] text: Option<&str>,
    ) {
        let captured = Captured { bytes: bytes.to_vec(), total: bytes.len() as u64 + dropped };
        let place = captured.bytes.as_ptr();
        match captured.into_text() {
            Ok(found) => assert_eq!((Some(&*found), found.as_ptr()), (text, place)),
            Err(found) => assert_eq!((None, found.as_ptr(), &*found), (text, place, bytes)),
        }
    }

    #[rstest]
    #[case(9, false)]
    #[case(10, false)]
    #[case(11, true)]
    fn the_cap_is_exact(#[case] written: usize, #[case] truncated: bool) {
        let mut output = Output::new(10, &());
        output.stdout(&vec![b'x'; written]);
        assert_eq!(output.stdout.bytes.len(), written.min(10));
        assert_eq!(output.stdout.truncated(), truncated);
        assert_eq!(output.stderr, Captured::default());
    }
}
