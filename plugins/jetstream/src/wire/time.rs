//! Moments as the API writes them: RFC 3339 with nanoseconds, in UTC; the zero time is that of year 1.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What Go writes for a time that was never set.
const ZERO: &str = "0001-01-01T00:00:00Z";
const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970; 0 is the zero time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        if moment.year() <= 1 {
            return Some(Self(0));
        }
        i64::try_from(moment.unix_timestamp_nanos()).ok().map(Self)
    }
}

impl Time {
    /// The text, put behind what is there. By hand: it is in every answer to a direct get.
    pub fn write(self, out: &mut Vec<u8>) {
        let (seconds, nanos) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND));
        let moment = OffsetDateTime::from_unix_timestamp(seconds);
        let Some(moment) = moment.ok().filter(|_| !self.is_zero()) else {
            return out.extend_from_slice(ZERO.as_bytes());
        };
        let (date, hour, minute, second) = (moment.date(), moment.hour(), moment.minute(), moment.second());
        push_digits(out, date.year().unsigned_abs(), 4);
        let rest = [
            (b'-', u8::from(date.month())),
            (b'-', date.day()),
            (b'T', hour),
            (b':', minute),
            (b':', second),
        ];
        for (before, part) in rest {
            out.push(before);
            push_digits(out, part.into(), 2);
        }
        // As Go: no trailing zeros in the fraction, none at all for whole seconds.
        if nanos != 0 {
            out.push(b'.');
            push_digits(out, nanos as u32, 9);
            while out.pop_if(|digit| *digit == b'0').is_some() {}
        }
        out.push(b'Z');
    }
}

/// With zeros before it.
fn push_digits(out: &mut Vec<u8>, mut value: u32, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit += (value % 10) as u8;
        value /= 10;
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(30);
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("{text:?} is not a time as in RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.1Z",
            "2026-01-02T03:04:05.000000001Z",
            "1969-12-31T23:59:59.9Z",
            "2200-02-28T00:00:00.00012Z",
        ] {
            assert_eq!(Time::parse(text).map(|time| time.to_string()).as_deref(), Some(text));
        }
        assert_eq!(Time(0).to_string(), "0001-01-01T00:00:00Z");
        assert_eq!(Time::parse("0001-01-01T00:00:00Z"), Some(Time(0)));
        assert_eq!(
            Time::parse("2026-01-02T03:04:05+01:00").map(|time| time.to_string()).as_deref(),
            Some("2026-01-02T02:04:05Z")
        );
        assert_eq!(Time::parse("yesterday"), None);
    }
}
