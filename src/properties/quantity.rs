//! Sizes, shares of CPU and times, as people write them.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::one_line;
use crate::execution::quantity::{Cpu, Seconds, Size};
use crate::execution::request::Invalid;

pub fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let size = quantity::<Size>(&text);
    let cpu = quantity::<Cpu>(&text);
    let seconds = quantity::<Seconds>(&text);
    for exact in [size.map(|size| size.0), seconds.map(|seconds| seconds.0.as_secs())] {
        if let (Some(read), Ok(number)) = (exact, text.parse::<u64>()) {
            assert_eq!(read, number);
        }
    }
    if let (Some(Cpu(millis)), Ok(cores)) = (cpu, text.parse::<u32>()) {
        assert_eq!(Some(millis), cores.checked_mul(1000));
    }
    assert!(seconds.is_none_or(|seconds| seconds.0 <= Seconds::MOST));
}

/// As a text, and as JSON that says the same; and what it displays as is read as the same.
fn quantity<Q>(text: &str) -> Option<Q>
where
    Q: FromStr<Err = Invalid> + Display + Debug + PartialEq + DeserializeOwned,
{
    let read = text.parse::<Q>();
    let json = serde_json::from_value::<Q>(text.into());
    assert_eq!(json.is_ok(), read.is_ok(), "{text:?}");
    match &read {
        Ok(quantity) => {
            let shown = quantity.to_string();
            let shown =
                shown.strip_suffix(" bytes").or(shown.strip_suffix(" cores")).unwrap_or(&shown);
            let shown = shown.strip_suffix(" s").unwrap_or(shown);
            assert_eq!(shown.parse::<Q>().as_ref(), Ok(quantity), "{text:?} is shown as {shown:?}");
        }
        Err(Invalid(why)) => one_line(why),
    }
    read.ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::twin;

    #[test]
    fn holds() {
        let texts =
            "[0-9]{1,20}(\\.[0-9]{1,20})?( ?([kKmMgGtT]i?[bB]?|s|b))?|[0-9.kmgtibs -]{0,24}";
        twin::run("quantity", 1000, texts.prop_map(String::into_bytes), super::check);
    }
}
