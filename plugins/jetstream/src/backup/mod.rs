//! Backups of streams: what `STREAM.SNAPSHOT` sends and `STREAM.RESTORE` takes (JS-260 to JS-266).
//!
//! Without I/O of its own: bytes come from a reader and go into a buffer. How they travel is the server's
//! (`server::backup`). Reading order: `archive` (the form that is written), `s2` (the compression around it),
//! `consumers`, `restore` (what becomes of either form), `folder` and `blocks` (the older form, which is only read).

pub mod archive;
mod blocks;
pub mod consumers;
mod folder;
pub mod restore;
pub mod s2;

use crate::store::StoreError;
use crate::wire::{ApiError, error};
use std::io;

/// More is no message, and no state of a stream or a consumer.
const CONTENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Why a backup could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("the backup is truncated")]
    Truncated,
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// It could not be received.
    #[error("{0}")]
    Input(io::Error),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Refused(ApiError),
}

impl BackupError {
    fn damaged(why: impl std::fmt::Display) -> Self {
        Self::Damaged(why.to_string())
    }

    /// As the reply tells it.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::Refused(why) => why.clone(),
            _ => error::STREAM_RESTORE.with(self),
        }
    }
}

/// Readers of this module tell damage by the error's kind.
impl From<io::Error> for BackupError {
    fn from(why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            io::ErrorKind::InvalidData => Self::damaged(why),
            _ => Self::Input(why),
        }
    }
}

impl From<ApiError> for BackupError {
    fn from(why: ApiError) -> Self {
        Self::Refused(why)
    }
}
