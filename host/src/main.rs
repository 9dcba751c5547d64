//! The `natsd` binary.

fn main() -> std::process::ExitCode {
    natsd::server::main()
}
