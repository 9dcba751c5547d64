//! The one place that touches the operating system: files, sockets, clocks, threads.

pub mod log_files;
