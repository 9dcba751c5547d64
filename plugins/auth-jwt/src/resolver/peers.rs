//! Other servers that have claims: asked for one account, and compared with now and then (JWT-050, JWT-059).

use super::Directory;
use crate::accounts::Realm;
use natsd_plugin_api::{Delivery, Error, Host, PublishRef, Result, SubscribeOptions, tracing};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Messages of a pack that wait to be merged.
const WAITING_MAX: usize = 16_384;

fn inbox(host: &Host) -> String {
    format!("$SYS._INBOX.{:016x}.{:016x}", host.random_u64(), host.random_u64())
}

/// The first answer that has something. A full directory hears its own empty answer, too.
pub async fn ask(host: &Host, directory: &Directory, key: &str) -> Result<Option<String>> {
    let Some(system) = directory.system_account() else { return Ok(None) };
    let reply = inbox(host);
    let (sender, mut answers) = mpsc::channel(64);
    let options = SubscribeOptions { account: system.to_owned(), ..SubscribeOptions::to(&reply) };
    let _subscription = host.subscribe(&options, move |batch| {
        for message in batch.iter().filter(|message| !message.payload().is_empty()) {
            // One is enough.
            let _ = sender.try_send(message.payload().to_vec());
        }
    })?;
    let subject = format!("$SYS.REQ.ACCOUNT.{key}.CLAIMS.LOOKUP");
    let asked = host.publish(system, PublishRef::new(subject.as_bytes(), b"").reply(reply.as_bytes()))?;
    if asked <= u64::from(directory.options.is_full) {
        return Ok(None);
    }
    let late = |_| Error::other("fetching jwt timed out");
    let answer = host.timeout(directory.options.timeout, answers.recv()).await.map_err(late)?;
    Ok(answer.and_then(|token| String::from_utf8(token).ok()))
}

/// Compares with the others every `interval`, and takes what they have newer (JWT-056).
pub async fn synchronise(realm: Arc<Realm>, directory: Arc<Directory>, system: String) -> Result<()> {
    let host = realm.host.clone();
    let reply = inbox(&host);
    let (sender, mut packed) = mpsc::channel(WAITING_MAX);
    let options = SubscribeOptions {
        account: system.clone(),
        delivery: Delivery::queued(),
        ..SubscribeOptions::to(&reply)
    };
    let _subscription = host.subscribe(&options, move |batch| {
        for message in batch.iter().filter(|message| !message.payload().is_empty()) {
            // What is dropped comes again with the next comparison.
            let _ = sender.try_send(String::from_utf8_lossy(message.payload()).into_owned());
        }
    })?;
    let mut due_ns = host.monotonic_ns();
    loop {
        let interval_ns = u64::try_from(directory.options.interval.as_nanos()).unwrap_or(u64::MAX);
        due_ns = due_ns.saturating_add(interval_ns);
        let stored = directory.clone();
        let hash = host.blocking(move || stored.hash()).await??;
        let request = PublishRef::new(b"$SYS.REQ.CLAIMS.PACK", &hash).reply(reply.as_bytes());
        host.publish(&system, request)?;
        loop {
            tokio::select! {
                () = host.sleep_until_ns(due_ns) => break,
                text = packed.recv() => {
                    let Some(text) = text else { return Ok(()) };
                    let (stored, changed) = (directory.clone(), realm.clone());
                    let merged = host.blocking(move || merge(&stored, &changed, &text)).await?;
                    if let Err(error) = merged {
                        tracing::error!("DirResolver - Merging resulted in error: {error}");
                    }
                }
            }
        }
    }
}

fn merge(directory: &Directory, realm: &Realm, packed: &str) -> Result<()> {
    for line in packed.lines() {
        let (key, token) = line.split_once('|').ok_or_else(|| Error::other("a pack line has no key"))?;
        if directory.save_newer(key, token)? {
            realm.update(key, token)?;
        }
    }
    Ok(())
}
