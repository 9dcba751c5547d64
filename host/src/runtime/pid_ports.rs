//! The files that tell others about this process: its pid and its ports (CFG-330, CFG-331).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::ports::Ports;
use super::process::exe_name;

#[derive(Debug, Error)]
pub enum PidPortsError {
    #[error("could not write pidfile {}: {cause}: pid_file must be in a folder that natsd may write to", path.display())]
    Pid { path: PathBuf, cause: io::Error },
    #[error("error writing ports file {}: {cause}: ports_file_dir must be a folder that natsd may write to", path.display())]
    Ports { path: PathBuf, cause: io::Error },
}

/// Writes the process id, without a newline. The file stays when the server ends, as with nats-server.
pub fn write_pid(path: &Path) -> Result<(), PidPortsError> {
    write(path, PID_FILE_MODE, &std::process::id().to_string())
        .map_err(|cause| PidPortsError::Pid { path: path.to_owned(), cause })
}

/// A written ports file; removed when dropped, or when a reload writes one elsewhere.
#[derive(Debug)]
pub struct PortsFile(PathBuf);

impl PortsFile {
    /// Writes `<program>_<pid>.ports` into `dir`, named as the program was started: tools that start natsd through a
    /// link called `nats-server` look for a file of that name. Readers never see half of it.
    pub fn write(dir: &Path, ports: &Ports) -> Result<Self, PidPortsError> {
        let path = dir.join(format!("{}_{}.ports", exe_name(), std::process::id()));
        let unfinished = path.with_extension("ports.tmp");
        write(&unfinished, PORTS_FILE_MODE, &ports.to_json())
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(|cause| PidPortsError::Ports { path: path.clone(), cause })?;
        Ok(PortsFile(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PortsFile {
    fn drop(&mut self) {
        // Someone may have removed it before; nothing is left to do then.
        let _ = fs::remove_file(&self.0);
    }
}

/// The addresses of this machine, interface by interface, each with IPv4 first.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut interfaces = if_addrs::get_if_addrs()?;
    interfaces.sort_by_key(|interface| (interface.index, interface.ip().is_ipv6()));
    Ok(interfaces.iter().map(if_addrs::Interface::ip).collect())
}

const PID_FILE_MODE: u32 = 0o600;
const PORTS_FILE_MODE: u32 = 0o644;

fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_file_holds_the_bare_number() {
        let path = std::env::temp_dir().join(format!("natsd-pid-{}", std::process::id()));
        fs::write(&path, "something longer than a process id").unwrap();
        write_pid(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        fs::remove_file(&path).unwrap();
        let error = write_pid(Path::new("/nonexistent/pid")).unwrap_err().to_string();
        assert!(error.starts_with("could not write pidfile /nonexistent/pid: "), "{error}");
    }

    #[test]
    fn the_ports_file_goes_with_its_owner() {
        let dir = std::env::temp_dir();
        let file = PortsFile::write(&dir, &Ports::default()).unwrap();
        let path = file.path().to_owned();
        assert!(path.to_str().unwrap().ends_with(&format!("_{}.ports", std::process::id())));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        drop(file);
        assert!(!path.exists() && !path.with_extension("ports.tmp").exists());
    }

    #[test]
    fn the_loopback_address_is_among_those_of_the_interfaces() {
        assert!(interface_addresses().unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
    }
}
