//! Durations as the configuration writes them: `2m30s`, in the notation of Go.

use std::time::Duration;

/// The texts of the errors are those that users of the notation know.
pub fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    if text.starts_with('-') {
        return Err(format!("a negative duration {text:?} makes no sense here"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c != '.' && !c.is_ascii_digit());
        let (unit, after) = split(after, |c| c == '.' || c.is_ascii_digit());
        let unit_ns = match unit {
            "" if !number.is_empty() => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ if number.is_empty() => return Err(invalid()),
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let part = scaled(number, unit_ns).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    // What the notation's own type can hold: 292 years.
    if total.as_nanos() > i64::MAX as u128 { Err(invalid()) } else { Ok(total) }
}

fn split(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// `1.5` of a unit.
fn scaled(number: &str, unit_ns: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut fraction_ns = 0;
    let mut digit_ns = unit_ns;
    for digit in fraction.bytes() {
        digit_ns /= 10;
        fraction_ns += u64::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?) * digit_ns;
    }
    Some(Duration::from_nanos(whole.checked_mul(unit_ns)?.checked_add(fraction_ns)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::parse;
    use std::time::Duration;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("0", 0),
            ("2s", 2_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("2m30s", 150_000),
            ("1h1m1s1ms", 3_661_001),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("abc", "time: invalid duration \"abc\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("5", "time: missing unit in duration \"5\""),
            ("2d", "time: unknown unit \"d\" in duration \"2d\""),
            ("99999999999h", "time: invalid duration \"99999999999h\""),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
        assert!(parse("-1s").is_err());
    }
}
