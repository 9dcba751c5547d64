//! Times as Go writes them: RFC 3339 in UTC, with as many digits of a second as there are (MON-017).

use time::OffsetDateTime;

pub fn utc(unix_ns: u64) -> String {
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if at.nanosecond() > 0 {
        let digits = format!(".{:09}", at.nanosecond());
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_have_the_digits_they_need() {
        assert_eq!(utc(1_795_478_238_086_290_000), "2026-11-23T23:57:18.08629Z");
        assert_eq!(utc(1_795_478_238_000_000_000), "2026-11-23T23:57:18Z");
    }
}
