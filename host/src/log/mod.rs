//! The server's log: who may write, at what level, and where to.
//!
//! A disabled level costs one relaxed load; its arguments are not even formatted. This module knows no
//! file, socket or clock: an `Output` is given to it (see `runtime::log_files`).
//!
//! ```text
//! log::notice!("Server is ready");
//! log::debug!(target: client_name, "TLS handshake error: {error}");   // "127.0.0.1:5 - cid:7 - TLS …"
//! ```

pub mod client_name;
pub mod line;
pub mod repeat;
pub mod syslog;
pub mod trace_line;
pub mod tracing_bridge;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

use crate::config::options::LogOptions;
use line::Level;
use repeat::Repeats;

/// Where lines go. Must not block for long, and must write a line whole or not at all.
pub trait Output: Send + Sync {
    fn write(&self, level: Level, text: &str);

    /// Milliseconds that only grow, for the limit on repeats.
    fn now_ms(&self) -> u64;

    /// SIGUSR1: opens the file again by its name. `false`: this is not a file.
    fn reopen(&self) -> bool {
        false
    }
}

/// One bit a level that may be off; the others are always on.
static ENABLED: AtomicU8 = AtomicU8::new(0);
static OUTPUT: ArcSwapOption<Box<dyn Output>> = ArcSwapOption::const_empty();
static REPEATS: Repeats = Repeats::new();

const DEBUG_BIT: u8 = 1;
const TRACE_BIT: u8 = 2;
/// Trace lines of the system account too (CORE-281).
const TRACE_SYSTEM_BIT: u8 = 4;
/// Trace lines hold only the header block of a message (CORE-280).
const TRACE_HEADERS_BIT: u8 = 8;

/// From now on lines go to `output`. Lines before the first call are lost.
pub fn install(output: Box<dyn Output>) {
    OUTPUT.store(Some(Arc::new(output)));
}

/// Takes the levels of the options; at start and at each reload.
pub fn set_levels(options: &LogOptions) {
    let bit = |on: bool, bit: u8| if on { bit } else { 0 };
    // CFG-036, CFG-037: both imply trace.
    let trace = options.trace || options.trace_verbose || options.trace_headers;
    ENABLED.store(
        bit(options.debug, DEBUG_BIT)
            | bit(trace, TRACE_BIT)
            | bit(options.trace_verbose, TRACE_SYSTEM_BIT)
            | bit(options.trace_headers, TRACE_HEADERS_BIT),
        Relaxed,
    );
}

pub fn debug_enabled() -> bool {
    ENABLED.load(Relaxed) & DEBUG_BIT != 0
}

pub fn trace_enabled() -> bool {
    ENABLED.load(Relaxed) & TRACE_BIT != 0
}

pub fn trace_system_enabled() -> bool {
    ENABLED.load(Relaxed) & TRACE_SYSTEM_BIT != 0
}

pub fn trace_headers_only() -> bool {
    ENABLED.load(Relaxed) & TRACE_HEADERS_BIT != 0
}

pub fn enabled(level: Level) -> bool {
    match level {
        Level::Debug => debug_enabled(),
        Level::Trace => trace_enabled(),
        Level::Info | Level::Warn | Level::Error | Level::Fatal => true,
    }
}

/// What the macros call, after they asked `enabled`.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    if let Some(output) = OUTPUT.load().as_deref() {
        match text.as_str() {
            Some(text) => output.write(level, text),
            None => output.write(level, &text.to_string()),
        }
    }
}

/// Like `write`, unless the same text was written less than a second ago (CFG-344).
pub fn write_limited(level: Level, text: fmt::Arguments<'_>) {
    if let Some(output) = OUTPUT.load().as_deref() {
        let text = text.to_string();
        if REPEATS.allow(&text, output.now_ms()) {
            output.write(level, &text);
        }
    }
}

/// SIGUSR1 (CFG-320).
pub fn reopen() {
    let reopened = OUTPUT.load().as_deref().is_some_and(|output| output.reopen());
    if reopened {
        write(Level::Info, format_args!("File log re-opened"));
    } else {
        write(Level::Info, format_args!("File log re-open ignored, not a file logger"));
    }
}

/// The one macro below the others: `$target` is what stands before the text, such as a client's name.
#[macro_export]
#[doc(hidden)]
macro_rules! __log_at {
    ($write:ident, $level:ident, target: $target:expr, $($text:tt)+) => {
        if $crate::log::enabled($crate::log::line::Level::$level) {
            $crate::log::$write(
                $crate::log::line::Level::$level,
                ::std::format_args!("{} - {}", $target, ::std::format_args!($($text)+)),
            );
        }
    };
    ($write:ident, $level:ident, $($text:tt)+) => {
        if $crate::log::enabled($crate::log::line::Level::$level) {
            $crate::log::$write($crate::log::line::Level::$level, ::std::format_args!($($text)+));
        }
    };
}

#[macro_export]
#[doc(hidden)]
macro_rules! __log_notice { ($($t:tt)+) => { $crate::__log_at!(write, Info, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_warn { ($($t:tt)+) => { $crate::__log_at!(write, Warn, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_warn_limited { ($($t:tt)+) => { $crate::__log_at!(write_limited, Warn, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_error { ($($t:tt)+) => { $crate::__log_at!(write, Error, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_error_limited { ($($t:tt)+) => { $crate::__log_at!(write_limited, Error, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_debug { ($($t:tt)+) => { $crate::__log_at!(write, Debug, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_trace { ($($t:tt)+) => { $crate::__log_at!(write, Trace, $($t)+) }; }
#[macro_export]
#[doc(hidden)]
macro_rules! __log_fatal { ($($t:tt)+) => { $crate::__log_at!(write, Fatal, $($t)+) }; }

pub use {
    __log_debug as debug, __log_error as error, __log_error_limited as error_limited, __log_fatal as fatal,
    __log_notice as notice, __log_trace as trace, __log_warn as warn, __log_warn_limited as warn_limited,
};

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<String>>>);

    impl Output for Memory {
        fn write(&self, level: Level, text: &str) {
            self.0.lock().push(format!("{} {text}", level.label()));
        }

        fn now_ms(&self) -> u64 {
            0
        }
    }

    /// One test: what it sets is global.
    #[test]
    fn levels_targets_and_repeats() {
        let memory = Memory::default();
        install(Box::new(memory.clone()));
        let mut evaluated = 0;
        let mut count = || {
            evaluated += 1;
            evaluated
        };
        crate::log::debug!("not seen {}", count());
        set_levels(&LogOptions { debug: true, trace_headers: true, ..LogOptions::default() });
        crate::log::debug!("seen {}", count());
        crate::log::trace!(target: "1.2.3.4:5 - cid:6", "<<- [{}]", "PING");
        set_levels(&LogOptions::default());
        crate::log::trace!("not seen");
        crate::log::warn_limited!("same {}", 1);
        crate::log::warn_limited!("same {}", 1);
        crate::log::warn_limited!("same {}", 2);
        crate::log::error!("plain");
        tracing::subscriber::with_default(tracing_bridge::Bridge, || {
            tracing::info!(peer = "a", tries = 3, "linked {}", "statically");
            tracing::debug!("not seen");
        });
        reopen();
        assert_eq!(
            *memory.0.lock(),
            [
                "DBG seen 1",
                "TRC 1.2.3.4:5 - cid:6 - <<- [PING]",
                "WRN same 1",
                "WRN same 2",
                "ERR plain",
                "INF linked statically peer=a tries=3",
                "INF File log re-open ignored, not a file logger"
            ]
        );
    }
}
