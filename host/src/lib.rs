//! The natsd server: a minimal host that speaks the client protocol, routes messages and loads plugins.
//!
//! Reading order: `server` puts it together; `conn` serves a connection; `routing` delivers; `interest`
//! matches. `host/ARCHITECTURE.md` says why it is cut this way.

pub mod account;
pub mod auth;
pub mod cli;
pub mod config;
pub mod conn;
pub mod interest;
pub mod log;
pub mod plugins;
pub mod proto;
pub mod routing;
pub mod runtime;
pub mod server;
pub mod subject;
pub mod tls;
