//! Which trace a request belongs to: W3C Trace Context, <https://www.w3.org/TR/trace-context/>.

use std::fmt;

use uuid::Uuid;

/// `traceparent` of version 00: version, trace, span and flags in hex, with dashes between.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;
/// The caller keeps this trace.
const SAMPLED: u8 = 1;
/// The trace's id is random enough to choose traces by it.
const RANDOM: u8 = 2;

/// A request's place in a trace, and our own span in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub(super) id: [u8; 16],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) span: [u8; 8],
    flags: u8,
}

impl Trace {
    /// A trace that begins here.
    #[must_use]
    pub fn new() -> Self {
        let id = Uuid::new_v4().into_bytes();
        let flags = if super::keeps_traces() { RANDOM | SAMPLED } else { RANDOM };
        Self { id, parent: None, span: new_span(), flags }
    }

    /// The trace that a `traceparent` names, with a span of ours in it; `None` for anything that is
    /// not valid. Of versions later than ours, what we know of them is read.
    #[must_use]
    pub fn accept(traceparent: &str) -> Option<Self> {
        let version = hex::<1>(traceparent.get(..2)?)?[0];
        let rest = traceparent.get(LENGTH..)?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let mut fields = traceparent.get(3..LENGTH)?.split('-');
        let id = hex(fields.next()?)?;
        let parent = hex(fields.next()?)?;
        let flags = hex::<1>(fields.next()?)?[0];
        let dashed = traceparent.as_bytes()[2] == b'-' && fields.next().is_none();
        let valid = fits && dashed && id != [0; 16] && parent != [0; 8];
        let flags = flags & (SAMPLED | RANDOM);
        valid.then(|| Self { id, parent: Some(parent), span: new_span(), flags })
    }

    /// The trace's id in hex.
    #[must_use]
    pub fn id(&self) -> impl fmt::Display + use<> {
        Hex(self.id)
    }

    /// `traceparent` for whoever is asked on behalf of this request: its parent is our span.
    #[must_use]
    pub fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", Hex(self.id), Hex(self.span), self.flags)
    }

    /// The whole place in the trace, for [`Trace::read`] in another life of the service.
    #[must_use]
    pub fn written(&self) -> String {
        let parent = self.parent.map_or_else(String::new, |parent| format!("-{}", Hex(parent)));
        self.header() + &parent
    }

    /// What [`Trace::written`] has written: the same span of ours, with the same parent.
    #[must_use]
    pub fn read(written: &str) -> Option<Self> {
        let (header, rest) = written.split_at_checked(LENGTH)?;
        let Self { id, parent: span, flags, .. } = Self::accept(header)?;
        let parent = match rest.strip_prefix('-') {
            Some(parent) => Some(hex(parent)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { id, parent, span: span?, flags })
    }

    /// Whether the caller keeps this trace; `None` where it begins here.
    #[must_use]
    pub fn parent_sampled(&self) -> Option<bool> {
        self.parent.map(|_| self.flags & SAMPLED != 0)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Never all zeros: two of its bits say that it comes from a UUID.
pub(super) fn new_span() -> [u8; 8] {
    Uuid::new_v4().as_u64_pair().1.to_be_bytes()
}

struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Exactly so many bytes, in lower case.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    #[test]
    fn a_trace_goes_on_with_a_span_of_ours() {
        let trace = Trace::accept(&format!("00-{TRACE}-{PARENT}-01")).expect("valid");
        assert_eq!((trace.id().to_string().as_str(), trace.parent_sampled()), (TRACE, Some(true)));
        let header = trace.header();
        assert!(header.starts_with(&format!("00-{TRACE}-")) && header.ends_with("-01"), "{header}");
        assert!(!header.contains(PARENT), "{header}");
        let next = Trace::accept(&header).expect("our own is valid");
        assert_eq!((next.id, next.parent), (trace.id, Some(trace.span)));
        let unsampled = Trace::accept(&format!("00-{TRACE}-{PARENT}-00")).expect("valid");
        assert_eq!(unsampled.parent_sampled(), Some(false));
    }

    #[test]
    fn a_new_trace_is_like_no_other() {
        let (one, other) = (Trace::new(), Trace::new());
        assert_ne!(one.id, other.id);
        assert_eq!((one.parent_sampled(), one.parent), (None, None));
        assert!(Trace::accept(&one.header()).is_some(), "{}", one.header());
    }

    #[test]
    fn a_trace_that_is_written_down_is_the_same_when_it_is_read() {
        let carried = Trace::accept(&format!("00-{TRACE}-{PARENT}-01")).expect("valid");
        for trace in [carried, Trace::new()] {
            assert_eq!(Trace::read(&trace.written()), Some(trace));
        }
        assert!(carried.written().ends_with(&format!("-{PARENT}")));
        let header = carried.header();
        for bad in ["", "00", "\u{e9}", &format!("{header}-"), &format!("{header}x"), &header[1..]]
        {
            assert_eq!(Trace::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        for good in ["01-{}", "cc-{}", "cc-{}-more", "fe-{}-"] {
            let text = good.replace("{}", &format!("{TRACE}-{PARENT}-09"));
            let trace = Trace::accept(&text).expect(good);
            assert!(trace.header().ends_with("-01"), "unknown flags are not passed on: {text}");
        }
    }

    #[test]
    fn what_is_not_valid_is_ignored() {
        let zeros = "0".repeat(32);
        let upper = TRACE.to_uppercase();
        for bad in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("01-{TRACE}-{PARENT}-01more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0x-{TRACE}-{PARENT}-01"),
            format!("00-{upper}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!("00_{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}_{PARENT}-01"),
            format!("00-{}-{PARENT}0-01", &TRACE[1..]),
            format!(" 00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01"),
            format!("00-{}é-{PARENT}-01", &TRACE[2..]),
        ] {
            assert_eq!(Trace::accept(&bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_ignored(text in ".{0,80}") {
            let _ = Trace::accept(&text);
        }

        /// Nearly valid ones find more than any text does.
        #[test]
        fn what_is_read_is_what_stands_there(
            text in "[0-9a-fA]{2}[-_]?[0-9a-f]{31,33}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,3})?"
        ) {
            if let Some(trace) = Trace::accept(&text) {
                prop_assert_eq!(trace.id().to_string(), &text[3..35]);
                prop_assert_eq!(trace.parent.map(|parent| Hex(parent).to_string()), Some(text[36..52].to_owned()));
                prop_assert!(text.len() == LENGTH || !text.starts_with("00"));
                prop_assert!(!text.starts_with("ff"));
            } else {
                let valid = text.len() == LENGTH && text.starts_with("00-") && !text.contains(['_', 'A']);
                prop_assert!(!valid || text[3..35] == *"0".repeat(32) || text[36..52] == *"0".repeat(16));
            }
        }
    }
}
