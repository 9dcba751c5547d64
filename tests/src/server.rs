//! Starts a server process, waits until it is ready, and ends it by its pid.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Client, Log, PATIENCE};

/// natsd: the file that `NATSD` names, else the one that cargo built beside this test.
pub fn natsd() -> PathBuf {
    if let Some(named) = std::env::var_os("NATSD") {
        return PathBuf::from(named);
    }
    let test = std::env::current_exe().expect("a test knows its own file");
    let built = test.ancestors().nth(2).expect("target/<profile>/deps/<test>").join("natsd");
    assert!(built.exists(), "{} is missing: run `cargo build -p natsd` first, or set NATSD", built.display());
    built
}

/// The reference server: the file that `NATS_SERVER` names, else `nats-server` on the path.
pub fn reference() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        // Named as nothing: the recorded answers are enough.
        if named.is_empty() {
            return None;
        }
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("nats-server")).find(|file| file.is_file())
}

/// What to start. Listens on a free loopback port unless the arguments say otherwise.
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    config: Option<String>,
    files: Vec<(String, String)>,
    open_files_max: Option<u64>,
    own_address: bool,
}

/// A running server; killed when dropped.
pub struct Server {
    program: PathBuf,
    child: Child,
    dir: Folder,
    log: Log,
    address: SocketAddr,
}

impl Launch {
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            config: None,
            files: Vec::new(),
            open_files_max: None,
            own_address: false,
        }
    }

    /// The text of the config file. `{{dir}}` in it is the server's own temporary folder.
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = Some(text.into());
        self
    }

    /// Puts a file beside the config, in the folder that the server runs in.
    pub fn file(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.files.push((name.into(), text.into()));
        self
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn args<'a>(self, args: impl IntoIterator<Item = &'a str>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Leaves host and port to the config, which should ask for a free port of the loopback.
    pub fn own_address(mut self) -> Self {
        self.own_address = true;
        self
    }

    /// Lets the server hold this many files and sockets open.
    pub fn open_files_max(mut self, count: u64) -> Self {
        self.open_files_max = Some(count);
        self
    }

    /// Starts the process and returns when it has said that it is ready.
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Like [`Launch::start`], for tests in which the server may refuse its config.
    pub fn try_start(self) -> Result<Server, String> {
        let dir = Folder::new();
        for (name, text) in &self.files {
            dir.write(name, text);
        }
        let mut command = self.command(&dir);
        let mut child =
            command.spawn().map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        let log = Log::collect(child.stderr.take().expect("stderr is piped"));
        match wait_until_ready(&log) {
            Some(address) => Ok(Server { program: self.program, child, dir, log, address }),
            None => {
                let _ = child.kill();
                let status = child.wait();
                Err(format!("{} did not get ready ({status:?}):\n{}", self.program.display(), log.text()))
            }
        }
    }

    fn command(&self, dir: &Folder) -> Command {
        let mut command = match self.open_files_max {
            None => Command::new(&self.program),
            Some(count) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {count} && exec \"$0\" \"$@\"")]).arg(&self.program);
                shell
            }
        };
        if !self.own_address {
            command.args(["-a", "127.0.0.1", "-p", "-1"]);
        }
        if let Some(config) = &self.config {
            dir.write("test.conf", &config.replace("{{dir}}", &dir.path().to_string_lossy()));
            command.arg("-c").arg(dir.path().join("test.conf"));
        }
        command.args(&self.args).current_dir(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

fn wait_until_ready(log: &Log) -> Option<SocketAddr> {
    let patience = PATIENCE * 2;
    let address = log.wait(0, patience, |line| {
        line.split_once("Listening for client connections on ")?.1.trim().parse::<SocketAddr>().ok()
    })?;
    log.wait_for("Server is ready", patience).then_some(address)
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A plain connection with INFO not yet read.
    pub fn connect(&self) -> Client {
        Client::open(self.address).expect("the server accepts connections")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a pid is not zero");
        kill_process(pid, signal).expect("the server still runs");
    }

    /// Replaces the config file, asks for a reload and returns the log line that tells how it went.
    pub fn reload(&self, config: &str) -> String {
        self.dir.write("test.conf", &config.replace("{{dir}}", &self.dir.path().to_string_lossy()));
        let mark = self.log.mark();
        self.signal(Signal::HUP);
        let outcome = self.log.wait(mark, PATIENCE, |line| {
            ["Reloaded server configuration", "Failed to reload server configuration"]
                .into_iter()
                .find_map(|text| line.find(text).map(|at| line[at..].to_owned()))
        });
        outcome.unwrap_or_else(|| panic!("no outcome of the reload in the log:\n{}", self.log.text()))
    }

    /// Waits for the process to end by itself and returns its exit code.
    pub fn wait_for_exit(&mut self, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code();
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Open descriptors of the process now.
    pub fn open_files(&self) -> usize {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        listed.map_or(0, |entries| entries.count())
    }

    /// Threads of the process now.
    pub fn threads(&self) -> u64 {
        self.status_field("Threads:")
    }

    /// Resident memory of the process now.
    pub fn resident_kib(&self) -> u64 {
        self.status_field("VmRSS:")
    }

    fn status_field(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the server still runs");
        let field = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
        field.split_whitespace().next().and_then(|word| word.parse().ok()).expect("it is a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A temporary folder, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("natsd-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("the temporary folder is writable");
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
