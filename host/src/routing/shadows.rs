//! Shadows: a subscription that wants imported subjects stands in the exporter's sublist too, under the
//! exporter's names (ACC-006).
//!
//! A shadow is an entry of the exporter's trie whose member is the same receiver, reached by an import. It shares
//! the subscription's id and number, so that counts and limits hold for all of them together.

use super::receiver::Receiver;
use crate::account::{Account, StreamImport};
use crate::interest::Sid;
use crate::interest::trie::SubFlags;
use crate::subject;
use std::collections::HashMap;
use std::sync::Arc;

/// The shadows of a receiver's subscriptions.
pub(super) struct Shadows {
    /// The account that the receiver is in.
    pub home: Arc<Account>,
    /// By the number of the subscription at its receiver.
    by_index: HashMap<u32, Vec<Shadow>>,
    /// The receiver as a member of exporters' sublists.
    members: Vec<ShadowMember>,
}

struct Shadow {
    import: Arc<StreamImport>,
    /// Its number in the exporter's trie.
    number: u32,
}

struct ShadowMember {
    import: Arc<StreamImport>,
    member: u32,
    shadows: u32,
}

/// A subscription to be shadowed.
pub(super) struct Original<'a> {
    pub subject: &'a [u8],
    pub queue: &'a [u8],
    pub sid: Sid,
    /// With its flags.
    pub index: u32,
}

/// Whose interest changed, and in what: to be told when no lock is held.
#[derive(Default)]
pub(super) struct Changed(Vec<(Arc<Account>, Vec<u8>)>);

impl Changed {
    pub fn notify(self) {
        self.0.iter().for_each(|(account, subject)| account.watches.notify(subject));
    }
}

/// Adds the shadows of a subscription; `None` stays `None` when nothing of it is imported.
pub(super) fn add(
    shadows: &mut Option<Box<Shadows>>,
    imports: &[Arc<StreamImport>],
    receiver: &Arc<Receiver>,
    original: &Original<'_>,
    changed: &mut Changed,
) {
    // What came by a stream does not go on by a service (ACC-006).
    if receiver.leads_to().is_some() {
        return;
    }
    for import in imports {
        let Some(wanted) = subject::intersection(original.subject, import.renaming.local()) else { continue };
        let shadows = shadows.get_or_insert_with(|| {
            let home = import.importer.clone();
            Box::new(Shadows { home, by_index: HashMap::new(), members: Vec::new() })
        });
        shadows.add(import, receiver, original, &import.renaming.to_remote(&wanted));
        changed.0.push((import.exporter.clone(), import.renaming.to_remote(&wanted)));
    }
}

impl Shadows {
    fn add(
        &mut self,
        import: &Arc<StreamImport>,
        receiver: &Arc<Receiver>,
        original: &Original<'_>,
        subject: &[u8],
    ) {
        let exporter = &import.exporter;
        let mut sublist = exporter.sublist.write();
        let member = match self.members.iter_mut().find(|m| Arc::ptr_eq(&m.import, import)) {
            Some(known) => {
                known.shadows += 1;
                known.member
            }
            None => {
                let member = sublist.join(receiver.clone(), Some(import.clone()));
                self.members.push(ShadowMember { import: import.clone(), member, shadows: 1 });
                member
            }
        };
        if original.index & SubFlags::LIMITED != 0 {
            exporter.count_limited(true);
        }
        let number = sublist.trie.insert(subject, original.queue, member, original.sid, original.index);
        exporter.changed();
        drop(sublist);
        let shadow = Shadow { import: import.clone(), number };
        self.by_index.entry(original.index & SubFlags::INDEX).or_default().push(shadow);
    }

    /// Removes the shadows of one subscription.
    pub fn remove(&mut self, index: u32, changed: &mut Changed) {
        for shadow in self.by_index.remove(&index).into_iter().flatten() {
            self.remove_shadow(&shadow, changed);
        }
    }

    pub fn remove_all(mut self, changed: &mut Changed) {
        for shadow in std::mem::take(&mut self.by_index).into_values().flatten() {
            self.remove_shadow(&shadow, changed);
        }
    }

