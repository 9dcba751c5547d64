//! The natsd server.

pub mod auth;
pub mod config {
    pub mod options;
}
pub mod proto;
pub mod subject;
