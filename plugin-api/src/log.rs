//! The log bridge: `tracing` events of a plugin reach the host's log.
//!
//! A plugin file has its own copy of tracing and of the panic hook, hence a subscriber that forwards. Linked
//! into the host's binary both are the host's own, and nothing is installed.

use crate::abi::error::guarded_or;
use crate::abi::import;
use crate::host::Host;
use std::fmt::{Debug, Write};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, span};

/// 0 is off, 1 error … 5 trace. Its address also tells one copy of this crate from another.
static LEVEL: AtomicU8 = AtomicU8::new(3);

pub(crate) fn module_address() -> *const () {
    std::ptr::from_ref(&LEVEL).cast()
}

/// The root's `set_log_level`: a disabled event costs one load afterwards.
///
/// # Safety
/// None needed; the type is that of the root.
#[doc(hidden)]
#[allow(unsafe_code)]
pub unsafe extern "C" fn set_level(level: u8) {
    LEVEL.store(level, Ordering::Relaxed);
    guarded_or((), tracing::callsite::rebuild_interest_cache);
}

pub(crate) fn install(host: &Host) {
    static ONCE: Once = Once::new();
    if import::module(&host.tables) == module_address() {
        return;
    }
    ONCE.call_once(|| {
        let bridge = Bridge { host: host.clone(), next_span: AtomicU64::new(1) };
        // Fails only if the plugin set a subscriber of its own, which is then its choice.
        let _ = tracing::dispatcher::set_global_default(Dispatch::new(bridge));
        let host = host.clone();
        std::panic::set_hook(Box::new(move |panic| {
            import::log(&host.tables, number(&Level::ERROR), "panic", &panic.to_string(), Vec::new());
        }));
    });
}

struct Bridge {
    host: Host,
    next_span: AtomicU64,
}

fn number(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = number(event.metadata().level());
        import::log(&self.host.tables, level, event.metadata().target(), &text.message, text.fields);
    }

    // Spans are accepted and not forwarded: the host's log has lines, not trees.
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.next_span.fetch_add(1, Ordering::Relaxed))
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a String does not fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.fields.push((field.name(), value.to_owned()));
        }
    }
}
