//! What OCSP (RFC 6960) says of certificates: requests, answers and their checks, without I/O.
//!
//! `link` is a certificate with its issuer, which is what is asked about; `chains` are those of a peer; `response` checks an answer; `signed` is
//! the one check of signatures; `staples` knows the server's own certificates that need a response beside them.
//! Not here: who is asked when (`server::stapling`, `server::peers`), and how (`runtime::http`).

mod chains;
mod issuer;
mod link;
mod response;
mod signed;
pub mod staples;

pub use chains::chains;
pub use issuer::issuer;
pub use link::{Link, sha256};
pub use response::{Response, ResponseError, Status};

#[cfg(test)]
mod tests;
