//! Cron expressions with seconds: when the next run is (JS-196).

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// Further away is never.
const YEARS_MAX: i16 = 5;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Six sets of numbers, as bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Cron {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
    zone: TimeZone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// It was `*` or `?`: it restricts nothing.
    open: bool,
}

impl Cron {
    pub fn parse(text: &str, zone: TimeZone) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [seconds, minutes, hours, days, months, weekdays] = *fields else { return None };
        Some(Self {
            seconds: Field::parse(seconds, 0, 59, &[])?,
            minutes: Field::parse(minutes, 0, 59, &[])?,
            hours: Field::parse(hours, 0, 23, &[])?,
            days: Field::parse(days, 1, 31, &[])?,
            months: Field::parse(months, 1, 12, &MONTHS)?,
            weekdays: Field::parse(weekdays, 0, 6, &WEEKDAYS)?,
            zone,
        })
    }

    /// The first run after that moment, on a whole second.
    pub fn next_ns(&self, after_ns: i64) -> Option<i64> {
        let after = Timestamp::from_second(after_ns.div_euclid(1_000_000_000)).ok()?;
        let mut at = after.checked_add(SignedDuration::from_secs(1)).ok()?.to_zoned(self.zone.clone());
        let last_year = at.year().checked_add(YEARS_MAX)?;
        loop {
            if at.year() > last_year {
                return None;
            }
            at = if !self.months.has(at.month()) {
                let next = at.date().first_of_month().checked_add(jiff::Span::new().months(1)).ok()?;
                next.to_zoned(self.zone.clone()).ok()?
            } else if !self.has_day(&at) {
                at.date().tomorrow().ok()?.to_zoned(self.zone.clone()).ok()?
            } else if !self.hours.has(at.hour()) {
                later(&at, 3600 - 60 * i64::from(at.minute()) - i64::from(at.second()))?
            } else if !self.minutes.has(at.minute()) {
                later(&at, 60 - i64::from(at.second()))?
            } else if !self.seconds.has(at.second()) {
                later(&at, 1)?
            } else {
                return at.timestamp().as_second().checked_mul(1_000_000_000);
            };
        }
    }

    /// If day and weekday are both restricted, either will do.
    fn has_day(&self, at: &Zoned) -> bool {
        let day = self.days.has(at.day());
        let weekday = self.weekdays.has(at.weekday().to_sunday_zero_offset());
        if self.days.open || self.weekdays.open { day && weekday } else { day || weekday }
    }
}

/// On the clock that does not jump: an hour that comes twice is walked through twice.
fn later(at: &Zoned, seconds: i64) -> Option<Zoned> {
    at.checked_add(SignedDuration::from_secs(seconds)).ok()
}

impl Field {
    fn parse(text: &str, min: u32, max: u32, names: &[&str]) -> Option<Self> {
        let mut field = Self::default();
        for part in text.split(',') {
            let part = Self::parse_part(part, min, max, names)?;
            field.bits |= part.bits;
            field.open |= part.open;
        }
        Some(field)
    }

    /// `*`, `N`, `N-M`, each with `/step` perhaps; `N/step` goes to the end.
    fn parse_part(text: &str, min: u32, max: u32, names: &[&str]) -> Option<Self> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        let value = |text: &str| named(text, min, names).or_else(|| number(text));
        let (from, to, open) = match range.split_once('-') {
            None if range == "*" || range == "?" => (min, max, step.is_none_or(|step| step == 1)),
            None => {
                let from = value(range)?;
                (from, if step.is_some() { max } else { from }, false)
            }
            Some((from, to)) => (value(from)?, value(to)?, false),
        };
        let step = step.unwrap_or(1);
        if from < min || to > max || from > to || step == 0 {
            return None;
        }
        let bits = (from..=to).step_by(step as usize).fold(0, |bits, value| bits | 1 << value);
        Some(Self { bits, open })
    }

    fn has(self, value: i8) -> bool {
        self.bits >> value & 1 == 1
    }
}

/// Without a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn named(text: &str, min: u32, names: &[&str]) -> Option<u32> {
    names.iter().position(|name| name.eq_ignore_ascii_case(text)).map(|at| at as u32 + min)
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::Cron;
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    fn next(cron: &str, zone: &str, after: &str) -> Option<String> {
        let zone = if zone.is_empty() { TimeZone::UTC } else { TimeZone::get(zone).expect("a zone") };
        let after: Timestamp = after.parse().expect("a time");
        let next_ns = Cron::parse(cron, zone)?.next_ns(after.as_nanosecond() as i64)?;
        Some(Timestamp::from_nanosecond(next_ns.into()).expect("a time").to_string())
    }

    #[test]
    fn the_next_run_is_the_first_match_after_the_moment() {
        for (cron, after, expected) in [
            ("* * * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("* * * * * *", "2026-01-01T00:00:00.9Z", "2026-01-01T00:00:01Z"),
            ("*/5 * * * * *", "2026-01-01T00:00:58Z", "2026-01-01T00:01:00Z"),
            ("5/20 * * * * *", "2026-01-01T00:00:06Z", "2026-01-01T00:00:25Z"),
            ("0 0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 30 9 * * mon-fri", "2026-01-02T10:00:00Z", "2026-01-05T09:30:00Z"),
            ("0 0 0 13 * fri", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z"),
            ("0 0 0 ? FEB,Mar *", "2026-01-03T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("0 0 0 29 2 *", "2025-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ] {
            assert_eq!(next(cron, "", after).as_deref(), Some(expected), "{cron} after {after}");
        }
    }

    #[test]
    fn zones_have_their_own_days_and_jumps() {
        let berlin = |cron, after| next(cron, "Europe/Berlin", after);
        assert_eq!(berlin("0 0 0 1 1 *", "2026-06-01T00:00:00Z").as_deref(), Some("2026-12-31T23:00:00Z"));
        // The clock goes from 2 to 3 on 29 March: half past two does not come that day.
        assert_eq!(berlin("0 30 2 * * *", "2026-03-28T02:00:00Z").as_deref(), Some("2026-03-30T00:30:00Z"));
    }

    #[test]
    fn bad_expressions_are_refused() {
        for cron in [
            "* * * * *",
            "60 * * * * *",
            "0 0 24 * * *",
            "0 0 0 0 * *",
            "0 0 0 * 13 *",
            "0 0 0 * * 7",
            "0 5-1 0 * * *",
            "*/0 * * * * *",
            "0 0 0 L * *",
            "-5 * * * * *",
            "0 0 0 * * SunDAY",
            "1-2-3 0 0 * * *",
            "1/2/3 0 0 * * *",
            "TZ=UTC 0 0 0 1 1 *",
            "+1 * * * * *",
            ", * * * * *",
        ] {
            assert_eq!(Cron::parse(cron, TimeZone::UTC), None, "{cron}");
        }
        assert_eq!(next("0 0 0 30 2 *", "", "2026-01-01T00:00:00Z"), None);
    }
}
