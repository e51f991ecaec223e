//! Extended headers in the form of POSIX: what they say about the entry that follows.

use rustix::fs::Timespec;

use super::UnpackError;

/// What an extended header overrides. Everything else it may say, owners and extended attributes
/// above all, means nothing here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<Timespec>,
}

impl Overrides {
    /// Reads records of the form `LENGTH KEY=VALUE\n` by their lengths, since a value may hold any
    /// byte: whoever looked for newlines could be told another path by an extended attribute.
    ///
    /// # Errors
    /// [`UnpackError::Corrupt`] for another form, [`UnpackError::Unsupported`] for sparse files.
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, UnpackError> {
        let mut overrides = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or_else(corrupt)?;
            data = rest;
            match key {
                b"path" => overrides.path = text(value)?,
                b"linkpath" => overrides.link = text(value)?,
                b"size" => overrides.size = Some(number(value).ok_or_else(corrupt)?),
                b"mtime" => overrides.mtime = Some(time(value).ok_or_else(corrupt)?),
                key if key.starts_with(b"GNU.sparse.") => {
                    let why = "it has sparse files in the form of POSIX; build it without --sparse";
                    return Err(UnpackError::Unsupported(why.into()));
                }
                _ => {}
            }
        }
        Ok(overrides)
    }
}

fn corrupt() -> UnpackError {
    UnpackError::Corrupt("an extended header is malformed".into())
}

/// The first record's key and value, and what comes after it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&data[..space])?).ok()?;
    let (whole, rest) = data.split_at_checked(length)?;
    let pair = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

/// An empty value takes the override back.
fn text(value: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
    if value.contains(&0) {
        return Err(corrupt());
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds since 1970, perhaps negative, perhaps with a fraction.
fn time(value: &[u8]) -> Option<Timespec> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(value) => (true, value),
        None => (false, value),
    };
    let dot = value.iter().position(|byte| *byte == b'.');
    let (seconds, fraction) = match dot {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let seconds = i64::try_from(number(seconds)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
    let nanoseconds = digits.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(match (negative, nanoseconds) {
        (false, _) => Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, _) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_what_looks_like_a_record() {
        let key = "SCHILY.xattr.security.capability";
        let value = "\n\n19 path=../../evil\n";
        // Two digits, a space, an equals sign and the newline.
        let length = 2 + 1 + key.len() + 1 + value.len() + 1;
        let data = format!("{length} {key}={value}\n10 path=a\n");
        assert_eq!(Overrides::parse(data.as_bytes()).unwrap().path.as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn lengths_that_lie_are_found_out() {
        for bad in [
            &b"10 path=ab\n"[..],
            b"9 path=ab\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"-1 path=a\n",
            b"+10 path=a\n",
            b"path=a\n",
            b"6 pat\n",
            b"\n",
            b" ",
            b"99999999999999999999999 x=y\n",
            b"12 size=-12\n",
            b"12 size=0x1\n",
            b"30 size=99999999999999999999\n",
            b"12 path=a\0b\n",
            b"11 mtime=x\n",
        ] {
            let parsed = Overrides::parse(bad);
            assert!(matches!(parsed, Err(UnpackError::Corrupt(_))), "{bad:?}: {parsed:?}");
        }
        let sparse = Overrides::parse(b"22 GNU.sparse.major=1\n");
        assert!(matches!(sparse, Err(UnpackError::Unsupported(_))), "{sparse:?}");
    }

    #[test]
    fn times_have_fractions_and_signs() {
        for (text, tv_sec, tv_nsec) in [
            ("0", 0, 0),
            ("1700000000.5", 1_700_000_000, 500_000_000),
            ("12.123456789123", 12, 123_456_789),
            ("-1", -1, 0),
            ("-1.25", -2, 750_000_000),
            ("7.", 7, 0),
        ] {
            assert_eq!(time(text.as_bytes()), Some(Timespec { tv_sec, tv_nsec }), "{text}");
        }
    }
}
