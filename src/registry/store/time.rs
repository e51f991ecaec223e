//! The time in images' own words.

/// Seconds since 1970 of an RFC 3339 time; `None` for any other text and for times before.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let clock = rest.get(..8)?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let zone = rest.get(8..)?;
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => zone,
    };
    let offset = match zone.get(..1)? {
        "Z" | "z" if zone.len() == 1 => 0,
        sign @ ("+" | "-") => {
            let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
            let seconds = hours * 3600 + minutes * 60;
            if sign == "+" { seconds } else { -seconds }
        }
        _ => return None,
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    // Years that begin in March have their leap day at their end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const DAYS_TO_1970: i64 = 719_468;
    let seconds = (days - DAYS_TO_1970) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    u64::try_from(seconds).ok()
}

/// Numbers of just so many digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::parse;

    #[rstest]
    #[case("1970-01-01T00:00:00Z", Some(0))]
    #[case("2000-02-29T12:34:56Z", Some(951_827_696))]
    #[case("2024-09-06T22:20:07.123456789Z", Some(1_725_661_207))]
    #[case("2024-09-07T00:20:07+02:00", Some(1_725_661_207))]
    #[case("2024-09-06T21:50:07.5-00:30", Some(1_725_661_207))]
    #[case("0001-01-01T00:00:00Z", None)]
    #[case("2024-09-06", None)]
    #[case("2024-13-06T22:20:07Z", None)]
    #[case("2024-09-06T22:20:07", None)]
    #[case("2024-09-06T22:20:07ä", None)]
    #[case("+024-09-06T22:20:07Z", None)]
    #[case("", None)]
    fn times(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(parse(text), seconds);
    }
}
