//! What a client may publish and subscribe to (PERM-001 to PERM-006, CORE-273).
//!
//! Compiled once from the configuration and shared by all clients of a user. Not here: which responses a
//! client owes (`responses`), and the reserved subjects that no permission opens.

use std::sync::atomic::{AtomicU32, Ordering};

use thiserror::Error;

use super::subject_table::{Lookup, SubjectTable, queue_matches};
use crate::config::options::{PermissionsOptions, ResponsePermission};
use crate::proto::quote::Quoted;
use crate::subject::{collide, has_wildcard, is_valid};

#[derive(Clone, Debug)]
pub struct Permissions {
    /// Another for every compilation of this process, so that caches may use it as a key.
    pub id: u32,
    publish: Rules,
    subscribe: Rules,
    /// Kept beside `subscribe.deny` to ask what overlaps a pattern.
    subscribe_deny: Vec<DenyEntry>,
    responses: Option<ResponsePermission>,
    /// What all of this was made of.
    pub source: PermissionsOptions,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    /// `None`: all is allowed.
    allow: Option<SubjectTable>,
    /// Wins over `allow`.
    deny: Option<SubjectTable>,
}

#[derive(Clone, Debug)]
struct DenyEntry {
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
}

/// The answer to a SUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// Allowed, but `denies_delivery` has to be asked for every message.
    Filtered,
    Refused,
}

