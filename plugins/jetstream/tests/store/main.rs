//! Stores: one suite for all of them, and campaigns on a disk that fails.
//!
//! `conformance` is what a store must do, against `model`, made of `ops` and looked at by `compare`; `kinds` are the
//! stores; `disk` is the simulated one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compare;
mod conformance;
mod corruption;
mod crash;
mod disk;
mod errors;
mod full;
mod kinds;
mod model;
#[path = "../../../../tests/third_party/redb/src/lib.rs"]
mod natsd_redb;
mod ops;
mod random;
mod streams;
mod survivors;
