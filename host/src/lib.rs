//! The natsd server.

pub mod config {
    pub mod options;
}
pub mod conn;
pub mod log;
pub mod runtime;
pub mod tls;
