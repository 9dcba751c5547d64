//! What issuers said of peers' certificates, kept over restarts in a file that nats-server reads and writes too.

use crate::config::options::OcspCacheOptions;
use crate::runtime::{Mutex, files};
use crate::tls::ocsp::{Response, Status};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const FILE: &str = "cache.json";
/// More than any response has.
const RESPONSE_BYTES_MAX: u64 = 1 << 20;

pub(super) struct Cache {
    options: OcspCacheOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the fingerprint of the certificate.
    entries: BTreeMap<String, Entry>,
    hits: u64,
    misses: u64,
    /// Not saved yet.
    is_dirty: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    subject: String,
    #[serde(default)]
    cached_at: String,
    #[serde(default)]
    resp_status: String,
    #[serde(default)]
    resp_expires: String,
    /// A stream of S2 blocks, in base64.
    resp: String,
}

impl Cache {
    /// A file that cannot be read is told of, and begun anew.
    pub fn load(options: OcspCacheOptions) -> Self {
        let cache = Self { options, state: Mutex::default() };
        let Some(path) = cache.path() else { return cache };
        crate::log::debug!("Loading OCSP peer cache [{}]", path.display());
        let read = files::read_bytes(&path);
        let mut state = cache.state.lock();
        match read.as_deref().map(serde_json::from_slice) {
            Ok(Ok(entries)) => state.entries = entries,
            Ok(Err(error)) => {
                crate::log::warn!("Unable to load OCSP peer cache: {}: {error}", path.display());
                state.is_dirty = true;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                crate::log::debug!("No OCSP peer cache found, starting with empty cache");
            }
            Err(error) => {
                crate::log::warn!("Unable to load OCSP peer cache: {}: {error}", path.display());
            }
        }
        drop(state);
        cache
    }

    pub fn kind(&self) -> &'static str {
        if self.is_kept() { "local" } else { "none" }
    }

    pub fn is_kept(&self) -> bool {
        self.options.local_store.is_some()
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.options.local_store.as_deref()?.join(FILE))
    }

    /// The response as it came, of a certificate.
    pub fn get(&self, fingerprint: &str) -> Option<Vec<u8>> {
        if !self.is_kept() {
            return None;
        }
        let mut state = self.state.lock();
        let Some(packed) = state.entries.get(fingerprint).map(|entry| entry.resp.clone()) else {
            state.misses += 1;
            crate::log::debug!("OCSP peer cache miss for key [{fingerprint}]");
            return None;
        };
        state.hits += 1;
        drop(state);
        crate::log::debug!("OCSP peer cache hit for key [{fingerprint}]");
        let unpacked = unpack(&packed);
        if let Err(error) = &unpacked {
            crate::log::error!("Unable to decompress OCSP response for key [{fingerprint}]: {error}");
        }
        unpacked.ok()
    }

    pub fn put(&self, fingerprint: &str, response: &Response, subject: &str, now_unix_ns: u64) {
        if !self.is_kept() {
            return;
        }
        crate::log::debug!("Caching OCSP response for [{subject}], key [{fingerprint}]");
        let resp = match pack(&response.der) {
            Ok(resp) => resp,
            Err(error) => {
                return crate::log::error!(
                    "Unable to compress OCSP response for key [{fingerprint}]: {error}"
                );
            }
        };
        let entry = Entry {
            subject: subject.to_owned(),
            cached_at: second_of(now_unix_ns),
            resp_status: response.status.text().to_owned(),
            resp_expires: response.next_update_text(),
            resp,
        };
        let mut state = self.state.lock();
        state.entries.insert(fingerprint.to_owned(), entry);
        state.is_dirty = true;
    }

    /// What was found does not hold, so it was none. That a certificate was revoked may be remembered all the same.
    pub fn forget(&self, fingerprint: &str) {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get(fingerprint) else { return };
        let stays = self.options.preserve_revoked && entry.resp_status == Status::Revoked.text();
        if stays {
            crate::log::debug!("Revoked OCSP response for key [{fingerprint}] preserved by cache policy");
        } else {
            crate::log::debug!("Deleting OCSP peer cached response for key [{fingerprint}]");
            state.entries.remove(fingerprint);
            state.is_dirty = true;
        }
        state.misses += 1;
        state.hits = state.hits.saturating_sub(1);
    }

    /// MON-035
    pub fn shown(&self) -> Option<Value> {
        if !self.is_kept() {
            return None;
        }
        let state = self.state.lock();
        let of = |status: Status| state.entries.values().filter(|e| e.resp_status == status.text()).count();
        let mut shown = json!({ "cache_type": self.kind() });
        for (name, count) in [
            ("cache_hits", state.hits),
            ("cache_misses", state.misses),
            ("cached_responses", state.entries.len() as u64),
            ("cached_revoked_responses", of(Status::Revoked) as u64),
            ("cached_good_responses", of(Status::Good) as u64),
            ("cached_unknown_responses", of(Status::Unknown) as u64),
        ] {
            if count > 0 {
                shown[name] = count.into();
            }
        }
        Some(shown)
    }

    /// If there is something new. Writes a file.
    pub fn save(&self) {
        let Some(path) = self.path() else { return };
        let entries = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.is_dirty) {
                return;
            }
            state.entries.clone()
        };
        crate::log::debug!("Saving OCSP peer cache [{}]", path.display());
        let saved = text(&entries).and_then(|text| files::replace_private(&path, &text));
        if let Err(error) = saved {
            crate::log::error!("Unable to save OCSP peer cache: {}: {error}", path.display());
            self.state.lock().is_dirty = true;
        }
    }
}

fn text(entries: &BTreeMap<String, Entry>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b" ");
    entries.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indented))?;
    Ok(text)
}

fn pack(response: &[u8]) -> io::Result<String> {
    let mut packed = Vec::new();
    let mut writer = minlz::Writer::new(&mut packed);
    writer.write_all(response)?;
    writer.flush()?;
    drop(writer);
    Ok(STANDARD.encode(packed))
}

fn unpack(packed: &str) -> io::Result<Vec<u8>> {
    let packed = STANDARD.decode(packed).map_err(io::Error::other)?;
    let mut response = Vec::new();
    minlz::Reader::new(&*packed).take(RESPONSE_BYTES_MAX).read_to_end(&mut response)?;
    Ok(response)
}

fn second_of(unix_ns: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp((unix_ns / 1_000_000_000) as i64);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}
