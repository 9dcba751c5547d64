//! What subjects mean, the same for the host and for plugins: which pattern covers which, and how transforms
//! rewrite them. Works on bytes, keeps no state.
//!
//! Not here: finding the subscriptions that match a subject, which is the host's.

mod relation;
pub mod transform;

pub use relation::{collide, intersection, is_subset, matches};

/// The tokens between dots, empty ones included. An empty subject has one empty token.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    subject.split(|byte| *byte == b'.')
}
