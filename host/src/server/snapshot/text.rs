//! Times, durations and numbers as Go prints them in JSON (MON-017, MON-018).

use crate::config::duration;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// RFC 3339 in UTC, with as many digits of a second as there are.
pub fn time(unix_ns: u64) -> String {
    let seconds = OffsetDateTime::from_unix_timestamp((unix_ns / NS) as i64);
    shown(seconds.unwrap_or(OffsetDateTime::UNIX_EPOCH), (unix_ns % NS) as u32)
}

/// The same of whole seconds, which reach further; `None` beyond the year 9999.
pub fn time_of_seconds(unix_s: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix_s).ok().map(|at| shown(at, 0))
}

const NS: u64 = 1_000_000_000;

fn shown(at: OffsetDateTime, ns: u32) -> String {
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    // Written by hand: a page of connections has tens of thousands of times.
    let mut text = *b"2006-01-02T15:04:05.999999999Z";
    put_digits(&mut text[..4], year.unsigned_abs());
    for (from, number) in [(5, month), (8, day), (11, hour), (14, minute), (17, second)] {
        put_digits(&mut text[from..from + 2], number.into());
    }
    put_digits(&mut text[FRACTION..END], ns);
    // Without the zeros at its end, and without a point if nothing is left.
    let digits = text[FRACTION..END].iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    let end = if digits == 0 { FRACTION - 1 } else { FRACTION + digits };
    text[end] = b'Z';
    String::from_utf8_lossy(&text[..=end]).into_owned()
}

/// Where the part of a second lies in a time.
const FRACTION: usize = 20;
const END: usize = 29;

/// A number with zeros in front of it.
fn put_digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// `1y2d3h4m5s`, without what is zero in front.
pub fn uptime(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let years = days / 365;
    let (d, h, m, s) = (days % 365, hours % 24, minutes % 60, seconds % 60);
    if years > 0 {
        format!("{years}y{d}d{h}h{m}m{s}s")
    } else if days > 0 {
        format!("{d}d{h}h{m}m{s}s")
    } else if hours > 0 {
        format!("{h}h{m}m{s}s")
    } else if minutes > 0 {
        format!("{m}m{s}s")
    } else {
        format!("{s}s")
    }
}

/// A round trip: below a millisecond in whole microseconds.
pub fn rtt(ns: u64) -> String {
    let shown_ns = if (1_000..1_000_000).contains(&ns) { ns / 1_000 * 1_000 } else { ns };
    duration::format(Duration::from_nanos(shown_ns))
}

/// A float; Go writes 2.0 as `2`.
pub fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 { Value::from(value as i64) } else { Value::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_they_need() {
        assert_eq!(time(1_795_478_238_086_292_466), "2026-11-23T23:57:18.086292466Z");
        assert_eq!(time(1_795_478_238_086_290_000), "2026-11-23T23:57:18.08629Z");
        assert_eq!(time(1_795_478_238_000_000_000), "2026-11-23T23:57:18Z");
        assert_eq!(time_of_seconds(67_090_723_200).unwrap_or_default(), "4096-01-08T00:00:00Z");
        assert_eq!(time_of_seconds(i64::MAX), None);
    }

    #[test]
    fn uptimes_start_with_the_largest_unit_that_counts() {
        let of = |seconds: u64| uptime(seconds * 1_000_000_000 + 999);
        assert_eq!(
            [of(0), of(301), of(3600), of(86400 + 61), of(366 * 86400)],
            ["0s", "5m1s", "1h0m0s", "1d0h1m1s", "1y1d0h0m0s"]
        );
    }

    #[test]
    fn round_trips_are_short() {
        assert_eq!([rtt(0), rtt(352_999), rtt(5_379_462), rtt(999)], ["0s", "352µs", "5.379462ms", "999ns"]);
    }

    #[test]
    fn whole_floats_have_no_point() {
        assert_eq!([number(2.0).to_string(), number(0.5).to_string()], ["2", "0.5"]);
    }
}
