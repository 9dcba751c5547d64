//! This process, as those who started it see it, and others of the machine: finding servers, sending them signals.

use std::io::Write;
use std::path::Path;

use crate::cli::signal::{Processes, Signal};

/// The file name of this executable; messages begin with it.
pub fn exe_name() -> String {
    let invoked = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = invoked.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "natsd".to_owned())
}

/// The folder of this executable, where plugins are looked for.
pub fn exe_dir() -> Option<std::path::PathBuf> {
    std::env::current_exe().ok()?.parent().map(Path::to_owned)
}

/// The words after the program's name; what is not UTF-8 is replaced.
pub fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// A line on standard output. Who does not read it any more does not want it.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A line on standard error, likewise.
pub fn tell_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

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
        use rustix::process::{Pid, Signal as Number, kill_process};
        let number = match signal {
            Signal::Stop => Number::KILL,
            Signal::Quit => Number::INT,
            Signal::Term => Number::TERM,
            Signal::Reopen => Number::USR1,
            Signal::Reload => Number::HUP,
            Signal::LameDuck => Number::USR2,
        };
        // 0 and below would address whole groups of processes.
        let pid = (pid > 0).then(|| Pid::from_raw(pid)).flatten().ok_or("no such process")?;
        kill_process(pid, number).map_err(|error| crate::config::go_io_text(&error.into()))
    }
}
