//! Templates of scoped signing keys, filled in for one user (JWT-033, JWT-034).

use crate::claims::{Account, User, UserLimits};
use crate::subjects;
use thiserror::Error;

/// What all subjects of one list may become together.
const EXPANSIONS_MAX: usize = 4096;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScopeError {
    #[error("scoped users require no permissions or limits set")]
    NotEmpty,
    #[error("generated invalid subject {entry:?}: {tag:?} is not defined")]
    NoTag { entry: String, tag: String },
    #[error("generated invalid subject")]
    Subject,
    #[error("template operation in {entry:?}: {operation:?} is not defined")]
    Operation { entry: String, operation: String },
    #[error("template expansion exceeds the limit: {EXPANSIONS_MAX}")]
    TooMany,
}

/// What the user gets from the signing key's template.
pub fn apply(template: &UserLimits, user: &User, account: &Account) -> Result<UserLimits, ScopeError> {
    if user.nats.limits != UserLimits::default() {
        return Err(ScopeError::NotEmpty);
    }
    let mut limits = template.clone();
    for lists in [&mut limits.subscribe, &mut limits.publish] {
        let had_allow = !lists.allow.is_empty();
        lists.allow = filled(&lists.allow, Strictness::Drop, user, account)?;
        lists.deny = filled(&lists.deny, Strictness::Fail, user, account)?;
        if had_allow && lists.allow.is_empty() {
            lists.deny.push(">".to_owned());
        }
    }
    Ok(limits)
}

/// What becomes of an entry that makes no subject.
#[derive(Clone, Copy, PartialEq)]
enum Strictness {
    Drop,
    Fail,
}

fn filled(
    entries: &[String],
    strictness: Strictness,
    user: &User,
    account: &Account,
) -> Result<Vec<String>, ScopeError> {
    if !entries.iter().any(|entry| placeholders(entry).next().is_some()) {
        return Ok(entries.to_vec());
    }
    let mut subjects = Vec::new();
    for entry in entries {
        let mut results = vec![entry.clone()];
        for placeholder in placeholders(entry) {
            let values = values(placeholder, entry, strictness, user, account)?;
            if values.len().saturating_mul(results.len()) + subjects.len() > EXPANSIONS_MAX {
                return Err(ScopeError::TooMany);
            }
            results = results
                .iter()
                .flat_map(|text| values.iter().map(|value| text.replacen(placeholder, value, 1)))
                .collect();
        }
        for subject in results {
            if subjects::is_valid(&subject) {
                subjects.push(subject);
            } else if strictness == Strictness::Fail {
                return Err(ScopeError::Subject);
            }
        }
    }
    Ok(subjects)
}

/// Every `{{...}}` of an entry, braces included.
fn placeholders(entry: &str) -> impl Iterator<Item = &str> {
    let mut rest = entry;
    std::iter::from_fn(move || {
        let start = rest.find("{{")?;
        let len = rest[start..].find("}}")? + 2;
        let found = &rest[start..start + len];
        rest = &rest[start + len..];
        Some(found)
    })
}

fn values(
    placeholder: &str,
    entry: &str,
    strictness: Strictness,
    user: &User,
    account: &Account,
) -> Result<Vec<String>, ScopeError> {
    let operation = placeholder[2..placeholder.len() - 2].trim();
    let one = |text: &str| Ok(vec![text.to_owned()]);
    match operation.to_ascii_lowercase().as_str() {
        "name()" => return one(&user.common.name),
        "subject()" => return one(&user.common.sub),
        "account-name()" => return one(&account.common.name),
        "account-subject()" => return one(&user.nats.issuer_account),
        _ => {}
    }
    let Some((tags, name)) = tag_of(operation, user, account) else {
        return Err(ScopeError::Operation { entry: entry.to_owned(), operation: operation.to_owned() });
    };
    let prefix = format!("{}:", name.to_lowercase());
    let found: Vec<String> =
        tags.iter().filter_map(|tag| tag.strip_prefix(&prefix)).map(str::to_owned).collect();
    match (found.is_empty(), strictness) {
        (false, _) => Ok(found),
        (true, Strictness::Fail) => Err(ScopeError::NoTag { entry: entry.to_owned(), tag: name.to_owned() }),
        // Never a valid subject: the entry falls away.
        (true, Strictness::Drop) => one(" "),
    }
}

/// The tags meant by `tag(NAME)` or `account-tag(NAME)`, and NAME.
fn tag_of<'a>(operation: &'a str, user: &'a User, account: &'a Account) -> Option<(&'a [String], &'a str)> {
    let inner = operation.strip_suffix(')')?;
    let (function, name) = inner.split_once('(')?;
    match function.to_ascii_lowercase().as_str() {
        "tag" => Some((&user.nats.tags, name)),
        "account-tag" => Some((&account.nats.tags, name)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::claims::Common;
    use crate::claims::account::AccountData;
    use crate::claims::user::UserData;

    fn user(tags: &[&str]) -> User {
        let common = Common { name: "joe".to_owned(), sub: "UJOE".to_owned(), ..Common::default() };
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        User { common, nats: UserData { issuer_account: "AACC".to_owned(), tags, ..UserData::default() } }
    }

    fn account() -> Account {
        let common = Common { name: "acme".to_owned(), ..Common::default() };
        let nats = AccountData { tags: vec!["zone:eu".to_owned()], ..AccountData::default() };
        Account { common, nats, ..Account::default() }
    }

    fn allow(entry: &str, tags: &[&str]) -> Result<(Vec<String>, Vec<String>), ScopeError> {
        let mut template = UserLimits::default();
        template.publish.allow = vec![entry.to_owned()];
        let limits = apply(&template, &user(tags), &account())?;
        Ok((limits.publish.allow, limits.publish.deny))
    }

    #[test]
    fn functions_are_filled_in() {
        // JWT-034
        for (entry, subjects) in [
            ("plain.>", vec!["plain.>"]),
            ("a.{{name()}}.{{ Subject() }}", vec!["a.joe.UJOE"]),
            ("{{account-name()}}.{{account-subject()}}.>", vec!["acme.AACC.>"]),
            ("{{account-tag(zone)}}.x", vec!["eu.x"]),
            ("{{tag(dept)}}.{{tag(role)}}", vec!["a.r", "a.s", "b.r", "b.s"]),
        ] {
            let tags = ["dept:a", "dept:b", "role:r", "role:s"];
            assert_eq!(allow(entry, &tags).unwrap().0, subjects, "{entry}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_closed() {
        assert_eq!(allow("x.{{tag(none)}}", &[]).unwrap(), (vec![], vec![">".to_owned()]));
        assert!(matches!(allow("x.{{nonsense()}}", &[]), Err(ScopeError::Operation { .. })));
        let mut template = UserLimits::default();
        template.subscribe.deny = vec!["{{tag(none)}}".to_owned()];
        assert!(matches!(apply(&template, &user(&[]), &account()), Err(ScopeError::NoTag { .. })));
        let many: Vec<String> = (0..70).map(|n| format!("t:{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(allow("{{tag(t)}}.{{tag(t)}}", &many), Err(ScopeError::TooMany));
        let mut own = user(&[]);
        own.nats.limits.subs = -1;
        assert_eq!(apply(&UserLimits::default(), &own, &account()), Err(ScopeError::NotEmpty));
    }
}
