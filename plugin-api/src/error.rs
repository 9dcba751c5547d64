//! The one error type of the line: a kind that can be acted on, and a text for the person who has to act.
//!
//! Not here: how an error crosses the line (see `abi::error`).

use std::borrow::Cow;
use std::fmt;
use std::io;

/// What plugins and host services return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was refused or failed. The message names the thing and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    /// The operating system's number, 0 when there is none.
    errno: i32,
    message: Cow<'static, str>,
}

/// What a caller can decide on. New kinds may come: match with a wildcard arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    Other,
    /// The code on the other side panicked; the panic ended at the line.
    Panicked,
    /// The task or the wait was ended from outside, for example by a stop.
    Cancelled,
    NotFound,
    /// An interface exists, but with another shape than the one compiled in.
    Incompatible,
    /// Wrong input or configuration.
    Invalid,
    /// The other side cannot do this, and says so.
    Unsupported,
    Closed,
    TimedOut,
    Denied,
    /// A limit with a name was reached.
    Full,
    AlreadyExists,
    /// What was stored cannot be read any more. Since 1.5.
    Damaged,
    /// A configuration that can be read, but not started with: a start and a reload refuse it, `-t` only tells of it,
    /// where nats-server does so. Since 1.5.
    AtStart,
    Io(io::ErrorKind),
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, errno: 0, message: message.into() }
    }

    /// Anything that can be shown, as an error without a special kind.
    pub fn other(cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Other, cause.to_string())
    }

    /// Wrong configuration. `place` is the path of the key inside the plugin's section, as in
    /// `websocket.port`; the host adds file, line and column where it knows them.
    pub fn config(place: &str, cause: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("{place}: {cause}"))
    }

    /// This error is one that only a start looks for ([`ErrorKind::AtStart`]).
    pub fn at_start(self) -> Self {
        Self { kind: ErrorKind::AtStart, ..self }
    }

    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn with_errno(mut self, errno: i32) -> Self {
        self.errno = errno;
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn errno(&self) -> Option<i32> {
        (self.errno != 0).then_some(self.errno)
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    /// A configuration error of a part, as one of the block that the part stands in: `tls: …` as `websocket.tls: …`.
    pub fn within(self, block: &str) -> Self {
        Self { message: format!("{block}.{}", self.message).into(), ..self }
    }

    /// The same error, its text led by what was being done.
    pub fn context(self, doing: impl fmt::Display) -> Self {
        Self { message: format!("{doing}: {}", self.message).into(), ..self }
    }
}

/// While a configuration is read: an error that only a start looks for must not hide one that anybody finds. Since 1.5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOff(Option<Error>);

impl PutOff {
    /// An error of [`ErrorKind::AtStart`] waits; any other is given back.
    pub fn check(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(error) if error.kind == ErrorKind::AtStart => {
                self.0.get_or_insert(error);
                Ok(())
            }
            result => result,
        }
    }

    /// Nothing comes any more: the first that waits.
    pub fn finish(self) -> Result<(), Error> {
        self.0.map_or(Ok(()), Err)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let errno = error.raw_os_error().unwrap_or(0);
        Self::new(ErrorKind::Io(error.kind()), error.to_string()).with_errno(errno)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string())
    }
}

/// For the I/O traits: keeps the kind, so that `UnexpectedEof` stays what it was.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::Io(kind) => kind,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Closed => io::ErrorKind::NotConnected,
            ErrorKind::Invalid => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Denied => io::ErrorKind::PermissionDenied,
            ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
