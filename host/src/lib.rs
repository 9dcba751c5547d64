//! The natsd server.
