//! Server-sent events as they are read (HTML standard, "Parsing an event stream").

/// An event, at most: a result with all its output and files.
const MOST: usize = 256 << 20;

/// What a service says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// Takes a stream in whatever pieces it comes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// The last line ended with CR, so that LF belongs to it.
    after_cr: bool,
    event: Event,
    /// It has a line of data, which may be empty.
    has_data: bool,
}

/// It is larger than any answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Parser {
    /// Takes the next piece; the events that it completes are added to `events`.
    ///
    /// # Errors
    /// [`TooLarge`] for an event that does not end.
    pub(super) fn push(
        &mut self,
        mut piece: &[u8],
        events: &mut Vec<Event>,
    ) -> Result<(), TooLarge> {
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_cr) && piece[0] == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let end = piece.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (part, rest) = piece.split_at(end.unwrap_or(piece.len()));
            if self.line.len() + self.event.data.len() + part.len() > MOST {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(part);
            piece = rest;
            if let Some((end, rest)) = rest.split_first() {
                self.after_cr = *end == b'\r';
                piece = rest;
                let line = std::mem::take(&mut self.line);
                events.extend(self.take(line));
            }
        }
        Ok(())
    }

    /// Takes a whole line; an empty one ends an event.
    fn take(&mut self, line: Vec<u8>) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.event.name = String::from_utf8_lossy(value).into_owned(),
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                self.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            // Comments, which have no name, and fields that are of no use here.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece, &mut events).expect("not too large");
        }
        let text = |event: Event| (event.name, String::from_utf8(event.data).expect("text"));
        events.into_iter().map(text).collect()
    }

    #[rstest]
    #[case("event: a\nid: 0\ndata: {}\n\n", &[("a", "{}")])]
    #[case("event: a\r\ndata: 1\r\n\r\nevent: b\rdata: 2\r\r", &[("a", "1"), ("b", "2")])]
    #[case(":\n\n:keep\n\ndata: x\n\n", &[("", "x")])]
    #[case("event:a\ndata:x\ndata:  y\n\n", &[("a", "x\n y")])]
    #[case("event: nothing\n\nevent: a\ndata\n\n", &[("a", "")])]
    #[case("data: unfinished\n", &[])]
    #[case("data: é\u{2028}\n\n", &[("", "é\u{2028}")])]
    fn events_are_read(#[case] text: &str, #[case] events: &[(&str, &str)]) {
        let read = parse([text.as_bytes()]);
        let read: Vec<(&str, &str)> = read.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(read, events);
        // The same byte by byte.
        let bytes = parse(text.as_bytes().chunks(1));
        assert!(bytes.iter().map(|(a, b)| (a.as_str(), b.as_str())).eq(events.iter().copied()));
    }

    #[test]
    fn an_event_without_an_end_is_given_up() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        let pushed = (0..300).try_for_each(|_| parser.push(&piece, &mut Vec::new()));
        assert_eq!(pushed, Err(TooLarge));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            text in "(event|data|id|)?:? ?[a-z:]{0,3}(\r\n|\n|\r|){1,3}".prop_map(|s| s.repeat(3)),
            cut in 1_usize..9,
        ) {
            prop_assert_eq!(parse(text.as_bytes().chunks(cut)), parse([text.as_bytes()]));
        }
    }
}