/// An entry that is no subject (PERM-010).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PermissionsError {
    #[error("{list}: subject {} is not a valid subject", Quoted(subject.as_bytes()))]
    Subject { list: &'static str, subject: String },
    #[error("{list}: queue {} is not a valid queue", Quoted(queue.as_bytes()))]
    Queue { list: &'static str, queue: String },
}

impl Permissions {
    pub fn compile(options: &PermissionsOptions) -> Result<Self, PermissionsError> {
        let publish_allow = match &options.publish.allow {
            Some(allow) => Some(publish_table("publish allow", allow)?),
            // Whoever may only respond may publish nothing else (PERM-005).
            None => options.allow_responses.map(|_| SubjectTable::default()),
        };
        let publish_deny = publish_table("publish deny", &options.publish.deny)?;
        let subscribe_allow = match &options.subscribe.allow {
            Some(allow) => Some(subscribe_table(&split_queues("subscribe allow", allow)?)),
            None => None,
        };
        let denied = split_queues("subscribe deny", &options.subscribe.deny)?;
        let unless_empty = |table, entries: &[String]| (!entries.is_empty()).then_some(table);
        Ok(Self {
            id: next_id(),
            publish: Rules { allow: publish_allow, deny: unless_empty(publish_deny, &options.publish.deny) },
            subscribe: Rules {
                allow: subscribe_allow,
                deny: unless_empty(subscribe_table(&denied), &options.subscribe.deny),
            },
            subscribe_deny: denied.into_iter().map(DenyEntry::from).collect(),
            responses: options.allow_responses,
            source: options.clone(),
        })
    }

    /// These (nothing: all is allowed), but for publishing to some more subjects.
    pub fn denying_publish(base: Option<&Self>, subjects: &[String]) -> Result<Self, PermissionsError> {
        let mut permissions = match base {
            Some(base) => Self { id: next_id(), ..base.clone() },
            None => Self::compile(&PermissionsOptions::default())?,
        };
        let deny = permissions.publish.deny.get_or_insert_default();
        for subject in subjects {
            check_subject("publish deny", subject)?;
            deny.insert(subject.as_bytes(), None);
        }
        Ok(permissions)
    }

    /// For the subject after mappings (CORE-272). A response may be allowed even so.
    pub fn may_publish(&self, subject: &[u8]) -> bool {
        let Rules { allow, deny } = &self.publish;
        allow.as_ref().is_none_or(|allow| allow.contains(subject, Lookup::Subject))
            && !deny.as_ref().is_some_and(|deny| deny.contains(subject, Lookup::Subject))
    }

    /// Set: the client needs a `ResponseTracker`.
    pub fn responses(&self) -> Option<ResponsePermission> {
        self.responses
    }

    pub fn may_subscribe(&self, pattern: &[u8], queue: Option<&[u8]>) -> Verdict {
        if !self.allows(pattern, queue, Lookup::Subject) || self.denies(pattern, queue) {
            return Verdict::Refused;
        }
        self.filtered_or_allowed(pattern, queue)
    }

    /// As `may_subscribe`, for MQTT clients: what carries their own sessions needs no allow entry, but can
    /// be denied (PERM-011).
    pub fn may_mqtt_subscribe(&self, pattern: &[u8], queue: Option<&[u8]>) -> Verdict {
        if !carries_mqtt_session(pattern) {
            return self.may_subscribe(pattern, queue);
        }
        match self.denies(pattern, queue) {
            true => Verdict::Refused,
            false => self.filtered_or_allowed(pattern, queue),
        }
    }

    /// Whether messages for a subscription have to be checked one by one (CORE-273).
    pub fn has_delivery_deny(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        self.filtered_or_allowed(pattern, queue) == Verdict::Filtered
    }

    /// Whether a message must not go to a subscription with `queue`, which was let in as `Filtered`.
    pub fn denies_delivery(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let allowed = carries_mqtt_session(subject) || self.allows(subject, queue, Lookup::Subject);
        !allowed || self.denies(subject, queue)
    }

    /// A pattern that ends in `>` passes where `*` is allowed, as with the reference: `a.*` lets `SUB a.>`
    /// in. There it then receives what `a.*` never allowed; here those messages are filtered.
    fn filtered_or_allowed(&self, pattern: &[u8], queue: Option<&[u8]>) -> Verdict {
        let covered = carries_mqtt_session(pattern) || self.allows(pattern, queue, Lookup::Cover);
        match covered && !self.deny_overlaps(pattern, queue) {
            true => Verdict::Allowed,
            false => Verdict::Filtered,
        }
    }

    /// Entries with a queue count for queue subscriptions only, and then decide alone (PERM-004).
    fn allows(&self, pattern: &[u8], queue: Option<&[u8]>, lookup: Lookup) -> bool {
        let Some(allow) = &self.subscribe.allow else { return true };
        let found = allow.find(pattern, queue, lookup);
        if queue.is_some() && found.queued { found.queue } else { found.plain }
    }

    /// A deny entry refuses the pattern itself; `t.*` refuses `t.>` as well, which is the safe reading.
    fn denies(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        let Some(deny) = &self.subscribe.deny else { return false };
        let found = deny.find(pattern, queue, Lookup::Subject);
        found.plain || found.queue
    }

    fn deny_overlaps(&self, pattern: &[u8], queue: Option<&[u8]>) -> bool {
        if queue.is_none() && !has_wildcard(pattern) {
            return false;
        }
        self.subscribe_deny.iter().any(|entry| entry.concerns(queue) && collide(&entry.subject, pattern))
    }
}

impl DenyEntry {
    fn concerns(&self, queue: Option<&[u8]>) -> bool {
        match (&self.queue, queue) {
            (None, _) => true,
            (Some(entry), Some(queue)) => queue_matches(entry, queue),
            (Some(_), None) => false,
        }
    }
}

impl From<(&str, Option<&str>)> for DenyEntry {
    fn from((subject, queue): (&str, Option<&str>)) -> Self {
        Self { subject: subject.as_bytes().into(), queue: queue.map(|queue| queue.as_bytes().into()) }
    }
}

/// Only MQTT clients get to subscribe there without being allowed to.
fn carries_mqtt_session(subject: &[u8]) -> bool {
    subject.starts_with(b"$MQTT.sub.") || subject.starts_with(b"$MQTT.deliver.pubrel.")
}

fn next_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn publish_table(list: &'static str, entries: &[String]) -> Result<SubjectTable, PermissionsError> {
    let mut table = SubjectTable::default();
    for subject in entries {
        check_subject(list, subject)?;
        table.insert(subject.as_bytes(), None);
    }
    Ok(table)
}

fn subscribe_table(entries: &[(&str, Option<&str>)]) -> SubjectTable {
    let mut table = SubjectTable::default();
    for (subject, queue) in entries {
        table.insert(subject.as_bytes(), queue.map(str::as_bytes));
    }
    table
}

/// Entries are `subject` or `subject queue`.
fn split_queues<'e>(
    list: &'static str,
    entries: &'e [String],
) -> Result<Vec<(&'e str, Option<&'e str>)>, PermissionsError> {
    entries
        .iter()
        .map(|entry| {
            let mut words = entry.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(subject), Some(queue), None) => {
                    check_subject(list, subject)?;
                    if !is_valid(queue.as_bytes()) {
                        return Err(PermissionsError::Queue { list, queue: queue.to_owned() });
                    }
                    Ok((subject, Some(queue)))
                }
                _ => {
                    check_subject(list, entry)?;
                    Ok((entry.as_str(), None))
                }
            }
        })
        .collect()
}

