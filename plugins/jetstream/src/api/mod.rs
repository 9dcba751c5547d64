//! The API's rules: what a configuration may say, apart from doing anything.

pub mod validate;
