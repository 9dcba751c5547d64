//! Moments as the API writes them: RFC 3339 with nanoseconds, in UTC; the zero time is that of year 1.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What Go writes for a time that was never set.
const ZERO: &str = "0001-01-01T00:00:00Z";

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

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_zero() {
            return f.write_str(ZERO);
        }
        let Ok(moment) = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)) else {
            return f.write_str(ZERO);
        };
        // As Go: no trailing zeros in the fraction, none at all for whole seconds.
        let (date, hour, minute, second) = (moment.date(), moment.hour(), moment.minute(), moment.second());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if moment.nanosecond() != 0 {
            let fraction = format!("{:09}", moment.nanosecond());
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
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
        for text in ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.000000001Z"] {
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