fn check_subject(list: &'static str, subject: &str) -> Result<(), PermissionsError> {
    match is_valid(subject.as_bytes()) {
        true => Ok(()),
        false => Err(PermissionsError::Subject { list, subject: subject.to_owned() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::options::SubjectPermissions;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    fn allowing(entries: &[&str]) -> SubjectPermissions {
        SubjectPermissions { allow: Some(list(entries)), deny: Vec::new() }
    }

    fn denying(entries: &[&str]) -> SubjectPermissions {
        SubjectPermissions { allow: None, deny: list(entries) }
    }

    fn publishing(publish: SubjectPermissions) -> Permissions {
        Permissions::compile(&PermissionsOptions { publish, ..Default::default() }).unwrap()
    }

    fn subscribing(subscribe: SubjectPermissions) -> Permissions {
        Permissions::compile(&PermissionsOptions { subscribe, ..Default::default() }).unwrap()
    }

    fn sub(permissions: &Permissions, args: &str) -> Verdict {
        let (pattern, queue) = args.split_once(' ').map_or((args, None), |(p, q)| (p, Some(q)));
        permissions.may_subscribe(pattern.as_bytes(), queue.map(str::as_bytes))
    }

    #[test]
    fn without_lists_all_is_allowed_and_an_empty_list_allows_nothing() {
        // PERM-001
        let all = publishing(SubjectPermissions::default());
        assert!(all.may_publish(b"any.thing"));
        assert_eq!(sub(&all, ">"), Verdict::Allowed);
        assert!(!publishing(allowing(&[])).may_publish(b"a"));
        assert_eq!(sub(&subscribing(allowing(&[])), "a"), Verdict::Refused);
    }

    #[test]
    fn publishing_needs_an_allow_and_no_deny() {
        // PERM-002
        let permissions = publishing(SubjectPermissions {
            allow: Some(list(&["a.*.c", "a.b.>", "x"])),
            deny: list(&["a.b.z", "*.b.y"]),
        });
        for subject in ["a.1.c", "a.b.q", "a.b.y.w", "x"] {
            assert!(permissions.may_publish(subject.as_bytes()), "{subject}");
        }
        for subject in ["a.b.z", "a.b.y", "a", "x.y", ""] {
            assert!(!permissions.may_publish(subject.as_bytes()), "{subject}");
        }
    }

    #[test]
    fn published_wildcards_pass_where_a_wildcard_is_allowed() {
        let permissions = publishing(allowing(&["a.*"]));
        assert!(permissions.may_publish(b"a.*"));
        assert!(permissions.may_publish(b"a.>"));
        assert!(!permissions.may_publish(b">"));
    }

    #[test]
    fn a_subscription_has_to_be_covered_and_not_denied() {
        // PERM-003, seen on nats-server
        let permissions =
            subscribing(SubjectPermissions { allow: Some(list(&["s.>"])), deny: list(&["s.no"]) });
        assert_eq!(sub(&permissions, "s.no"), Verdict::Refused);
        assert_eq!(sub(&permissions, "s.yes"), Verdict::Allowed);
        assert_eq!(sub(&permissions, "s.*"), Verdict::Filtered);
        assert_eq!(sub(&permissions, "s.>"), Verdict::Filtered);
        assert_eq!(sub(&permissions, "s.yes.>"), Verdict::Allowed);
        assert_eq!(sub(&permissions, ">"), Verdict::Refused);
        assert!(permissions.denies_delivery(b"s.no", None));
        assert!(!permissions.denies_delivery(b"s.yes", None));
        assert!(permissions.has_delivery_deny(b"s.*", None));
        assert!(!permissions.has_delivery_deny(b"s.yes", None));
    }

    #[test]
    fn a_denied_wildcard_refuses_what_it_matches_by_token() {
        // Seen on nats-server.
        let permissions = subscribing(denying(&["s.no", "t.*"]));
        for refused in ["s.no", "t.x", "t.*", "t.>"] {
            assert_eq!(sub(&permissions, refused), Verdict::Refused, "{refused}");
        }
        assert_eq!(sub(&permissions, "t"), Verdict::Allowed);
        assert_eq!(sub(&permissions, ">"), Verdict::Filtered);
    }

    #[test]
    fn one_token_allowed_lets_the_full_wildcard_in_but_not_what_lies_deeper() {
        // SUB is as with nats-server; delivery keeps to PERM-003.
        let permissions = subscribing(allowing(&["a.*"]));
        assert_eq!(sub(&permissions, "a.*"), Verdict::Allowed);
        assert_eq!(sub(&permissions, "a.>"), Verdict::Filtered);
        assert!(!permissions.denies_delivery(b"a.x", None));
        assert!(permissions.denies_delivery(b"a.x.y", None));
    }

    #[test]
    fn queue_entries_open_their_queue_only() {
        // PERM-004
        let permissions =
            subscribing(allowing(&["foo v1", "both", "both v1", "bar.* >", "baz v1.*", "plain"]));
        for allowed in
            ["foo v1", "both v1", "both", "bar.x any", "baz v1.x", "baz v1.*", "plain any", "plain"]
        {
            assert_eq!(sub(&permissions, allowed), Verdict::Allowed, "{allowed}");
        }
        for refused in ["foo v2", "foo", "both v2", "bar.x", "baz v1", "baz v1.x.y", "baz v1.>", "baz"] {
            assert_eq!(sub(&permissions, refused), Verdict::Refused, "{refused}");
        }
    }

    #[test]
    fn denied_queue_entries_close_their_queue_only() {
        // PERM-004
        let permissions = subscribing(denying(&["foo bad", "bar *.prod", "s.no"]));
        for allowed in ["foo good", "foo", "bar x.dev"] {
            assert_eq!(sub(&permissions, allowed), Verdict::Allowed, "{allowed}");
        }
        assert_eq!(sub(&permissions, "foo bad"), Verdict::Refused);
        assert_eq!(sub(&permissions, "bar x.prod"), Verdict::Refused);
        // CORE-273: members of a queue are filtered like plain wildcards.
        assert_eq!(sub(&permissions, "* bad"), Verdict::Filtered);
        assert!(permissions.denies_delivery(b"foo", Some(b"bad")));
        assert!(!permissions.denies_delivery(b"foo", Some(b"good")));
        assert_eq!(sub(&permissions, "* good"), Verdict::Allowed);
        assert_eq!(sub(&permissions, "s.* q"), Verdict::Filtered);
        assert!(permissions.denies_delivery(b"s.no", Some(b"q")));
    }

    #[test]
    fn responses_alone_leave_nothing_else_to_publish() {
        // PERM-005
        let response = ResponsePermission { max_msgs: Some(1), ttl: None };
        let options = PermissionsOptions {
            publish: denying(&["x"]),
            allow_responses: Some(response),
            ..Default::default()
        };
        let permissions = Permissions::compile(&options).unwrap();
        assert!(!permissions.may_publish(b"y"));
        assert_eq!(permissions.responses(), Some(response));
    }

    #[test]
    fn mqtt_prefixes_are_stopped_by_deny_only() {
        // PERM-011
        let permissions =
            subscribing(SubjectPermissions { allow: Some(list(&["a"])), deny: list(&["$MQTT.sub.x"]) });
        assert_eq!(permissions.may_mqtt_subscribe(b"$MQTT.sub.y", None), Verdict::Allowed);
        assert_eq!(permissions.may_mqtt_subscribe(b"$MQTT.sub.x", None), Verdict::Refused);
        assert_eq!(permissions.may_mqtt_subscribe(b"$MQTT.sub.*", None), Verdict::Filtered);
        assert_eq!(permissions.may_mqtt_subscribe(b"b", None), Verdict::Refused);
        assert!(!permissions.denies_delivery(b"$MQTT.sub.y", None));
        assert!(permissions.denies_delivery(b"$MQTT.sub.x", None));
        assert_eq!(permissions.may_subscribe(b"$MQTT.sub.y", None), Verdict::Refused);
    }

    #[test]
    fn entries_that_are_no_subjects_are_named() {
        // PERM-010, CFG-168
        let error = |publish: SubjectPermissions, subscribe: SubjectPermissions| {
            let options = PermissionsOptions { publish, subscribe, allow_responses: None };
            Permissions::compile(&options).unwrap_err().to_string()
        };
        let none = SubjectPermissions::default;
        assert_eq!(
            error(allowing(&["a q"]), none()),
            r#"publish allow: subject "a q" is not a valid subject"#
        );
        assert_eq!(
            error(denying(&["a..b"]), none()),
            r#"publish deny: subject "a..b" is not a valid subject"#
        );
        assert_eq!(
            error(none(), allowing(&["a q r"])),
            r#"subscribe allow: subject "a q r" is not a valid subject"#
        );
        assert_eq!(
            error(none(), denying(&["a q..r"])),
            r#"subscribe deny: queue "q..r" is not a valid queue"#
        );
        assert_eq!(
            error(none(), denying(&["a. q"])),
            r#"subscribe deny: subject "a." is not a valid subject"#
        );
    }

    #[test]
    fn every_compilation_has_its_own_id() {
        let options = PermissionsOptions::default();
        let one = Permissions::compile(&options).unwrap();
        let two = Permissions::compile(&options).unwrap();
        assert_ne!(one.id, two.id);
    }
}
