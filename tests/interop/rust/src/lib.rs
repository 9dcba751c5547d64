//! Starts a server with one transport and one scenario of `../conf`, and connects to it.
//!
//! Not for what a test checks: every test says that itself.

use std::collections::HashMap;
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command as BlockingCommand, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectOptions, Event, Subscriber};
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long anything that must happen may take.
pub const LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    TlsFirst,
    Ws,
    Wss,
    /// TLS with client certificates.
    Mtls,
}

/// Declares each test function once for each transport.
#[macro_export]
macro_rules! on_every_transport {
    ($($name:ident)*) => { $(
        mod $name {
            $crate::on_every_transport!(@one $name tcp Tcp);
            $crate::on_every_transport!(@one $name tls Tls);
            $crate::on_every_transport!(@one $name tls_first TlsFirst);
            $crate::on_every_transport!(@one $name ws Ws);
            $crate::on_every_transport!(@one $name wss Wss);
        }
    )* };
    (@one $name:ident $test:ident $transport:ident) => {
        #[tokio::test]
        async fn $test() {
            super::$name($crate::Transport::$transport).await;
        }
    };
}

/// One server process, on free ports that it keeps across `restart`.
pub struct Server {
    transport: Transport,
    folder: TempDir,
    env: HashMap<String, String>,
    process: Child,
}

impl Server {
    pub async fn start(transport: Transport) -> Self {
        Self::with(transport, "", &[]).await
    }

    /// Starts with a scenario of `../conf` and what that reads from the environment.
    pub async fn with(transport: Transport, scenario: &str, extra_env: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        let listener = match transport {
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::TlsFirst => "tls_first",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Mtls => "mtls",
        };
        let mut config = conf(listener);
        if !scenario.is_empty() {
            config += &conf(scenario);
        }
        fs::write(folder.path().join("server.conf"), config).unwrap();

        let any_port = [("NATS_PORT", "-1"), ("WEBSOCKET_PORT", "-1")];
        let mut env: HashMap<String, String> = any_port
            .iter()
            .chain(extra_env)
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        let process = spawn(folder.path(), &env);
        for (kind, port) in listening_ports(folder.path(), &process).await {
            env.insert(format!("{}_PORT", kind.to_uppercase()), port);
        }
        Self { transport, folder, env, process }
    }

    pub fn url(&self) -> String {
        let (scheme, port) = match self.transport {
            Transport::Tcp => ("nats", "NATS_PORT"),
            Transport::Tls | Transport::TlsFirst | Transport::Mtls => ("tls", "NATS_PORT"),
            Transport::Ws => ("ws", "WEBSOCKET_PORT"),
            Transport::Wss => ("wss", "WEBSOCKET_PORT"),
        };
        format!("{scheme}://localhost:{}", self.env[port])
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.id().expect("the server still runs").to_string();
        let status = BlockingCommand::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success());
    }

    pub async fn exits_cleanly(&mut self) {
        let status = timeout(LIMIT, self.process.wait()).await.expect("the server ends").unwrap();
        assert!(status.success(), "{status}: {}", log(self.folder.path()));
    }

    pub async fn restart(&mut self) {
        self.signal("TERM");
        self.exits_cleanly().await;
        self.process = spawn(self.folder.path(), &self.env);
        listening_ports(self.folder.path(), &self.process).await;
    }
}

fn spawn(folder: &Path, env: &HashMap<String, String>) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
    let mut command = Command::new(variable("INTEROP_SERVER"));
    command.arg("-c").arg(folder.join("server.conf")).arg("--ports_file_dir").arg(folder);
    if let Some(plugins) = env::var_os("INTEROP_PLUGINS_DIR").filter(|dir| !dir.is_empty()) {
        command.arg("--plugins-dir").arg(plugins);
    }
    command
        .envs(env)
        .current_dir(variable("INTEROP_CERTS"))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The ports by kind, once the server has written all of its ports file.
async fn listening_ports(folder: &Path, process: &Child) -> HashMap<String, String> {
    let suffix = format!("_{}.ports", process.id().expect("just spawned"));
    let deadline = Instant::now() + LIMIT;
    loop {
        let file = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().ends_with(&suffix));
        let text = file.and_then(|path| fs::read(path).ok()).unwrap_or_default();
        if let Ok(urls) = serde_json::from_slice::<HashMap<String, Vec<String>>>(&text) {
            let port = |urls: Vec<String>| urls[0].rsplit(':').next().unwrap_or_default().to_string();
            return urls.into_iter().map(|(kind, urls)| (kind, port(urls))).collect();
        }
        assert!(Instant::now() < deadline, "no ports file: {}", log(folder));
        sleep(Duration::from_millis(10)).await;
    }
}

/// A connection with the events it reported, as text.
pub struct Peer {
    pub client: Client,
    events: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    pub async fn connect(server: &Server) -> Self {
        Self::with(&[server], ConnectOptions::new()).await.unwrap()
    }

    pub async fn with(servers: &[&Server], options: ConnectOptions) -> Result<Self, ConnectError> {
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let transport = servers[0].transport;
        let mut options = options
            .retain_servers_order()
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .event_callback(move |event: Event| {
                sink.lock().unwrap().push(event.to_string());
                async {}
            });
        if !matches!(transport, Transport::Tcp | Transport::Ws) {
            options = options.add_root_certificates(certificate("ca.pem"));
        }
        if transport == Transport::TlsFirst {
            options = options.tls_first();
        }
        let urls: Vec<String> = servers.iter().map(|server| server.url()).collect();
        let client = options.connect(urls).await?;
        Ok(Self { client, events })
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until `count` events with this text have been reported.
    pub async fn saw_times(&self, count: usize, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while self.events().iter().filter(|event| event.contains(text)).count() < count {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.events());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn saw(&self, text: &str) {
        self.saw_times(1, text).await;
    }

    pub async fn publish(&self, subject: &str, text: &str) {
        self.client.publish(subject.to_string(), text.to_string().into()).await.unwrap();
    }

    pub async fn subscribe(&self, subject: &str) -> Subscriber {
        self.client.subscribe(subject.to_string()).await.unwrap()
    }

    /// Waits until the server has dealt with everything sent so far: a message to an inbox
    /// of our own comes back behind it.
    pub async fn round_trip(&self) {
        let inbox = self.client.new_inbox();
        let mut probe = self.subscribe(&inbox).await;
        self.publish(&inbox, "").await;
        received(&mut probe, 1).await;
    }
}

/// The payloads of the next `count` messages, as text.
pub async fn received(subscriber: &mut Subscriber, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let message = timeout(LIMIT, subscriber.next()).await.expect("a message in time");
        texts.push(String::from_utf8(message.expect("an open subscription").payload.to_vec()).unwrap());
    }
    texts
}

pub fn certificate(name: &str) -> PathBuf {
    Path::new(&variable("INTEROP_CERTS")).join(name)
}

fn conf(name: &str) -> String {
    fs::read_to_string(Path::new(&variable("INTEROP_CONF")).join(format!("{name}.conf"))).unwrap()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("server.log")).unwrap_or_default()
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start the tests with ../run"))
}
