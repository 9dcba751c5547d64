//! A folder of account claims, one file an account: `<key>.jwt` (JWT-050, JWT-055, JWT-056).
//!
//! The calls block.

use super::DirectoryOptions;
use crate::keys::{self, Role};
use crate::token;
use natsd_plugin_api::files::Files;
use natsd_plugin_api::{Error, ErrorKind, Host, Result};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

const SUFFIX: &str = ".jwt";

pub struct Directory {
    host: Host,
    files: Files,
    pub options: DirectoryOptions,
    /// Where other servers are asked; known once it is there.
    system: OnceLock<String>,
    /// What is stored, with a number that grows with each use.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    used: HashMap<String, u64>,
    uses: u64,
}

impl Directory {
    pub fn new(host: Host, options: DirectoryOptions) -> Self {
        Self { files: host.files(), host, options, system: OnceLock::new(), known: Mutex::default() }
    }

    /// Makes the folder if need be, and learns what is in it.
    pub fn open(&self) -> Result<()> {
        self.files.create_dir_all(&self.options.dir)?;
        let names = self.files.list(&self.options.dir)?;
        let mut known = self.known.lock();
        for key in names.iter().filter_map(|name| name.strip_suffix(SUFFIX)) {
            if keys::is(key, Role::Account) {
                known.use_of(key);
            }
        }
        Ok(())
    }

    pub fn system_account(&self) -> Option<&str> {
        self.system.get().map(String::as_str)
    }

    pub fn set_system_account(&self, name: &str) {
        // Said once, at start.
        let _ = self.system.set(name.to_owned());
    }

    fn age(&self, modified_unix_ns: u64) -> Duration {
        Duration::from_nanos(self.host.unix_ns().saturating_sub(modified_unix_ns))
    }

    fn path(&self, key: &str) -> String {
        format!("{}/{key}{SUFFIX}", self.options.dir.trim_end_matches('/'))
    }

    /// `None` if it is not there, or too old for a cache.
    pub fn load(&self, key: &str) -> Result<Option<String>> {
        if !keys::is(key, Role::Account) {
            return Ok(None);
        }
        let path = self.path(key);
        if let Some(ttl) = self.options.ttl {
            match self.files.facts(&path) {
                Ok(facts) if self.age(facts.modified_unix_ns) > ttl => {
                    self.forget(key)?;
                    return Ok(None);
                }
                Ok(_) => {}
                Err(error) => return absent_or(error),
            }
        }
        match self.files.read_text(&path) {
            Ok(token) => {
                self.known.lock().use_of(key);
                Ok(Some(token))
            }
            Err(error) => absent_or(error),
        }
    }

    /// Stores, whatever was there before.
    pub fn save(&self, key: &str, token: &str) -> Result<()> {
        let evicted = {
            let mut known = self.known.lock();
            known.use_of(key);
            if known.used.len() > self.options.limit { known.oldest() } else { None }
        };
        if let Some(evicted) = evicted {
            if self.options.is_full {
                self.known.lock().used.remove(key);
                return Err(Error::new(ErrorKind::Full, "store is full"));
            }
            self.forget(&evicted)?;
        }
        self.files.write_atomic(&self.path(key), token.as_bytes())
    }

    /// Stores unless what is there was issued at the same time or later; true if it did.
    pub fn save_newer(&self, key: &str, token: &str) -> Result<bool> {
        let new = token::decode_account(token).map_err(Error::other)?;
        if new.common.sub != key {
            return Err(Error::other("jwt subject does not match its key"));
        }
        if let Some(stored) = self.load(key)?
            && let Ok(old) = token::decode_account(&stored)
            && (old.common.iat >= new.common.iat || stored == token)
        {
            return Ok(false);
        }
        self.save(key, token)?;
        Ok(true)
    }

    pub fn delete(&self, key: &str) -> Result<()> {
        self.known.lock().used.remove(key);
        let path = self.path(key);
        match self.options.hard_delete {
            true => self.files.remove_file(&path),
            false => self.files.rename(&path, &format!("{path}.deleted")),
        }
    }

    fn forget(&self, key: &str) -> Result<()> {
        self.known.lock().used.remove(key);
        match self.files.remove_file(&self.path(key)) {
            Err(error) if !is_absent(&error) => Err(error),
            _ => Ok(()),
        }
    }

    pub fn list(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.known.lock().used.keys().cloned().collect();
        keys.sort();
        keys
    }

    /// Everything, with its key.
    pub fn all(&self) -> Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for key in self.list() {
            if let Some(token) = self.load(&key)? {
                all.push((key, token));
            }
        }
        Ok(all)
    }

    /// The same for the same content: what servers compare before they send each other all of it (JWT-051).
    pub fn hash(&self) -> Result<[u8; 32]> {
        let mut sum = [0; 32];
        for (_, token) in self.all()? {
            let one = Sha256::digest(&token);
            sum.iter_mut().zip(one).for_each(|(sum, one)| *sum ^= one);
        }
        Ok(sum)
    }
}

impl Known {
    fn use_of(&mut self, key: &str) {
        self.uses += 1;
        self.used.insert(key.to_owned(), self.uses);
    }

    fn oldest(&self) -> Option<String> {
        self.used.iter().min_by_key(|(_, use_of)| **use_of).map(|(key, _)| key.clone())
    }
}

fn is_absent(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Io(std::io::ErrorKind::NotFound))
}

fn absent_or<T>(error: Error) -> Result<Option<T>> {
    if is_absent(&error) { Ok(None) } else { Err(error) }
}
