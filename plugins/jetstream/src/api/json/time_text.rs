//! Moments in requests: RFC 3339, and what nats-server says of a text that is none.

use super::quote::go_quote;
use crate::wire::Time;

/// What the errors call the parts, in the notation of Go's layouts.
const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";

/// A moment beyond what nanoseconds since 1970 can say (the year 2262) becomes the last one.
pub(super) fn parse(text: &str) -> Result<Time, String> {
    let mut parts = Parts { text, rest: text };
    let year = parts.number(4, "2006")?;
    parts.mark("-")?;
    let month = parts.number(2, "01")?;
    parts.in_range(1..=12, month, "month")?;
    parts.mark("-")?;
    let day = parts.number(2, "02")?;
    parts.mark("T")?;
    for (layout, name, max) in [("15", "hour", 23), ("04", "minute", 59), ("05", "second", 59)] {
        if layout != "15" {
            parts.mark(":")?;
        }
        let number = parts.number(2, layout)?;
        parts.in_range(0..=max, number, name)?;
    }
    parts.fraction();
    parts.zone()?;
    if !parts.rest.is_empty() {
        return Err(format!("parsing time {}: extra text: {}", go_quote(text), go_quote(parts.rest)));
    }
    parts.in_range(1..=days(year, month), day, "day")?;
    Ok(Time::parse(text).unwrap_or(Time(i64::MAX)))
}

struct Parts<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parts<'_> {
    fn number(&mut self, digits: usize, layout: &str) -> Result<u32, String> {
        let digits = self.rest.get(..digits).filter(|head| head.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| self.unlike(layout))?;
        self.rest = &self.rest[digits.map_or(0, str::len)..];
        Ok(number)
    }

    fn mark(&mut self, mark: &str) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(mark).ok_or_else(|| self.unlike(mark))?;
        Ok(())
    }

    fn fraction(&mut self) {
        let Some(fraction) = self.rest.strip_prefix('.') else { return };
        let rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
        if rest.len() < fraction.len() {
            self.rest = rest;
        }
    }

    fn zone(&mut self) -> Result<(), String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(());
        }
        let is_offset = |zone: &str| {
            let shape = zone.bytes().zip("+00:00".bytes());
            shape.enumerate().all(|(at, (byte, like))| match at {
                0 => matches!(byte, b'+' | b'-'),
                3 => byte == like,
                _ => byte.is_ascii_digit(),
            })
        };
        let zone = self.rest.get(..6).filter(|zone| is_offset(zone)).ok_or_else(|| self.unlike("Z07:00"))?;
        self.rest = &self.rest[zone.len()..];
        Ok(())
    }

    fn in_range(&self, range: std::ops::RangeInclusive<u32>, number: u32, name: &str) -> Result<(), String> {
        match range.contains(&number) {
            true => Ok(()),
            false => Err(format!("parsing time {}: {name} out of range", go_quote(self.text))),
        }
    }

    fn unlike(&self, layout: &str) -> String {
        let (text, rest) = (go_quote(self.text), go_quote(self.rest));
        format!("parsing time {text} as {}: cannot parse {rest} as {}", go_quote(LAYOUT), go_quote(layout))
    }
}

fn days(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn errors_name_the_part_that_is_wrong() {
        let unlike = |text: &str, rest: &str, layout: &str| {
            format!(
                "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {rest:?} as {layout:?}"
            )
        };
        for (text, error) in [
            ("x", unlike("x", "x", "2006")),
            ("", unlike("", "", "2006")),
            ("2020-01-01", unlike("2020-01-01", "", "T")),
            ("2020-01-01T00:00:00", unlike("2020-01-01T00:00:00", "", "Z07:00")),
            ("2020-13-01T00:00:00Z", "parsing time \"2020-13-01T00:00:00Z\": month out of range".to_owned()),
            ("2020-01-01T25:00:00Z", "parsing time \"2020-01-01T25:00:00Z\": hour out of range".to_owned()),
            ("2021-02-29T05:00:00Z", "parsing time \"2021-02-29T05:00:00Z\": day out of range".to_owned()),
        ] {
            assert_eq!(parse(text), Err(error));
        }
        assert!(parse("2020-02-29T01:02:03.123456789+02:00").is_ok());
        assert_eq!(parse("3000-01-01T00:00:00Z").map(|time| time.0), Ok(i64::MAX));
    }
}
