//! Where the log goes: standard error, a file that rotates, or syslog.
//!
//! Not here: which lines are written (`log`) and how they look (`log::line`, `log::syslog`).

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;
use time::{OffsetDateTime, UtcOffset};

use crate::config::options::LogOptions;
use crate::log::Output;
use crate::log::line::{Level, LineFormat};
use crate::log::syslog::{self, RemoteSyslog};

#[derive(Debug, Error)]
pub enum LogError {
    #[error("error opening log file {}: {cause}: log_file must be in a folder that natsd may write to", path.display())]
    OpenFile { path: PathBuf, cause: io::Error },
    #[error("{0}")]
    BadAddress(String),
    #[error("error connecting to syslog at {address}: {cause}: check syslog and remote_syslog")]
    ConnectSyslog { address: String, cause: io::Error },
}

/// Opens what the options ask for: a file before remote syslog, that before local syslog, else standard
/// error. A reload calls it again and installs the result when the log's options changed.
pub fn open(options: &LogOptions) -> Result<Box<dyn Output>, LogError> {
    let stamps = Stamps { shown: options.logtime, utc: options.logtime_utc, start: Instant::now() };
    if let Some(path) = &options.file {
        let log = FileLog::open(path.clone(), options.size_limit_bytes, options.max_files, stamps)?;
        return Ok(Box::new(log));
    }
    if let Some(address) = &options.remote_syslog {
        let remote = RemoteSyslog::parse(address).map_err(LogError::BadAddress)?;
        let target = SyslogTarget::Remote(remote);
        return Ok(Box::new(SyslogLog::connect(target, address, stamps)?));
    }
    if options.syslog {
        return Ok(Box::new(SyslogLog::connect(SyslogTarget::Local, "this machine", stamps)?));
    }
    let format = LineFormat { pid: Some(std::process::id()), colours: io::stderr().is_terminal() };
    Ok(Box::new(StderrLog { format, stamps }))
}

/// The clock of the log.
struct Stamps {
    shown: bool,
    utc: bool,
    start: Instant,
}

impl Stamps {
    fn line_time(&self) -> Option<OffsetDateTime> {
        self.shown.then(|| self.now())
    }

    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        if self.utc {
            return now;
        }
        // Asked anew each time: the offset changes with daylight saving.
        now.to_offset(UtcOffset::local_offset_at(now).unwrap_or(UtcOffset::UTC))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

struct StderrLog {
    format: LineFormat,
    stamps: Stamps,
}

impl Output for StderrLog {
    fn write(&self, level: Level, text: &str) {
        let mut line = String::with_capacity(text.len() + LINE_HEAD_BYTES);
        self.format.append(&mut line, self.stamps.line_time(), level, text);
        // One call a line keeps lines whole; a closed standard error is nobody's fault to report to.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    fn now_ms(&self) -> u64 {
        self.stamps.now_ms()
    }
}

/// Room for process id, time and level.
const LINE_HEAD_BYTES: usize = 64;

struct FileLog {
    path: PathBuf,
    /// 0: no rotation.
    size_limit_bytes: u64,
    /// All files with the current one; 0: any number.
    files_max: u32,
    format: LineFormat,
    stamps: Stamps,
    open: Mutex<OpenFile>,
}

struct OpenFile {
    file: File,
    written_bytes: u64,
    /// Raised after a failed rotation, so that not every line tries again.
    rotate_at_bytes: u64,
}

impl FileLog {
    fn open(path: PathBuf, size_limit_bytes: u64, files_max: u32, stamps: Stamps) -> Result<Self, LogError> {
        let (file, written_bytes) =
            append_to(&path).map_err(|cause| LogError::OpenFile { path: path.clone(), cause })?;
        let open = OpenFile { file, written_bytes, rotate_at_bytes: size_limit_bytes };
        let format = LineFormat { pid: Some(std::process::id()), colours: false };
        Ok(FileLog { path, size_limit_bytes, files_max, format, stamps, open: Mutex::new(open) })
    }

    /// Writes one line and counts it.
    fn write_line(&self, open: &mut OpenFile, level: Level, text: &str) {
        let mut line = String::with_capacity(text.len() + LINE_HEAD_BYTES);
        self.format.append(&mut line, self.stamps.line_time(), level, text);
        // A full disk must not stop the server; the line is lost.
        if open.file.write_all(line.as_bytes()).is_ok() {
            open.written_bytes += line.len() as u64;
        }
    }

    /// CFG-341.
    fn rotate(&self, open: &mut OpenFile) {
        match self.move_aside() {
            Ok((file, backup)) => {
                *open = OpenFile { file, written_bytes: 0, rotate_at_bytes: self.size_limit_bytes };
                let text = format!("Rotated log, backup saved as {:?}", backup.display().to_string());
                self.write_line(open, Level::Info, &text);
                self.purge(open);
            }
            Err(cause) => {
                open.rotate_at_bytes = open.written_bytes.saturating_mul(2);
                let text =
                    format!("Unable to rotate log file {:?}: {cause}", self.path.display().to_string());
                self.write_line(open, Level::Error, &text);
            }
        }
    }

