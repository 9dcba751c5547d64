//! How a line of the log looks (CFG-340).

use std::fmt::Write;

use time::OffsetDateTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Debug,
    Warn,
    Error,
    Fatal,
    Trace,
}

impl Level {
    pub fn label(self) -> &'static str {
        match self {
            Level::Info => "INF",
            Level::Debug => "DBG",
            Level::Warn => "WRN",
            Level::Error => "ERR",
            Level::Fatal => "FTL",
            Level::Trace => "TRC",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Level::Info => "32",
            Level::Debug => "36",
            Level::Warn => "0;93",
            Level::Error | Level::Fatal => "31",
            Level::Trace => "33",
        }
    }
}

/// What stands before the text of every line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineFormat {
    /// `None` leaves the process id out.
    pub pid: Option<u32>,
    pub colours: bool,
}

impl LineFormat {
    /// Appends one line with its end. `at` is `None` when lines carry no time; its offset decides between
    /// local time and UTC.
    pub fn append(self, line: &mut String, at: Option<OffsetDateTime>, level: Level, text: &str) {
        // Writing to a String cannot fail.
        if let Some(pid) = self.pid {
            let _ = write!(line, "[{pid}] ");
        }
        if let Some(at) = at {
            let _ = write!(
                line,
                "{:04}/{:02}/{:02} {:02}:{:02}:{:02}.{:06} ",
                at.year(),
                u8::from(at.month()),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
                at.microsecond()
            );
        }
        let label = level.label();
        let _ = match self.colours {
            true => write!(line, "[\x1b[{}m{label}\x1b[0m] ", level.colour()),
            false => write!(line, "[{label}] "),
        };
        line.push_str(text);
        if !line.ends_with('\n') {
            line.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn line(format: LineFormat, at: Option<OffsetDateTime>, level: Level) -> String {
        let mut line = String::new();
        format.append(&mut line, at, level, "Server is ready");
        line
    }

    #[test]
    fn a_line_is_that_of_nats_server() {
        let plain = LineFormat { pid: Some(42), colours: false };
        let at = Some(datetime!(2026-01-02 03:04:05.000678 UTC));
        assert_eq!(line(plain, at, Level::Info), "[42] 2026/01/02 03:04:05.000678 [INF] Server is ready\n");
        assert_eq!(line(plain, None, Level::Fatal), "[42] [FTL] Server is ready\n");
        let colours = LineFormat { pid: None, colours: true };
        assert_eq!(line(colours, None, Level::Warn), "[\x1b[0;93mWRN\x1b[0m] Server is ready\n");
    }
}
