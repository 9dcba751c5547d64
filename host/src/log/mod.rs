//! TEMPORARY
pub fn trace_enabled() -> bool { false }
pub fn trace_system_account() -> bool { false }
pub mod trace_line {
    use crate::proto::parse::Verb;
    pub fn outbound(_: &str, _: &[u8], _: &[u8], _: usize) {}
    pub fn inbound(_: &str, _: Verb, _: &[u8]) {}
    pub fn publish(_: &str, _: &[u8], _: &[u8], _: u32) {}
    pub fn unsubscribed(_: &str, _: &[u8]) {}
}
macro_rules! line { ($($t:tt)*) => { eprintln!($($t)*) } }
macro_rules! debug { ($($t:tt)*) => { if false { eprintln!($($t)*) } } }
pub(crate) use {line as notice, line as warn, line as error, debug};
