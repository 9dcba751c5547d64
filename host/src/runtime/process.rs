//! Other processes of this machine: finding servers and sending them signals.

use std::path::Path;

use crate::cli::signal::{Processes, Signal};

/// The processes in `/proc`.
pub struct SystemProcesses;

impl Processes for SystemProcesses {
    fn named(&self, names: &[&str]) -> Vec<i32> {
        let own_pid = std::process::id();
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let mut pids: Vec<i32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|&pid| u32::try_from(pid).is_ok_and(|pid| pid != own_pid))
            .filter(|pid| {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                names.contains(&name.trim_end())
            })
            .collect();
        pids.sort_unstable();
        pids
    }

    fn pid_file(&self, path: &Path) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn send(&self, pid: i32, signal: Signal) -> Result<(), String> {
        let number = match signal {
            Signal::Stop => libc::SIGKILL,
            Signal::Quit => libc::SIGINT,
            Signal::Term => libc::SIGTERM,
            Signal::Reopen => libc::SIGUSR1,
            Signal::Reload => libc::SIGHUP,
            Signal::LameDuck => libc::SIGUSR2,
        };
        send(pid, number)
    }
}

#[allow(unsafe_code)]
fn send(pid: i32, number: i32) -> Result<(), String> {
    // SAFETY: `kill` takes two integers and touches no memory of this process.
    let failed = unsafe { libc::kill(pid, number) } != 0;
    if failed {
        return Err(crate::config::go_io_text(&std::io::Error::last_os_error()));
    }
    Ok(())
}
