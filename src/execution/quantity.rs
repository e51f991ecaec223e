//! Numbers with units, as people write them in requests and settings. Each type reads a JSON
//! number or a string, and displays itself for messages.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::text::Invalid;
use crate::registry::quoted;

/// Bytes: `268435456`, `256m`, `1.5g`, `512Mi`, `64 KiB`. As in Docker, every unit is binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Thousandths of one core, written as cores (`0.5`) or as thousandths (`500m`); finer shares are
/// rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(pub u32);

/// A time, written in seconds: `30`, `2.5`, `30s`. At most [`Seconds::MOST`], so that a deadline
/// can always be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl Seconds {
    /// A year.
    pub const MOST: Duration = Duration::from_secs(366 * 24 * 3600);
}

const UNITS: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Size {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match &lower[digits.len()..] {
            "" | "b" => Some(1),
            "k" | "kb" | "ki" | "kib" => Some(1 << 10),
            "m" | "mb" | "mi" | "mib" => Some(1 << 20),
            "g" | "gb" | "gi" | "gib" => Some(1 << 30),
            "t" | "tb" | "ti" | "tib" => Some(1 << 40),
            _ => None,
        };
        let digits = digits.strip_suffix(' ').unwrap_or(digits);
        scaled(text, Self::KIND, factor.map(|factor| (digits, factor))).map(Self)
    }
}

impl FromStr for Cpu {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (digits, factor) = text.strip_suffix('m').map_or((text, 1000), |digits| (digits, 1));
        let millis = scaled(text, Self::KIND, Some((digits, factor)))?;
        u32::try_from(millis).map(Self).map_err(|_| too_large(text))
    }
}

impl FromStr for Seconds {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let digits = text.strip_suffix('s').unwrap_or(text);
        let nanos = scaled(text, Self::KIND, Some((digits, 1_000_000_000)))?;
        let time = Duration::from_nanos(nanos);
        if time > Self::MOST { Err(too_large(text)) } else { Ok(Self(time)) }
    }
}

/// A decimal number times its unit, rounded to a whole; `None` stands for an unknown unit.
fn scaled(text: &str, kind: &str, number: Option<(&str, u64)>) -> Result<u64, Invalid> {
    let malformed = || Invalid(format!("{} is not {kind}", quoted(text)));
    let (digits, factor) = number.ok_or_else(malformed)?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) {
        return Err(malformed());
    }
    // The whole part is computed exactly; a fraction of a unit is far below 2^53.
    let fraction: f64 = format!("0.{fraction}").parse().map_err(|_| malformed())?;
    let fraction = (fraction * factor as f64).round() as u64;
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(factor));
    whole.and_then(|whole| whole.checked_add(fraction)).ok_or_else(|| too_large(text))
}

fn too_large(text: &str) -> Invalid {
    Invalid(format!("{} is too large", quoted(text)))
}

impl fmt::Display for Size {
    /// In the largest unit that is exact, so that two sizes never look alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cores", f64::from(self.0) / 1000.0)
    }
}

impl fmt::Display for Seconds {
    /// Exactly, which a floating point number is not for long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        let fraction = format!(".{nanos:09}");
        let fraction = if nanos == 0 { "" } else { fraction.trim_end_matches('0') };
        write!(f, "{whole}{fraction} s")
    }
}

/// What a quantity is, for messages.
trait Quantity: FromStr<Err = Invalid> {
    const KIND: &str;
}

impl Quantity for Size {
    const KIND: &str = "a size; write bytes, or a number with k, m or g, such as 256m";
}

impl Quantity for Cpu {
    const KIND: &str = "a share of CPU; write cores, such as 0.5, or thousandths, such as 500m";
}

impl Quantity for Seconds {
    const KIND: &str = "a time; write seconds, such as 30 or 2.5";
}

struct Written<T>(PhantomData<T>);

/// A number is read as its own text, so that there is one grammar.
impl<T: Quantity> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::KIND)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! deserialize {
    ($($quantity:ty),+) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Written(PhantomData))
            }
        }
    )+};
}

