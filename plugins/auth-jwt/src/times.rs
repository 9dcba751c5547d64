//! The times of day at which a user may be connected (`times`, `times_location`).

use crate::claims::TimeRange;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// `HH:MM:SS`
pub fn parse(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let mut next = || parts.next()?.parse::<i8>().ok();
    let (hour, minute, second) = (next()?, next()?, next()?);
    if parts.next().is_some() {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

/// Until when the user may stay, as seconds since 1970. `None`: not now; `Some(None)`: for ever.
pub fn allowed_until(ranges: &[TimeRange], location: &str, now_unix_s: i64) -> Option<Option<i64>> {
    if ranges.is_empty() {
        return Some(None);
    }
    let zone = match location {
        "" => TimeZone::system(),
        name => TimeZone::get(name).ok()?,
    };
    let now = Timestamp::from_second(now_unix_s).ok()?.to_zoned(zone);
    let mut latest = None;
    for range in ranges {
        let (start, end) = (parse(&range.start)?, parse(&range.end)?);
        let at =
            |day: jiff::civil::Date, time: Time| day.to_datetime(time).to_zoned(now.time_zone().clone()).ok();
        let today = now.date();
        // A range whose end lies before its start goes over midnight.
        let span = if start <= end {
            Some((at(today, start)?, at(today, end)?))
        } else if now.time() < end {
            Some((at(today.checked_sub(1.day()).ok()?, start)?, at(today, end)?))
        } else {
            Some((at(today, start)?, at(today.checked_add(1.day()).ok()?, end)?))
        };
        if let Some((from, until)) = span
            && from <= now
            && now < until
        {
            latest = latest.max(Some(until.timestamp().as_second()));
        }
    }
    latest.map(Some)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// 2025-01-01 00:00:00 UTC
    const MIDNIGHT: i64 = 1_735_689_600;
    const HOUR: i64 = 3600;

    #[test]
    fn ranges_within_a_day_and_over_midnight() {
        let range = |start: &str, end: &str| TimeRange { start: start.to_owned(), end: end.to_owned() };
        let until = |start: &str, end: &str, now: i64| allowed_until(&[range(start, end)], "UTC", now);
        assert_eq!(until("08:00:00", "10:00:00", MIDNIGHT + 9 * HOUR), Some(Some(MIDNIGHT + 10 * HOUR)));
        assert_eq!(until("08:00:00", "10:00:00", MIDNIGHT + 10 * HOUR), None);
        assert_eq!(until("22:00:00", "02:00:00", MIDNIGHT + HOUR), Some(Some(MIDNIGHT + 2 * HOUR)));
        assert_eq!(until("22:00:00", "02:00:00", MIDNIGHT + 23 * HOUR), Some(Some(MIDNIGHT + 26 * HOUR)));
        assert_eq!(until("22:00:00", "02:00:00", MIDNIGHT + 12 * HOUR), None);
        let tokyo = allowed_until(&[range("08:00:00", "10:00:00")], "Asia/Tokyo", MIDNIGHT);
        assert_eq!(tokyo, Some(Some(MIDNIGHT + HOUR)));
        assert_eq!(allowed_until(&[], "", 0), Some(None));
        assert_eq!(allowed_until(&[range("x", "y")], "UTC", 0), None);
    }
}
