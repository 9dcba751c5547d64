//! What a plugin's file says of itself without being opened: its label, a text in an ELF section of its own.
//!
//! A host that finds a label opens the file only when the configuration has one of the plugin's keys or names the
//! plugin, so that plugins which nobody uses cost no memory and run no code. A file without a label is opened.

/// The section that a label lies in.
pub const SECTION: &str = ".natsd.label";
/// A label's first line.
const HEAD: &str = "natsd-plugin 1";
/// No label is longer; a host need not read more.
pub const BYTES_MAX: usize = 64 * 1024;

/// A label, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub version: String,
    pub api_version: String,
    /// `Manifest::config_keys`.
    pub config_keys: Vec<String>,
}

impl Label {
    /// `None` for what is no label, or one of a later form.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        if lines.next()? != HEAD {
            return None;
        }
        let mut line = || lines.next().map(str::to_owned);
        let (name, version, api_version) = (line()?, line()?, line()?);
        Some(Self { name, version, api_version, config_keys: lines.map(str::to_owned).collect() })
    }
}

/// The lines of a label, as the export macro gives them.
pub struct Lines<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub keys: &'a [&'a str],
}

impl Lines<'_> {
    /// The length of the label's text.
    pub const fn bytes(&self) -> usize {
        let mut len = 0;
        let mut at = 0;
        while at < self.count() {
            len += self.line(at).len() + 1;
            at += 1;
        }
        len
    }

    /// The label's text; `N` is `bytes`.
    pub const fn text<const N: usize>(&self) -> [u8; N] {
        let mut text = [0; N];
        let (mut to, mut at) = (0, 0);
        while at < self.count() {
            let line = self.line(at).as_bytes();
            let mut from = 0;
            while from < line.len() {
                text[to] = line[from];
                (to, from) = (to + 1, from + 1);
            }
            text[to] = b'\n';
            (to, at) = (to + 1, at + 1);
        }
        text
    }

    const fn count(&self) -> usize {
        4 + self.keys.len()
    }

    const fn line(&self, at: usize) -> &str {
        match at {
            0 => HEAD,
            1 => self.name,
            2 => self.version,
            3 => env!("CARGO_PKG_VERSION"),
            key => self.keys[key - 4],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Label, Lines};

    #[test]
    fn a_label_made_by_the_macro_is_read_by_the_host() {
        const LINES: Lines<'_> = Lines { name: "tap", version: "0.2.0", keys: &["tap", "accounts.*.tap"] };
        const TEXT: [u8; LINES.bytes()] = LINES.text();
        let expected = Label {
            name: "tap".into(),
            version: "0.2.0".into(),
            api_version: env!("CARGO_PKG_VERSION").into(),
            config_keys: vec!["tap".into(), "accounts.*.tap".into()],
        };
        assert_eq!(Label::parse(&TEXT), Some(expected));
        for bad in [&b""[..], b"natsd-plugin 2\na\nb\nc\n", b"natsd-plugin 1\na\n", b"\xff"] {
            assert_eq!(Label::parse(bad), None);
        }
    }
}