deserialize!(Size, Cpu, Seconds);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", 0)]
    #[case("268435456", 268_435_456)]
    #[case("256m", 256 << 20)]
    #[case("256M", 256 << 20)]
    #[case("256mb", 256 << 20)]
    #[case("512Mi", 512 << 20)]
    #[case("64 KiB", 64 << 10)]
    #[case("1g", 1 << 30)]
    #[case("1.5g", 3 << 29)]
    #[case("0.1k", 102)]
    #[case("2t", 2 << 40)]
    #[case("9007199254740993", (1 << 53) + 1)]
    #[case("18446744073709551615", u64::MAX)]
    fn sizes(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(text.parse(), Ok(Size(bytes)));
    }

    #[rstest]
    #[case("", "is not a size")]
    #[case("m", "is not a size")]
    #[case("-1", "is not a size")]
    #[case("+1", "is not a size")]
    #[case("1e3", "is not a size")]
    #[case("256x", "is not a size")]
    #[case("256mm", "is not a size")]
    #[case("256 m m", "is not a size")]
    #[case("1,5g", "is not a size")]
    #[case(".5g", "is not a size")]
    #[case("5.g", "is not a size")]
    #[case("1.2.3", "is not a size")]
    #[case("NaN", "is not a size")]
    #[case("infinity", "is not a size")]
    #[case("٣", "is not a size")]
    #[case("18446744073709551616", "is too large")]
    #[case("18014398509481984k", "is too large")]
    fn no_sizes(#[case] text: &str, #[case] reason: &str) {
        let Invalid(why) = text.parse::<Size>().unwrap_err();
        assert!(why.contains(reason), "{why}");
    }

    #[rstest]
    #[case("0.5", Some(500))]
    #[case("500m", Some(500))]
    #[case("2", Some(2000))]
    #[case("0.29", Some(290))]
    #[case("0.30000000000000004", Some(300))]
    #[case("0.0001", Some(0))]
    #[case("4294967.295", Some(u32::MAX))]
    #[case("4294967.296", None)]
    #[case("-0.5", None)]
    #[case("500M", None)]
    #[case("m", None)]
    fn cpus(#[case] text: &str, #[case] millis: Option<u32>) {
        assert_eq!(text.parse::<Cpu>().ok(), millis.map(Cpu));
    }

    #[rstest]
    #[case("30", Some(Duration::from_secs(30)))]
    #[case("2.5s", Some(Duration::from_millis(2500)))]
    #[case("0", Some(Duration::ZERO))]
    #[case("31622400", Some(Seconds::MOST))]
    #[case("31622401", None)]
    #[case("1000000000000000000000", None)]
    #[case("-1", None)]
    #[case("1m", None)]
    fn times(#[case] text: &str, #[case] time: Option<Duration>) {
        assert_eq!(text.parse::<Seconds>().ok(), time.map(Seconds));
    }

    #[test]
    fn json_numbers_and_strings_are_read_alike() {
        let size = |json| serde_json::from_str::<Size>(json).map_err(|e| e.to_string());
        assert_eq!(size("1024"), size(r#""1k""#));
        assert_eq!(size("1024.0"), Ok(Size(1024)));
        assert_eq!(serde_json::from_str::<Cpu>("0.5").unwrap(), Cpu(500));
        assert_eq!(serde_json::from_str::<Seconds>("0.25").unwrap().0, Duration::from_millis(250));
        for json in ["-1", "null", "[]", "true", "1e300", r#""x""#] {
            assert!(size(json).is_err(), "{json}");
        }
        assert!(size("null").unwrap_err().contains("expected a size; write bytes"));
    }

    #[rstest]
    #[case(256 << 20, "256 MiB")]
    #[case((256 << 20) + 1, "268435457 bytes")]
    #[case(3 << 29, "1536 MiB")]
    #[case(0, "0 bytes")]
    fn sizes_display_exactly(#[case] bytes: u64, #[case] text: &str) {
        assert_eq!(Size(bytes).to_string(), text);
        assert_eq!(Cpu(500).to_string(), "0.5 cores");
        assert_eq!(Seconds(Duration::from_millis(2500)).to_string(), "2.5 s");
    }
}
