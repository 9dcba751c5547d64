//! Durations in Go's notation (`1h2m3.5s`), as nanoseconds: read from configuration, written in errors.

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Decimals beyond these are less than a nanosecond even of hours.
const DECIMALS_MAX: usize = 15;

/// Nanoseconds, or nats-server's words for what is wrong.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total_ns: i128 = 0;
    while !rest.is_empty() {
        let len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(len);
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && decimals.is_empty()) || decimals.contains('.') {
            return Err(invalid());
        }
        let len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(len);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, unit_ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
        };
        let decimals = &decimals[..decimals.len().min(DECIMALS_MAX)];
        let digits = |digits: &str| match digits {
            "" => Some(0),
            digits => digits.parse::<i64>().ok().map(i128::from),
        };
        let (whole, fraction) = digits(whole).zip(digits(decimals)).ok_or_else(invalid)?;
        total_ns += whole * unit_ns + fraction * unit_ns / 10_i128.pow(decimals.len() as u32);
        rest = after;
    }
    i64::try_from(sign * total_ns).map_err(|_| invalid())
}

/// As Go writes it: `2m0s`, `1.5s`, `250ms`.
pub fn show(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let size = nanos.unsigned_abs();
    let fraction = |unit: u64| {
        let whole = size / unit;
        let width = unit.ilog10() as usize;
        let rest = format!("{:0width$}", size % unit);
        match rest.trim_end_matches('0') {
            "" => whole.to_string(),
            rest => format!("{whole}.{rest}"),
        }
    };
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", fraction(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(1_000_000)),
        _ => {
            let (minutes, seconds) = (size / 60_000_000_000, size % 60_000_000_000);
            let tail = show_seconds(seconds);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{tail}"),
                (0, minutes) => format!("{sign}{minutes}m{tail}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{tail}"),
            }
        }
    }
}

fn show_seconds(nanos: u64) -> String {
    let rest = format!("{:09}", nanos % 1_000_000_000);
    match rest.trim_end_matches('0') {
        "" => format!("{}s", nanos / 1_000_000_000),
        rest => format!("{}.{rest}s", nanos / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, show};

    #[test]
    fn read_and_written_as_go_does() {
        for (text, nanos, shown) in [
            ("2m", 120_000_000_000, "2m0s"),
            ("1h2m3.5s", 3_723_500_000_000, "1h2m3.5s"),
            ("250ms", 250_000_000, "250ms"),
            ("1.5us", 1_500, "1.5\u{b5}s"),
            ("7ns", 7, "7ns"),
            ("-1s", -1_000_000_000, "-1s"),
            ("0", 0, "0s"),
            ("24h", 86_400_000_000_000, "24h0m0s"),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
            assert_eq!(show(nanos), shown);
        }
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("x", "time: invalid duration \"x\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5y", "time: unknown unit \"y\" in duration \"5y\""),
            ("1.2.3s", "time: invalid duration \"1.2.3s\""),
            ("300000000h", "time: invalid duration \"300000000h\""),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()));
        }
    }
}