    fn remove_shadow(&mut self, shadow: &Shadow, changed: &mut Changed) {
        let exporter = &shadow.import.exporter;
        let mut sublist = exporter.sublist.write();
        if exporter.watches.any() {
            changed.0.push((exporter.clone(), sublist.trie.subject(shadow.number)));
        }
        super::subscriptions::remove_from_trie(&mut sublist.trie, shadow.number, exporter);
        if let Some(at) = self.members.iter().position(|m| Arc::ptr_eq(&m.import, &shadow.import)) {
            self.members[at].shadows -= 1;
            if self.members[at].shadows == 0 {
                sublist.leave(self.members.swap_remove(at).member);
            }
        }
        exporter.changed();
    }

    /// Sets a flag of a subscription's shadows as it is set at the subscription.
    pub fn set_flag(&self, index: u32, flag: u32, on: bool) {
        for Shadow { import, number } in self.by_index.get(&index).into_iter().flatten() {
            let mut sublist = import.exporter.sublist.write();
            let had = sublist.trie.sub(*number).index & flag != 0;
            if flag == SubFlags::LIMITED && had != on {
                import.exporter.count_limited(on);
            }
            sublist.trie.set_flag(*number, flag, on);
            import.exporter.changed();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::account::Accounts;
    use crate::config::options::{AccountOptions, AccountsOptions, ExportOptions, ImportKind, ImportOptions};
    use crate::routing::publish::{Message, publish};
    use crate::routing::receiver::Kind;
    use crate::routing::seen::Seen;
    use crate::routing::subscriptions::{remove_all, subscribe, unsubscribe};

    fn options(prefix: Option<&str>) -> AccountsOptions {
        let export = ExportOptions {
            subject: "s.>".to_owned(),
            accounts: None,
            account_token_position: 0,
            service: None,
        };
        let import = |prefix: &str| ImportOptions {
            account: "E".to_owned(),
            subject: "s.>".to_owned(),
            to: None,
            kind: ImportKind::Stream { prefix: Some(prefix.to_owned()), allow_trace: false },
            activated: false,
        };
        let account = |name: &str| AccountOptions { name: name.to_owned(), ..AccountOptions::default() };
        let exporter = AccountOptions { exports: vec![export], ..account("E") };
        let importer = AccountOptions { imports: prefix.map(import).into_iter().collect(), ..account("I") };
        AccountsOptions { accounts: vec![exporter, importer], ..AccountsOptions::default() }
    }

    fn publish_in(account: &Arc<Account>, subject: &str) {
        publish(account, [Message::new(subject.as_bytes(), b"")], |_| {});
    }

    #[test]
    fn an_unsub_max_holds_for_a_subscription_and_its_shadows_together() {
        let accounts = Accounts::default();
        accounts.configure(&options(Some("p")));
        let (exporter, importer) = (accounts.get("E").unwrap(), accounts.get("I").unwrap());
        let seen = Arc::new(Seen::default());
        let receiver = Arc::new(Receiver::inline(1, 1, Kind::Client, seen.clone()));
        subscribe(&receiver, &importer, b"p.>", b"", b"1", false, None);
        unsubscribe(&receiver, &importer, b"1", 3);
        for _ in 0..2 {
            publish_in(&exporter, "s.a");
            publish_in(&importer, "p.b");
        }
        assert_eq!(*seen.0.lock(), ["p.s.a", "p.b", "p.s.a"]);
        assert!(importer.sublist.read().trie.is_empty() && exporter.sublist.read().trie.is_empty());
        assert!(!importer.has_limited() && !exporter.has_limited());
    }

    #[test]
    fn shadows_follow_the_imports_and_go_with_their_receiver() {
        let accounts = Accounts::default();
        accounts.configure(&options(None));
        let (exporter, importer) = (accounts.get("E").unwrap(), accounts.get("I").unwrap());
        let seen = Arc::new(Seen::default());
        let receiver = Arc::new(Receiver::inline(1, 1, Kind::Client, seen.clone()));
        subscribe(&receiver, &importer, b">", b"", b"1", false, None);
        publish_in(&exporter, "s.a");
        for prefix in [Some("p"), Some("q"), None] {
            accounts.configure(&options(prefix));
            publish_in(&exporter, "s.a");
        }
        assert_eq!(*seen.0.lock(), ["p.s.a", "q.s.a"]);
        accounts.configure(&options(Some("p")));
        assert_eq!(exporter.sublist.read().trie.len(), 1);
        remove_all(&receiver, &importer);
        assert!(exporter.sublist.read().trie.is_empty());
        assert_eq!(exporter.sublist.read().receivers().count(), 0);
    }
}
