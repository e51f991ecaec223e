//! What the parser below should not see of a request's head.

use crate::api::Code;

/// Bytes of a head. No honest one comes near, and the parser below panics at a longer name.
const MOST: usize = 60 * 1024;

/// A head as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Head {
    bytes: usize,
    last: u8,
    /// Bytes of the current line, its end not counted.
    line: usize,
    /// A line with something in it has come: empty ones before it are skipped.
    begun: bool,
    ended: bool,
}

impl Head {
    /// Looks at the next bytes, those of the body behind it excepted.
    ///
    /// # Errors
    /// What is wrong with them. A line feed by itself is: it ends a line here and is a part of it
    /// elsewhere, so what a proxy in front of us takes for one request would be two.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Code> {
        for &byte in bytes {
            if self.ended {
                break;
            }
            self.bytes += 1;
            if self.bytes > MOST {
                return Err(Code::HeadersTooLarge);
            }
            match byte {
                b'\n' if self.last != b'\r' => return Err(Code::MalformedRequest),
                b'\n' => {
                    self.ended = self.begun && self.line == 0;
                    self.line = 0;
                }
                b'\r' => {}
                _ => {
                    self.line += 1;
                    self.begun = true;
                }
            }
            self.last = byte;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In one piece and byte by byte.
    fn check(text: &str) -> bool {
        let whole = Head::default().read(text.as_bytes()).is_ok();
        let mut head = Head::default();
        assert_eq!(text.bytes().all(|byte| head.read(&[byte]).is_ok()), whole, "{text:?}");
        whole
    }

    #[test]
    fn lines_end_in_both() {
        assert!(check("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!check("GET / HTTP/1.1\nHost: a\r\n\r\n"));
        assert!(!check("GET / HTTP/1.1\r\nHost: a\n\r\n"));
        assert!(!check("GET / HTTP/1.1\r\nHost: a\r\n\n"));
        assert!(!check("\nGET / HTTP/1.1\r\n\r\n"));
    }

    #[test]
    fn a_head_has_a_largest_size_and_what_is_behind_it_has_none() {
        let head = |bytes: usize| format!("GET / HTTP/1.1\r\n{}: ", "x".repeat(bytes));
        assert!(check(&head(MOST - 20)));
        assert!(!check(&head(MOST)));
        assert!(check(&format!("GET / HTTP/1.1\r\n\r\n{}", "x".repeat(2 * MOST))));
    }

    #[test]
    fn a_body_is_no_head() {
        assert!(check("POST / HTTP/1.1\r\nHost: a\r\n\r\none\ntwo\n\n"));
        assert!(check("\r\nPOST / HTTP/1.1\r\n\r\n\n"));
    }
}
