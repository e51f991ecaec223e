//! What the parser below lets pass in the head of a request and others read differently.

/// A head as it comes in.
#[derive(Debug, Default)]
pub(super) struct Head {
    last: u8,
    /// Bytes of the current line, its end not counted.
    line: usize,
    /// A line with something in it has come: empty ones before it are skipped.
    begun: bool,
    ended: bool,
}

/// A line feed by itself ends a line here and is a part of it elsewhere: what a proxy in front of
/// us takes for one request would be two.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BareLineFeed;

impl Head {
    /// Looks at the next bytes, those of the body behind it excepted.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), BareLineFeed> {
        for &byte in bytes {
            if self.ended {
                break;
            }
            match byte {
                b'\n' if self.last != b'\r' => return Err(BareLineFeed),
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
    fn a_body_is_no_head() {
        assert!(check("POST / HTTP/1.1\r\nHost: a\r\n\r\none\ntwo\n\n"));
        assert!(check("\r\nPOST / HTTP/1.1\r\n\r\n\n"));
    }
}
