//! The older form of a backup (JS-263): an archive of the files that a stream has in a store of nats-server.

use super::blocks::{self, Record};
use super::consumers::{ConsumerBackup, FileInfo, read_file};
use super::restore::Target;
use super::{BackupError, CONTENT_BYTES_MAX};
use crate::store::NewMessage;
use crate::wire::{ConsumerConfig, StreamConfig};
use highway::HighwayHash;
use std::collections::BTreeMap;
use std::io::Read;
use tar::{EntryType, PaxExtensions};

/// Of what says more about the next file.
const EXTENSION_BYTES_MAX: u64 = 1024 * 1024;

/// What is known before the end.
#[derive(Default)]
struct Progress {
    meta: Vec<u8>,
    /// Of the last block.
    number: u64,
    /// The last sequence of all, also of those that are gone.
    last_seq: u64,
    consumers: BTreeMap<String, Files>,
}

#[derive(Default)]
struct Files {
    meta: Option<Vec<u8>>,
    sum: Option<Vec<u8>>,
    state: Vec<u8>,
}

/// Reads it to its end.
pub(super) fn read(input: impl Read, target: &mut Target) -> Result<(), BackupError> {
    let mut archive = tar::Archive::new(input);
    let mut progress = Progress::default();
    // What says more about a file is read here: its length is not limited otherwise.
    let mut long_name = None;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::XHeader => {
                let text = content(&mut entry, EXTENSION_BYTES_MAX)?;
                long_name = path(&text);
                continue;
            }
            EntryType::XGlobalHeader => continue,
            EntryType::Regular => {}
            _ => return Err(unexpected(&String::from_utf8_lossy(&entry.path_bytes()))),
        }
        let name = match long_name.take() {
            Some(name) => name,
            None => String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
        };
        let file = content(&mut entry, CONTENT_BYTES_MAX)?;
        progress.file(&name, file, target)?;
    }
    progress.finish(target)
}

fn content(entry: &mut impl Read, len_max: u64) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    entry.take(len_max + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > len_max {
        true => Err(BackupError::damaged("a file is too large")),
        false => Ok(bytes),
    }
}

fn path(extensions: &[u8]) -> Option<String> {
    let found = PaxExtensions::new(extensions).flatten().filter(|item| item.key() == Ok("path")).last()?;
    found.value().ok().map(str::to_owned)
}

fn unexpected(name: &str) -> BackupError {
    BackupError::damaged(format_args!("{name:?} does not belong there"))
}

impl Progress {
    fn file(&mut self, name: &str, file: Vec<u8>, target: &mut Target) -> Result<(), BackupError> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts[..] {
            ["meta.inf"] => self.begin(file, target),
            ["meta.sum"] => {
                let name = target.plan.config.name.clone();
                check_sum(&name, &self.meta, &file, "the stream")
            }
            ["msgs", name] if name.ends_with(".blk") => {
                let number = name.trim_end_matches(".blk").parse().map_err(|_| unexpected(name))?;
                self.block(number, file, target)
            }
            // Made anew from the messages.
            ["msgs", "index.db" | "thw.db" | "sched.db"] | ["sources.db"] => Ok(()),
            ["obs", consumer, file_name] => {
                let files = self.consumers.entry(consumer.to_owned()).or_default();
                match file_name {
                    "meta.inf" => files.meta = Some(file),
                    "meta.sum" => files.sum = Some(file),
                    "o.dat" => files.state = file,
                    _ => return Err(unexpected(name)),
                }
                Ok(())
            }
            _ => Err(unexpected(name)),
        }
    }

    fn begin(&mut self, file: Vec<u8>, target: &mut Target) -> Result<(), BackupError> {
        let info: FileInfo<StreamConfig> = serde_json::from_slice(&file)
            .map_err(|why| BackupError::damaged(format_args!("meta.inf: {why}")))?;
        if info.config.name != target.plan.config.name {
            return Err(BackupError::damaged(format_args!("it is of stream {:?}", info.config.name)));
        }
        if !self.meta.is_empty() {
            return Err(BackupError::damaged("meta.inf is there twice"));
        }
        self.meta = file;
        let created_ns = if info.created.is_zero() { target.plan.now_ns } else { info.created.0 };
        target.begin(1, created_ns)
    }

    fn block(&mut self, number: u64, file: Vec<u8>, target: &mut Target) -> Result<(), BackupError> {
        target.store()?;
        if number <= self.number {
            return Err(BackupError::damaged(format_args!(
                "block {number} comes after block {}",
                self.number
            )));
        }
        self.number = number;
        let name = target.plan.config.name.clone();
        blocks::read(&name, number, &blocks::plain(file)?, |record| {
            match record {
                Record::Message { seq, time_ns, subject, headers, payload } => {
                    let message = NewMessage { subject, headers, payload, time_ns, ..NewMessage::default() };
                    target.message(seq, &message)?;
                    self.last_seq = self.last_seq.max(seq);
                }
                Record::Skipped { seq, .. } => self.last_seq = self.last_seq.max(seq),
                Record::Removed { seq, .. } => {
                    if seq <= target.store()?.state().last_seq {
                        target.store()?.remove(seq, false)?;
                    }
                    self.last_seq = self.last_seq.max(seq);
                }
            }
            Ok(())
        })
    }

    fn finish(self, target: &mut Target) -> Result<(), BackupError> {
        target.store()?;
        target.pad(self.last_seq)?;
        let state = target.store()?.state();
        let first_seq = match state.messages {
            0 => self.last_seq + 1,
            _ => state.first_seq,
        };
        target.store()?.compact(first_seq)?;
        for (name, files) in self.consumers {
            let wrong = |why: &str| BackupError::damaged(format_args!("consumer {name:?}: {why}"));
            let meta = files.meta.ok_or_else(|| wrong("meta.inf is missing"))?;
            let sum = files.sum.ok_or_else(|| wrong("meta.sum is missing"))?;
            check_sum(
                &format!("{}/{name}", target.plan.config.name),
                &meta,
                &sum,
                &format!("consumer {name:?}"),
            )?;
            let info: FileInfo<ConsumerConfig> =
                serde_json::from_slice(&meta).map_err(|why| wrong(&format!("meta.inf: {why}")))?;
            let state = match &files.state[..] {
                [] => Some(Default::default()),
                file => read_file(file),
            };
            let state = state.ok_or_else(|| wrong("o.dat cannot be read"))?;
            let created_ns = if info.created.is_zero() { target.plan.now_ns } else { info.created.0 };
            target.consumer(&name, ConsumerBackup { config: info.config, state }, created_ns)?;
        }
        Ok(())
    }
}

fn check_sum(of: &str, meta: &[u8], sum: &[u8], whose: &str) -> Result<(), BackupError> {
    let mut hasher = blocks::hasher(of);
    hasher.append(meta);
    let hash: String = hasher.finalize64().to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    match hash.as_bytes() == sum {
        true => Ok(()),
        false => Err(BackupError::damaged(format_args!("the checksum of the metadata of {whose} is wrong"))),
    }
}