    /// Renames the file, and begins a new one; on an error the old one stays in use.
    fn move_aside(&self) -> io::Result<(File, PathBuf)> {
        let backup = backup_path(&self.path, self.stamps.now());
        fs::rename(&self.path, &backup)?;
        match append_to(&self.path) {
            Ok((file, _)) => Ok((file, backup)),
            Err(cause) => {
                // Lines go on into the renamed file; give it its name back.
                let _ = fs::rename(&backup, &self.path);
                Err(cause)
            }
        }
    }

    /// Removes the oldest backups, so that with the current file `files_max` remain.
    fn purge(&self, open: &mut OpenFile) {
        if self.files_max == 0 {
            return;
        }
        let mut backups = backups(&self.path);
        backups.sort();
        let kept = (self.files_max as usize).saturating_sub(1);
        let surplus = backups.len().saturating_sub(kept);
        for backup in backups.into_iter().take(surplus) {
            let name = backup.display().to_string();
            let (level, text) = match fs::remove_file(&backup) {
                Ok(()) => (Level::Info, format!("Purged log file {name:?}")),
                Err(cause) => (Level::Error, format!("Unable to purge log file {name:?}: {cause}")),
            };
            self.write_line(open, level, &text);
        }
    }
}

impl Output for FileLog {
    fn write(&self, level: Level, text: &str) {
        let mut open = self.open.lock();
        self.write_line(&mut open, level, text);
        if self.size_limit_bytes > 0 && open.written_bytes > open.rotate_at_bytes {
            self.rotate(&mut open);
        }
    }

    fn now_ms(&self) -> u64 {
        self.stamps.now_ms()
    }

    fn reopen(&self) -> bool {
        let mut open = self.open.lock();
        match append_to(&self.path) {
            Ok((file, written_bytes)) => {
                *open = OpenFile { file, written_bytes, rotate_at_bytes: self.size_limit_bytes };
            }
            Err(cause) => {
                let text =
                    format!("Unable to re-open log file {:?}: {cause}", self.path.display().to_string());
                self.write_line(&mut open, Level::Error, &text);
            }
        }
        true
    }
}

/// Opens for appending, and says how long the file already is.
fn append_to(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(LOG_FILE_MODE).open(path)?;
    let written_bytes = file.metadata()?.len();
    Ok((file, written_bytes))
}

const LOG_FILE_MODE: u32 = 0o640;

/// `<file>.YYYY.MM.DD.HH.MM.SS.nnnnnnnnn`: names sort by age.
fn backup_path(path: &Path, at: OffsetDateTime) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(
        ".{:04}.{:02}.{:02}.{:02}.{:02}.{:02}.{:09}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.nanosecond()
    ));
    PathBuf::from(name)
}

/// The files beside `path` that `backup_path` may have named.
fn backups(path: &Path) -> Vec<PathBuf> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let is_backup = |other: &str| {
        let stamp = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        stamp.is_some_and(|stamp| {
            let parts: Vec<&str> = stamp.split('.').collect();
            parts.len() == 7
                && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
        })
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| is_backup(name)).map(|name| path.with_file_name(name)).collect()
}

struct SyslogLog {
    target: SyslogTarget,
    tag: String,
    hostname: String,
    stamps: Stamps,
    socket: Mutex<Option<SyslogSocket>>,
}

enum SyslogTarget {
    Local,
    Remote(RemoteSyslog),
}

enum SyslogSocket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream),
}

/// Where the daemon of this machine listens (as in Go).
const LOCAL_SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// A daemon that does not take lines must not hold the server up.
const SYSLOG_WRITE_TIMEOUT: Duration = Duration::from_millis(500);

impl SyslogLog {
    fn connect(target: SyslogTarget, address: &str, stamps: Stamps) -> Result<Self, LogError> {
        let socket = target
            .connect()
            .map_err(|cause| LogError::ConnectSyslog { address: address.to_owned(), cause })?;
        let program = std::env::args_os().next().map(PathBuf::from);
        let tag = program.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(SyslogLog {
            target,
            tag: tag.unwrap_or_else(|| "natsd".to_owned()),
            hostname: hostname(),
            stamps,
            socket: Mutex::new(Some(socket)),
        })
    }
}

impl Output for SyslogLog {
    fn write(&self, level: Level, text: &str) {
        let (at, pid) = (self.stamps.now(), std::process::id());
        let packet = match self.target {
            SyslogTarget::Local => syslog::local_packet(level, at, &self.tag, pid, text),
            SyslogTarget::Remote(_) => syslog::remote_packet(level, at, &self.hostname, &self.tag, pid, text),
        };
        let mut socket = self.socket.lock();
        // A daemon that was restarted is dialled once more; then the line is lost.
        for _ in 0..2 {
            if socket.is_none() {
                *socket = self.target.connect().ok();
            }
            match socket.as_mut().map(|socket| socket.send(packet.as_bytes())) {
                Some(Ok(())) | None => return,
                Some(Err(_)) => *socket = None,
            }
        }
    }

