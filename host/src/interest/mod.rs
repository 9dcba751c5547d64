//! Who wants what: the sublist of an account and what it finds for a subject.
//!
//! `trie` stores patterns, `sublist` ties them to receivers, `matched` is the answer for one subject
//! and `cache` keeps answers per thread. Not here: how a message reaches a receiver (`routing`).

pub mod cache;
mod hash;
pub mod matched;
pub mod sid;
pub mod sublist;
pub mod trie;
mod watches;

pub use matched::{Choice, Matched, Target};
pub use sid::Sid;
pub use sublist::Sublist;
pub use watches::Watches;
