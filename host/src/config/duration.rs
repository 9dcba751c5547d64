//! Go durations: `2m30s` read and written as Go's `time` package does (CFG-018).

use std::time::Duration;

/// Reads a duration with its sign. The errors are Go's texts.
pub fn parse(text: &str) -> Result<GoDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(GoDuration { negative: false, size: Duration::ZERO });
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_ns: u128 = 0;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(decimals) => split_digits(decimals),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_ns = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_u128,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total_ns = whole
            .checked_mul(unit_ns)
            .and_then(|ns| ns.checked_add(fraction_ns(fraction, unit_ns)))
            .and_then(|ns| ns.checked_add(total_ns))
            .ok_or_else(invalid)?;
        rest = after;
    }
    match u64::try_from(total_ns) {
        Ok(ns) if ns <= i64::MAX.unsigned_abs() => {
            Ok(GoDuration { negative, size: Duration::from_nanos(ns) })
        }
        _ => Err(invalid()),
    }
}

/// A duration that may be negative, as Go's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration {
    pub negative: bool,
    pub size: Duration,
}

/// Writes a duration as Go prints it: `2m0s`, `1.5s`, `10ms`.
pub fn format(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let in_unit = |unit_ns: u128, name: &str| {
        let text = format!("{}.{:0width$}", ns / unit_ns, ns % unit_ns, width = unit_ns.ilog10() as usize);
        format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => in_unit(1_000, "µs"),
        1_000_000..1_000_000_000 => in_unit(1_000_000, "ms"),
        _ => {
            let seconds = duration.as_secs();
            let part = Duration::new(seconds % 60, duration.subsec_nanos());
            let tail = match (part.as_secs(), part.subsec_nanos()) {
                (whole, 0) => format!("{whole}s"),
                (whole, nanos) => format!("{whole}.{}s", format!("{nanos:09}").trim_end_matches('0')),
            };
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn fraction_ns(digits: &str, unit_ns: u128) -> u128 {
    // Further digits are below a nanosecond for every unit.
    let digits = &digits[..digits.len().min(15)];
    let scale = 10_u128.pow(u32::try_from(digits.len()).unwrap_or(0));
    digits.parse::<u128>().map_or(0, |fraction| fraction * unit_ns / scale)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{GoDuration, format, parse};

    #[test]
    fn reads_go_durations() {
        for (text, ns) in [
            ("0", 0),
            ("5ns", 5),
            ("1.5s", 1_500_000_000),
            (".5ms", 500_000),
            ("2m30s", 150_000_000_000),
            ("1h1m1s1ms1us1ns", 3_661_001_001_001),
            ("+1s", 1_000_000_000),
            ("3µs", 3_000),
        ] {
            let expected = GoDuration { negative: false, size: Duration::from_nanos(ns) };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        assert_eq!(parse("-1s"), Ok(GoDuration { negative: true, size: Duration::from_secs(1) }));
    }

    #[test]
    fn refuses_with_go_texts() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("10", "time: missing unit in duration \"10\""),
            ("2d", "time: unknown unit \"d\" in duration \"2d\""),
            ("x", "time: invalid duration \"x\""),
            (".s", "time: invalid duration \".s\""),
            ("99999999999h", "time: invalid duration \"99999999999h\""),
        ] {
            assert_eq!(parse(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn writes_as_go_prints() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (50_000_000, "50ms"),
            (1_500_000_000, "1.5s"),
            (120_000_000_000, "2m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (90_250_000_000, "1m30.25s"),
        ] {
            assert_eq!(format(Duration::from_nanos(ns)), text);
        }
    }
}
