//! The server and its plugins in one file, for places where a folder of plugins is in the way.
//!
//! Linking a plugin is all there is to it: each one submits itself, and the host finds it as it finds those in
//! files.

use std::process::ExitCode;

// Named so that the linker keeps the crates; nothing else refers to them.
use natsd_auth_jwt as _;
use natsd_jetstream as _;
use natsd_monitoring as _;
use natsd_websocket as _;

fn main() -> ExitCode {
    natsd::server::main()
}