    fn now_ms(&self) -> u64 {
        self.stamps.now_ms()
    }
}

impl SyslogTarget {
    fn connect(&self) -> io::Result<SyslogSocket> {
        match self {
            SyslogTarget::Local => {
                let mut result = Err(io::ErrorKind::NotFound.into());
                for path in LOCAL_SOCKETS {
                    result = connect_unix(path);
                    if result.is_ok() {
                        break;
                    }
                }
                result
            }
            SyslogTarget::Remote(RemoteSyslog::Unix(path)) => connect_unix(path),
            SyslogTarget::Remote(RemoteSyslog::Udp(address)) => {
                let socket = UdpSocket::bind("0.0.0.0:0")
                    .and_then(|socket| socket.connect(address).map(|()| socket))
                    .or_else(|_| {
                        let socket = UdpSocket::bind("[::]:0")?;
                        socket.connect(address).map(|()| socket)
                    })?;
                Ok(SyslogSocket::Udp(socket))
            }
            SyslogTarget::Remote(RemoteSyslog::Tcp(address)) => {
                let stream = TcpStream::connect(address)?;
                stream.set_write_timeout(Some(SYSLOG_WRITE_TIMEOUT))?;
                Ok(SyslogSocket::Tcp(stream))
            }
        }
    }
}

fn connect_unix(path: &str) -> io::Result<SyslogSocket> {
    let datagram = UnixDatagram::unbound()?;
    if datagram.connect(path).is_ok() {
        datagram.set_write_timeout(Some(SYSLOG_WRITE_TIMEOUT))?;
        return Ok(SyslogSocket::UnixDatagram(datagram));
    }
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(SYSLOG_WRITE_TIMEOUT))?;
    Ok(SyslogSocket::UnixStream(stream))
}

impl SyslogSocket {
    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            SyslogSocket::Udp(socket) => socket.send(packet).map(drop),
            SyslogSocket::UnixDatagram(socket) => socket.send(packet).map(drop),
            SyslogSocket::Tcp(stream) => stream.write_all(packet),
            SyslogSocket::UnixStream(stream) => stream.write_all(packet),
        }
    }
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("natsd-log-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn options(file: PathBuf) -> LogOptions {
        LogOptions { file: Some(file), logtime: true, logtime_utc: true, ..LogOptions::default() }
    }

    #[test]
    fn a_file_is_appended_to_and_reopened_by_its_name() {
        let folder = Folder::new("append");
        let path = folder.0.join("n.log");
        fs::write(&path, "before\n").unwrap();
        let log = open(&options(path.clone())).unwrap();
        log.write(Level::Info, "one");
        let moved = folder.0.join("moved.log");
        fs::rename(&path, &moved).unwrap();
        log.write(Level::Info, "two");
        assert!(log.reopen());
        log.write(Level::Warn, "three");
        let old = fs::read_to_string(&moved).unwrap();
        assert!(old.starts_with("before\n[") && old.ends_with("[INF] two\n"), "{old}");
        let new = fs::read_to_string(&path).unwrap();
        assert!(new.ends_with(" [WRN] three\n") && new.lines().count() == 1, "{new}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    }

    #[test]
    fn a_file_rotates_at_its_limit_and_old_ones_are_purged() {
        // CFG-341
        let folder = Folder::new("rotate");
        fs::write(folder.0.join("n.log.other"), "mine").unwrap();
        let options = LogOptions { size_limit_bytes: 300, max_files: 3, ..options(folder.0.join("n.log")) };
        let log = open(&options).unwrap();
        for n in 0..60 {
            log.write(Level::Info, &format!("line {n} with some more text to fill the file"));
        }
        let names = folder.names();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names.contains(&"n.log.other".to_owned()));
        let backups = super::backups(&folder.0.join("n.log"));
        assert_eq!(backups.len(), 2, "{names:?}");
        let newest = fs::read_to_string(backups.iter().max().unwrap()).unwrap();
        assert!(newest.contains("[INF] Purged log file \""), "{newest}");
        assert!(newest.contains("Rotated log, backup saved as \""), "{newest}");
    }

    #[test]
    fn errors_name_the_file_or_the_address() {
        let error = open(&options("/nonexistent/n.log".into())).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/n.log"), "{error}");
        let remote = LogOptions { remote_syslog: Some("h:1".to_owned()), ..LogOptions::default() };
        assert!(open(&remote).err().unwrap().to_string().contains("\"h:1\""));
    }

    #[test]
    fn remote_syslog_gets_lines_over_udp() {
        let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
        daemon.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let address = format!("udp://{}", daemon.local_addr().unwrap());
        let log = open(&LogOptions { remote_syslog: Some(address), ..LogOptions::default() }).unwrap();
        log.write(Level::Warn, "hello");
        let mut packet = [0; 1024];
        let bytes = daemon.recv(&mut packet).unwrap();
        let text = String::from_utf8_lossy(&packet[..bytes]);
        assert!(text.starts_with("<28>") && text.ends_with(": hello\n"), "{text}");
    }
}
