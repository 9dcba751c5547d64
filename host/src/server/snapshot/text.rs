//! Times, durations and numbers as Go prints them in JSON (MON-017, MON-018).

use crate::config::duration;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// RFC 3339 in UTC, with as many digits of a second as there are.
pub fn time(unix_ns: u64) -> String {
    shown(
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH),
    )
}

/// The same of whole seconds, which reach further; `None` beyond the year 9999.
pub fn time_of_seconds(unix_s: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix_s).ok().map(shown)
}

fn shown(at: OffsetDateTime) -> String {
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    // Written by hand: a page of connections has tens of thousands of times.
    let mut text = String::with_capacity("2006-01-02T15:04:05.999999999Z".len());
    put_digits(&mut text, year.unsigned_abs(), 4);
    for (before, number) in [('-', month), ('-', day), ('T', hour), (':', minute), (':', second)] {
        text.push(before);
        put_digits(&mut text, number.into(), 2);
    }
    if at.nanosecond() > 0 {
        text.push('.');
        put_digits(&mut text, at.nanosecond(), 9);
        text.truncate(text.trim_end_matches('0').len());
    }
    text.push('Z');
    text
}

/// A number with zeros in front of it.
fn put_digits(text: &mut String, number: u32, count: u32) {
    text.extend((0..count).rev().map(|place| char::from(b'0' + (number / 10_u32.pow(place) % 10) as u8)));
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
