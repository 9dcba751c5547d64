//! What `Nats-Schedule` says: once, in intervals, or by a cron expression (JS-190).

use super::cron::Cron;
use crate::duration;
use crate::wire::{ApiError, Time, error};
use jiff::tz::TimeZone;

const SECOND_NS: i64 = 1_000_000_000;

#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    Once { at_ns: i64 },
    Every { interval_ns: i64 },
    Cron(Box<Cron>),
}

impl Pattern {
    pub fn parse(text: &[u8], zone: Option<&[u8]>) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(text).map_err(|_| error::MESSAGE_SCHEDULES_PATTERN_INVALID)?;
        let simple = match text.split_once(' ') {
            Some(("@at", time)) => Time::parse(time).map(|time| Self::Once { at_ns: time.0 }),
            Some(("@every", interval)) => every(interval),
            _ => return Self::parse_cron(text, zone),
        };
        // A zone means something for a cron expression only.
        simple.filter(|_| zone.is_none()).ok_or(error::MESSAGE_SCHEDULES_PATTERN_INVALID)
    }

    fn parse_cron(text: &str, zone: Option<&[u8]>) -> Result<Self, ApiError> {
        let zone = match zone {
            Some(name) => std::str::from_utf8(name).ok().and_then(|name| TimeZone::get(name).ok()),
            None => Some(TimeZone::UTC),
        };
        let zone = zone.ok_or(error::MESSAGE_SCHEDULES_TIME_ZONE_INVALID)?;
        let text = match text {
            "@yearly" | "@annually" => "0 0 0 1 1 *",
            "@monthly" => "0 0 0 1 * *",
            "@weekly" => "0 0 0 * * 0",
            "@daily" | "@midnight" => "0 0 0 * * *",
            "@hourly" => "0 0 * * * *",
            text => text,
        };
        let cron = Cron::parse(text, zone).ok_or(error::MESSAGE_SCHEDULES_PATTERN_INVALID)?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The first run of a schedule made at that time; `None`: never.
    pub fn first_ns(&self, made_ns: i64) -> Option<i64> {
        match self {
            Self::Once { at_ns } => Some(*at_ns),
            _ => self.next_ns(made_ns),
        }
    }

    /// The run after one at that time.
    pub fn next_ns(&self, after_ns: i64) -> Option<i64> {
        match self {
            Self::Once { .. } => None,
            // On whole seconds.
            Self::Every { interval_ns } => {
                (after_ns - after_ns.rem_euclid(SECOND_NS)).checked_add(*interval_ns)
            }
            Self::Cron(cron) => cron.next_ns(after_ns),
        }
    }
}

fn every(interval: &str) -> Option<Pattern> {
    let interval_ns = duration::parse(interval).ok().filter(|&interval_ns| interval_ns >= SECOND_NS)?;
    Some(Pattern::Every { interval_ns: interval_ns - interval_ns % SECOND_NS })
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::Pattern;
    use crate::wire::Time;

    #[test]
    fn the_first_run_is_after_the_schedule_was_made() {
        let ns = |text: &str| Time::parse(text).map_or(0, |time| time.0);
        for (pattern, expected) in [
            ("@at 2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
            ("@every 1s", "2026-01-01T10:20:31Z"),
            ("@every 1h30m", "2026-01-01T11:50:30Z"),
            ("@every 1.5s", "2026-01-01T10:20:31Z"),
            ("@daily", "2026-01-02T00:00:00Z"),
            ("@hourly", "2026-01-01T11:00:00Z"),
        ] {
            let parsed = Pattern::parse(pattern.as_bytes(), None).expect(pattern);
            assert_eq!(parsed.first_ns(ns("2026-01-01T10:20:30.5Z")), Some(ns(expected)), "{pattern}");
        }
    }

    #[test]
    fn bad_patterns_and_zones_are_told_apart() {
        let code = |pattern: &str, zone: Option<&str>| {
            let parsed = Pattern::parse(pattern.as_bytes(), zone.map(str::as_bytes));
            parsed.map_or_else(|why| why.err_code, |_| 0)
        };
        for pattern in
            ["", "bad", "@at bad", "@at 2026-01-01", "@every 500ms", "@every 1", "@Daily", "@bogus"]
        {
            assert_eq!(code(pattern, None), 10189, "{pattern}");
        }
        assert_eq!(code("@every 1h", Some("Europe/Berlin")), 10189);
        assert_eq!(code("@yearly", Some("Europe/Berlin")), 0);
        assert_eq!(code("@yearly", Some("Nowhere/X")), 10223);
    }
}
