//! Everything that touches the outside: files, processes, the clock, the network.

pub mod files;
pub mod process;
