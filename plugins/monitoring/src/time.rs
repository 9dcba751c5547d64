//! Times as the endpoints write them (MON-017), read back.

/// Milliseconds since 1970 of a time in UTC.
pub fn millis(text: &str) -> Option<i64> {
    let (seconds, fraction) = parts(text)?;
    Some(seconds * 1000 + digits(fraction, 3)?)
}

/// The same in nanoseconds; of times before 1970 there are none.
pub fn nanos(text: &str) -> Option<u64> {
    let (seconds, fraction) = parts(text)?;
    u64::try_from(seconds.checked_mul(1_000_000_000)? + digits(fraction, 9)?).ok()
}

/// Whole seconds since 1970, and the digits of the rest.
fn parts(text: &str) -> Option<(i64, &str)> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(whole, ':')?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some((seconds, fraction))
}

/// So many digits; what is missing is 0.
fn digits(fraction: &str, count: usize) -> Option<i64> {
    fraction.chars().chain(std::iter::repeat('0')).take(count).collect::<String>().parse().ok()
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

/// Days since 1970, in years that begin in March: so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::{millis, nanos};

    #[test]
    fn times_are_read_to_the_millisecond() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:30:15.999999999Z", Some(951_827_415_999)),
            ("2024-12-31T23:59:59Z", Some(1_735_689_599_000)),
            ("2024-12-31T23:59:59.05Z", Some(1_735_689_599_050)),
            ("2024-12-31", None),
            ("", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        assert_eq!(nanos("1970-01-01T00:00:01.000000007Z"), Some(1_000_000_007));
    }
}
