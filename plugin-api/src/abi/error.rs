//! How an error crosses the line: a number, the operating system's number, and a text.
//!
//! Frozen with the root: `create` and `query` answer with it.

use super::prelude::*;
use crate::error::{Error, ErrorKind};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[repr(C)]
#[derive(StableAbi, Clone, Debug, PartialEq, Eq)]
pub struct FfiError {
    pub code: u32,
    pub errno: i32,
    pub message: RString,
}

/// Kinds of `std::io::Error` start here, so that both ranges can grow.
const IO_BASE: u32 = 0x100;

/// Numbers never change and are never used again; an unknown one reads as `Other`.
const KINDS: &[(u32, ErrorKind)] = &[
    (1, ErrorKind::Other),
    (2, ErrorKind::Panicked),
    (3, ErrorKind::Cancelled),
    (4, ErrorKind::NotFound),
    (5, ErrorKind::Incompatible),
    (6, ErrorKind::Invalid),
    (7, ErrorKind::Unsupported),
    (8, ErrorKind::Closed),
    (9, ErrorKind::TimedOut),
    (10, ErrorKind::Denied),
    (11, ErrorKind::Full),
    (12, ErrorKind::AlreadyExists),
    (13, ErrorKind::Damaged),
    (14, ErrorKind::AtStart),
];

const IO_KINDS: &[(u32, io::ErrorKind)] = &[
    (1, io::ErrorKind::NotFound),
    (2, io::ErrorKind::PermissionDenied),
    (3, io::ErrorKind::ConnectionRefused),
    (4, io::ErrorKind::ConnectionReset),
    (5, io::ErrorKind::ConnectionAborted),
    (6, io::ErrorKind::NotConnected),
    (7, io::ErrorKind::AddrInUse),
    (8, io::ErrorKind::AddrNotAvailable),
    (9, io::ErrorKind::BrokenPipe),
    (10, io::ErrorKind::AlreadyExists),
    (11, io::ErrorKind::WouldBlock),
    (12, io::ErrorKind::InvalidInput),
    (13, io::ErrorKind::InvalidData),
    (14, io::ErrorKind::TimedOut),
    (15, io::ErrorKind::WriteZero),
    (16, io::ErrorKind::Interrupted),
    (17, io::ErrorKind::UnexpectedEof),
    (18, io::ErrorKind::Unsupported),
    (19, io::ErrorKind::OutOfMemory),
    (20, io::ErrorKind::HostUnreachable),
    (21, io::ErrorKind::NetworkUnreachable),
    (22, io::ErrorKind::NetworkDown),
    (23, io::ErrorKind::StorageFull),
    (24, io::ErrorKind::IsADirectory),
    (25, io::ErrorKind::NotADirectory),
    (26, io::ErrorKind::DirectoryNotEmpty),
    (27, io::ErrorKind::ReadOnlyFilesystem),
];

impl From<Error> for FfiError {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Io(kind) => {
                IO_BASE + IO_KINDS.iter().find(|entry| entry.1 == kind).map_or(0, |entry| entry.0)
            }
            kind => KINDS.iter().find(|entry| entry.1 == kind).map_or(1, |entry| entry.0),
        };
        FfiError { code, errno: error.errno().unwrap_or(0), message: RString::from(error.message()) }
    }
}

impl From<FfiError> for Error {
    fn from(error: FfiError) -> Self {
        let kind = if error.code >= IO_BASE {
            let io = IO_KINDS.iter().find(|entry| entry.0 == error.code - IO_BASE);
            ErrorKind::Io(io.map_or(io::ErrorKind::Other, |entry| entry.1))
        } else {
            KINDS.iter().find(|entry| entry.0 == error.code).map_or(ErrorKind::Other, |entry| entry.1)
        };
        Error::new(kind, error.message.into_string()).with_errno(error.errno)
    }
}

/// Runs code that is called from the other side. No panic may pass: it becomes an error here.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> RResult<T, FfiError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => answer.map_err(FfiError::from).into(),
        Err(panic) => RErr(panicked(panic).into()),
    }
}

/// As `guarded`, for calls that can only answer with a value: a panic gives `fallback`.
pub fn guarded_or<T>(fallback: T, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        drop(panicked(panic));
        fallback
    })
}

/// The text of a panic as an error.
pub fn panicked(panic: Box<dyn Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned());
    // A payload's own drop may panic too; losing it is better than an abort.
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(panic))) {
        std::mem::forget(second);
    }
    Error::new(ErrorKind::Panicked, format!("panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_as_it_went() {
        let kinds = KINDS.iter().map(|entry| entry.1);
        let io = IO_KINDS.iter().map(|entry| ErrorKind::Io(entry.1));
        for kind in kinds.chain(io) {
            let back = Error::from(FfiError::from(Error::new(kind, "text").with_errno(7)));
            assert_eq!((back.kind(), back.errno(), back.message()), (kind, Some(7), "text"));
        }
    }

    #[test]
    fn an_unknown_number_reads_as_other() {
        let error = FfiError { code: 77, errno: 0, message: "new".into() };
        assert_eq!(Error::from(error).kind(), ErrorKind::Other);
    }

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        let RErr(error) = guarded::<()>(|| panic!("on {}", "purpose")) else { unreachable!() };
        assert_eq!(error.message.as_str(), "panicked: on purpose");
    }
}
