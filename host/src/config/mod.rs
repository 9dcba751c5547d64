//! Options and the configuration language.
pub mod options;
