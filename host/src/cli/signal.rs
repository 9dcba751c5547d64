//! `--signal CMD[=TARGET]`: which signal to which processes (CFG-309).
//!
//! Pure: finding processes, reading pid files and sending are asked of [`Processes`].

use std::path::Path;

/// The names under which a running server is found when no pid is given.
pub const SERVER_NAMES: [&str; 2] = ["natsd", "nats-server"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub signal: Signal,
    pub target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Stop,
    Quit,
    Term,
    Reopen,
    Reload,
    LameDuck,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one server that runs here.
    TheServer,
    Pid(i32),
    /// A file that holds a pid.
    PidFile(String),
    /// `prefix*`: every server whose pid starts so; `*` is all of them. None is fine, as in the reference.
    PidGlob(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    #[error("unknown signal {0:?}")]
    UnknownSignal(String),
    #[error("invalid pid: {0}")]
    InvalidPid(String),
    #[error("no nats-server processes running")]
    NoneRunning,
    #[error("multiple nats-server processes running:{}", .0.iter().map(|pid| format!("\n{pid}")).collect::<String>())]
    SeveralRunning(Vec<i32>),
    #[error("{}", .0.iter().map(|(signal, pid, cause)| format!("\nsignal {:?} {pid}: {cause}", signal.name())).collect::<String>())]
    NotSent(Vec<(Signal, i32, String)>),
}

/// What the operating system is asked for.
pub trait Processes {
    /// Pids of processes with one of the names, without this process.
    fn named(&self, names: &[&str]) -> Vec<i32>;
    /// The content of a pid file; `None` if it cannot be read.
    fn pid_file(&self, path: &Path) -> Option<String>;
    /// The error is the system's text: "no such process".
    fn send(&self, pid: i32, signal: Signal) -> Result<(), String>;
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Signal::Stop => "stop",
            Signal::Quit => "quit",
            Signal::Term => "term",
            Signal::Reopen => "reopen",
            Signal::Reload => "reload",
            Signal::LameDuck => "ldm",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Signal::Stop, Signal::Quit, Signal::Term, Signal::Reopen, Signal::Reload, Signal::LameDuck]
            .into_iter()
            .find(|signal| signal.name() == name)
    }
}

impl Request {
    pub fn parse(text: &str) -> Result<Self, SignalError> {
        let (name, target) = text.split_once('=').unwrap_or((text, ""));
        let signal = Signal::parse(name).ok_or_else(|| SignalError::UnknownSignal(name.to_owned()))?;
        let target = match target {
            "" => Target::TheServer,
            glob if glob.ends_with('*') => Target::PidGlob(glob.trim_end_matches('*').to_owned()),
            other => match other.parse() {
                Ok(pid) => Target::Pid(pid),
                Err(_) => Target::PidFile(other.to_owned()),
            },
        };
        Ok(Request { signal, target })
    }

    pub fn send(&self, processes: &dyn Processes) -> Result<(), SignalError> {
        let mut failed = Vec::new();
        for pid in self.pids(processes)? {
            if let Err(cause) = processes.send(pid, self.signal) {
                failed.push((self.signal, pid, cause));
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(SignalError::NotSent(failed)) }
    }

    fn pids(&self, processes: &dyn Processes) -> Result<Vec<i32>, SignalError> {
        match &self.target {
            Target::Pid(pid) => positive(*pid).map(|pid| vec![pid]),
            Target::PidFile(path) => {
                let wrong = || SignalError::InvalidPid(path.clone());
                let text = processes.pid_file(Path::new(path)).ok_or_else(wrong)?;
                text.trim().parse().map_err(|_| wrong()).and_then(positive).map(|pid| vec![pid])
            }
            Target::PidGlob(prefix) => {
                let mut pids = processes.named(&SERVER_NAMES);
                pids.retain(|pid| pid.to_string().starts_with(prefix));
                Ok(pids)
            }
            Target::TheServer => match processes.named(&SERVER_NAMES) {
                pids if pids.is_empty() => Err(SignalError::NoneRunning),
                pids if pids.len() > 1 => Err(SignalError::SeveralRunning(pids)),
                pids => Ok(pids),
            },
        }
    }
}

/// Zero and negative numbers would address process groups.
fn positive(pid: i32) -> Result<i32, SignalError> {
    if pid > 0 { Ok(pid) } else { Err(SignalError::InvalidPid(pid.to_string())) }
}
