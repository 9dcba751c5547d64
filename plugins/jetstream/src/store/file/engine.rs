//! The store of a server: a folder for each account, a folder for each stream, one thread that writes.

use super::recovery;
use super::state_log::{self, Fact};
use super::stream::{FileStore, Log, Shared};
use super::writer::{Job, Op, Slot, Writer, failed};
use crate::config::Sync;
use crate::store::vfs::Vfs;
use crate::store::{StoreEngine, StoreError, StoreSettings, StoredStream, StreamStore};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Streams in files.
pub struct FileEngine {
    shared: Arc<Shared>,
    root: String,
}

/// How the thread that writes is started; without one, commits write on the caller's thread.
pub type Spawn<'a> = &'a dyn Fn(Box<dyn FnOnce() + Send>);

impl FileEngine {
    /// `root` is made if it is not there. `random` seeds the salts of files.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        root: &str,
        sync: Sync,
        random: u64,
        spawn: Option<Spawn<'_>>,
    ) -> Result<Self, StoreError> {
        vfs.create_dir_all(root).map_err(|error| failed(root, &error))?;
        let writer = Writer::new(vfs.clone(), sync);
        let shared = Arc::new(Shared {
            vfs,
            writer: writer.clone(),
            inline: spawn.is_none(),
            random: AtomicU64::new(random),
        });
        if let Some(spawn) = spawn {
            spawn(Box::new(move || writer.run()));
        }
        Ok(Self { shared, root: root.trim_end_matches('/').to_owned() })
    }

    fn dir(&self, account: &str, stream: &str) -> String {
        format!("{}/{}/streams/{}", self.root, escape(account), escape(stream))
    }
}

impl StoreEngine for FileEngine {
    fn create(
        &self,
        account: &str,
        stream: &str,
        settings: &StoreSettings,
        meta: &[u8],
    ) -> Result<Box<dyn StreamStore>, StoreError> {
        let (vfs, dir) = (&self.shared.vfs, self.dir(account, stream));
        let there = vfs.list(&dir).map_err(|error| failed(&dir, &error))?;
        if there.iter().any(|name| name.starts_with("state.")) {
            return Err(StoreError::Exists);
        }
        let msgs = format!("{dir}/msgs");
        vfs.create_dir_all(&msgs).map_err(|error| failed(&msgs, &error))?;
        for parent in ancestors(&self.root, &msgs) {
            vfs.sync_dir(&parent).map_err(|error| failed(&parent, &error))?;
        }
        let salt = self.shared.salt();
        let mut content = state_log::header(salt);
        state_log::push(&mut content, 0, salt, 0, &Fact::Meta(meta));
        let first_seq = settings.first_seq.max(1);
        let floor = Fact::Floor {
            first_seq: if first_seq > 1 { first_seq } else { 0 },
            last_seq: first_seq - 1,
            last_time_ns: 0,
        };
        state_log::push(&mut content, 0, salt, 1, &floor);
        let slot = Slot::new(&dir, "state.1");
        let size = content.len() as u64;
        self.write(Op::Create { slot: slot.clone(), content: content.into() })?;
        let log = Log { slot, generation: 1, salt, size, next_number: 2, short_size: size, open: Vec::new() };
        let mut store = FileStore::new(self.shared.clone(), dir, *settings, log);
        store.meta = meta.to_vec().into();
        Ok(Box::new(store))
    }

    fn recover(&self) -> Result<Vec<StoredStream>, StoreError> {
        let vfs = &self.shared.vfs;
        let mut found = Vec::new();
        for account in vfs.list(&self.root).map_err(|error| failed(&self.root, &error))? {
            let streams = format!("{}/{account}/streams", self.root);
            let Ok(names) = vfs.list(&streams) else { continue };
            for name in names {
                let dir = format!("{streams}/{name}");
                if name.starts_with('.') {
                    // A deletion that did not come to its end.
                    let _ = vfs.remove_dir_all(&dir);
                    continue;
                }
                let there = vfs.list(&dir).unwrap_or_default();
                if !there.iter().any(|name| name.starts_with("state.")) {
                    continue;
                }
                let (meta, store) = match recovery::open(self.shared.clone(), &dir) {
                    Ok(store) => (store.meta.clone(), Ok(Box::new(store) as Box<dyn StreamStore>)),
                    Err(error) => (bytes::Bytes::new(), Err(error)),
                };
                found.push(StoredStream { account: unescape(&account), name: unescape(&name), meta, store });
            }
        }
        found.sort_by(|a, b| (&a.account, &a.name).cmp(&(&b.account, &b.name)));
        Ok(found)
    }

    fn trouble(&self) -> String {
        self.shared.writer.failure().map(|error| error.to_string()).unwrap_or_default()
    }

    fn close(&self) -> Result<(), StoreError> {
        if !self.shared.inline {
            self.shared.writer.close();
        }
        self.shared.writer.failure().map_or(Ok(()), Err)
    }
}

impl FileEngine {
    /// Writes and waits until it is durable.
    fn write(&self, op: Op) -> Result<(), StoreError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.shared.writer.push(Job {
            ops: vec![op],
            written: Arc::default(),
            number: 0,
            lazy: false,
            done: Some(sender),
        });
        if self.shared.inline {
            self.shared.writer.run_once();
        }
        receiver.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

/// Removes a stream's folder; durable when it returns.
pub fn destroy(vfs: &dyn Vfs, dir: &str) -> Result<(), StoreError> {
    let Some((parent, name)) = dir.rsplit_once('/') else { return Ok(()) };
    // Renamed first: half a folder would be half a stream.
    let gone = format!("{parent}/.{name}");
    let _ = vfs.remove_dir_all(&gone);
    vfs.rename(dir, &gone).map_err(|error| failed(dir, &error))?;
    vfs.sync_dir(parent).map_err(|error| failed(parent, &error))?;
    vfs.remove_dir_all(&gone).map_err(|error| failed(&gone, &error))
}

/// The folders from `root` down to the one that `path` lies in, deepest first.
fn ancestors(root: &str, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut path = path;
    while let Some((parent, _)) = path.rsplit_once('/') {
        found.push(parent.to_owned());
        if parent.len() <= root.len() {
            break;
        }
        path = parent;
    }
    found
}

/// A name that is safe as part of a path: anything unusual is written as its bytes.
fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'$' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02x}")),
        }
    }
    out
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                rest = &tail[2..];
            }
            _ => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn names_survive_as_paths() {
        for name in ["ORDERS", "$G", "a/../b", "ä b%", "..", ".x"] {
            let escaped = escape(name);
            assert!(!escaped.contains('/') && !escaped.starts_with('.'), "{escaped}");
            assert_eq!(unescape(&escaped), name);
        }
    }
}
