//! Checks that need more than one key: done when file and flags are both in.

use super::authorization;
use super::duration;
use super::options::Options;
use super::problem::Problem;
use super::reading::Reading;
use super::section::Section;
use super::value::Pos;

const DEFAULT_SYSTEM_ACCOUNT: &str = "$SYS";
/// Keys that say who may issue accounts.
const TRUSTED: [&str; 2] = ["operator", "trusted_keys"];

/// What a file may not combine; flags may.
pub(super) fn validate_file(options: &Options, reading: &mut Reading<'_>) {
    authorization::check_combinations(options, reading);
}

pub(super) fn validate(options: &mut Options, sections: &[Section], reading: &mut Reading<'_>) {
    check_sizes(options, reading);
    check_lame_duck(options, reading);
    check_no_auth_user(options, reading);
    options.accounts.by_claims = sections.iter().any(|section| TRUSTED.contains(&section.key().as_str()));
    check_system_account(options, sections, reading);
}

fn check_sizes(options: &mut Options, reading: &mut Reading<'_>) {
    let limits = &mut options.limits;
    if limits.max_payload_bytes == usize::MAX {
        limits.max_payload_bytes = limits.max_pending_bytes.min(i32::MAX as usize);
    }
    if limits.max_payload_bytes > limits.max_pending_bytes {
        let (payload, pending) = (limits.max_payload_bytes, limits.max_pending_bytes);
        let text = format!("max_payload ({payload}) cannot be higher than max_pending ({pending})");
        refuse(reading, reading.places.max_payload, text, "lower max_payload or raise max_pending");
    }
}

/// CFG-065
fn check_lame_duck(options: &Options, reading: &mut Reading<'_>) {
    let timing = &options.timing;
    if timing.lame_duck_grace_period >= timing.lame_duck_duration {
        let text = format!(
            "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
            duration::format(timing.lame_duck_grace_period),
            duration::format(timing.lame_duck_duration)
        );
        refuse(reading, reading.places.lame_duck_grace_period, text, "lower lame_duck_grace_period");
    }
}

/// AUTH-003
fn check_no_auth_user(options: &Options, reading: &mut Reading<'_>) {
    let Some(name) = &options.auth.no_auth_user else { return };
    let in_accounts = options.accounts.accounts.iter().flat_map(|account| &*account.users);
    let mut users = options.auth.users.iter().chain(in_accounts).peekable();
    let text = if users.peek().is_none() {
        format!("no_auth_user: {name:?} present, but users/nkeys are not defined")
    } else if users.any(|user| user.user.as_deref() == Some(name) || user.nkey.as_deref() == Some(name)) {
        return;
    } else {
        format!(
            "no_auth_user: {name:?} not present as user or nkey in authorization block or account configuration"
        )
    };
    refuse(reading, reading.places.no_auth_user, text, "define the user, or remove no_auth_user");
}

fn check_system_account(options: &Options, sections: &[Section], reading: &mut Reading<'_>) {
    let Some(name) = &options.accounts.system_account else { return };
    let defined = options.accounts.accounts.iter().any(|account| account.name == *name);
    // In operator mode accounts come from a resolver, which auth-jwt checks.
    let resolved = sections.iter().any(|section| section.plugin == "auth-jwt" && section.path.len() == 1);
    if !defined && !resolved && name != DEFAULT_SYSTEM_ACCOUNT {
        let text = "error resolving system account: account missing".to_owned();
        let remedy = format!("define {name} in accounts, or remove system_account");
        refuse(reading, reading.places.system_account, text, &remedy);
    }
}

fn refuse(reading: &mut Reading<'_>, at: Option<Pos>, text: String, remedy: &str) {
    reading.report.error_at_start(Problem { at, ..Problem::nowhere(text) }.remedy(remedy));
}
