//! Operator mode: accounts and users that prove themselves with JWTs, and authentication by callout.
//!
//! Reading order: `config` says whom to trust and where accounts come from; `admit` decides about a user; `accounts`
//! keeps the accounts and what their claims mean for the server; `resolver` finds claims; `requests` serves the
//! system account; `callout` lets a service decide. Claims and signatures are in `token`, `claims`, `keys`.

#![allow(dead_code)]
mod claims;
mod keys;
mod network;
mod scope;
mod subjects;
mod times;
mod token;
