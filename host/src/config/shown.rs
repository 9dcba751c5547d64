//! Values as nats-server prints them in the texts of a reload (CFG-141, CFG-148).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::duration;
use super::options::WriteTimeout;

/// A value as nats-server prints it.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_as_displayed {
    ($($kind:ty),*) => {
        $(impl Shown for $kind {
            fn shown(&self) -> String {
                self.to_string()
            }
        })*
    };
}

shown_as_displayed!(bool, i32, u32, u64, usize, String);

impl Shown for Duration {
    fn shown(&self) -> String {
        duration::format(*self)
    }
}

impl Shown for Option<&Path> {
    fn shown(&self) -> String {
        self.map_or(String::new(), |path| path.display().to_string())
    }
}

impl Shown for Vec<String> {
    fn shown(&self) -> String {
        format!("[{}]", self.join(" "))
    }
}

impl Shown for BTreeMap<String, bool> {
    fn shown(&self) -> String {
        let pairs: Vec<String> = self.iter().map(|(name, on)| format!("{name}:{on}")).collect();
        format!("map[{}]", pairs.join(" "))
    }
}

impl Shown for WriteTimeout {
    fn shown(&self) -> String {
        match self {
            WriteTimeout::Default => "",
            WriteTimeout::Close => "close",
            WriteTimeout::Retry => "retry",
        }
        .to_owned()
    }
}
