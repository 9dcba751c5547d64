//! Lines for a syslog daemon, in the forms of Go's log/syslog.

use time::OffsetDateTime;

use super::line::Level;

/// Where `remote_syslog` points: `udp://host:514`, `tcp://host:514` or `unix:///path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteSyslog {
    Udp(String),
    Tcp(String),
    Unix(String),
}

/// Facility DAEMON, as nats-server uses.
const FACILITY_DAEMON: u8 = 3 << 3;
const DEFAULT_PORT: &str = "514";

impl RemoteSyslog {
    /// The error says what is wrong with the address.
    pub fn parse(address: &str) -> Result<Self, String> {
        let remedy = "remote_syslog needs the form udp://host:514 or tcp://host:514";
        let (scheme, rest) = address.split_once("://").ok_or_else(|| format!("{address:?}: {remedy}"))?;
        if rest.is_empty() {
            return Err(format!("{address:?} names no host: {remedy}"));
        }
        let host_port = || {
            let has_port = rest.rsplit_once(':').is_some_and(|(host, _)| !host.ends_with(':'));
            if has_port && !rest.ends_with(']') { rest.to_owned() } else { format!("{rest}:{DEFAULT_PORT}") }
        };
        match scheme {
            "udp" => Ok(RemoteSyslog::Udp(host_port())),
            "tcp" => Ok(RemoteSyslog::Tcp(host_port())),
            "unix" => Ok(RemoteSyslog::Unix(rest.to_owned())),
            _ => Err(format!("{address:?} has an unknown scheme {scheme:?}: {remedy}")),
        }
    }
}

/// A packet for the daemon of this machine.
pub fn local_packet(level: Level, at: OffsetDateTime, tag: &str, pid: u32, text: &str) -> String {
    let month = &at.month().to_string()[..3];
    format!(
        "<{}>{month} {:>2} {:02}:{:02}:{:02} {tag}[{pid}]: {text}\n",
        priority(level),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// A packet for a daemon elsewhere.
pub fn remote_packet(
    level: Level,
    at: OffsetDateTime,
    hostname: &str,
    tag: &str,
    pid: u32,
    text: &str,
) -> String {
    // `Rfc3339` would write fractions; Go's form has none.
    let offset_min = i32::from(at.offset().whole_minutes());
    let zone = match offset_min {
        0 => "Z".to_owned(),
        min => format!("{}{:02}:{:02}", if min < 0 { '-' } else { '+' }, min.abs() / 60, min.abs() % 60),
    };
    format!(
        "<{}>{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{zone} {hostname} {tag}[{pid}]: {text}\n",
        priority(level),
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn priority(level: Level) -> u8 {
    let severity = match level {
        Level::Fatal => 2,
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info | Level::Trace => 5,
        Level::Debug => 7,
    };
    FACILITY_DAEMON | severity
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn packets_have_the_forms_of_go() {
        let at = datetime!(2026-01-02 03:04:05.6 +01:30);
        assert_eq!(
            local_packet(Level::Info, at, "natsd", 7, "Server is ready"),
            "<29>Jan  2 03:04:05 natsd[7]: Server is ready\n"
        );
        assert_eq!(
            remote_packet(Level::Fatal, at, "box", "natsd", 7, "no"),
            "<26>2026-01-02T03:04:05+01:30 box natsd[7]: no\n"
        );
    }

    #[test]
    fn addresses_are_parsed_or_refused_with_the_remedy() {
        let parse = RemoteSyslog::parse;
        assert_eq!(parse("udp://h:1"), Ok(RemoteSyslog::Udp("h:1".to_owned())));
        assert_eq!(parse("tcp://h"), Ok(RemoteSyslog::Tcp("h:514".to_owned())));
        assert_eq!(parse("tcp://[::1]"), Ok(RemoteSyslog::Tcp("[::1]:514".to_owned())));
        assert!(parse("h:514").unwrap_err().contains("udp://host:514"));
        assert!(parse("http://h").unwrap_err().contains("\"http\""));
        assert!(parse("udp://").unwrap_err().contains("no host"));
    }
}
