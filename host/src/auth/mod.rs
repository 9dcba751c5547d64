//! Who may connect, as whom, and what they may do then.
//!
//! Pure: no sockets, no clock, no randomness; those are arguments. `Authenticator` decides over a
//! connection, `Permissions` over subjects, `ResponseTracker` over replies. Not here: accounts themselves,
//! JWT and callouts.

mod authenticator;
pub mod certificate;
pub mod credentials;
mod distinguished_name;
#[cfg(test)]
mod fixtures;
mod identity;
pub mod permissions;
mod recheck;
mod refusal;
mod responses;
mod subject_table;
mod users;

pub use authenticator::Authenticator;
pub use certificate::CertificateFacts;
pub use identity::{
    BcryptCheck, ConnectFacts, ConnectionType, ConnectionTypes, Credentials, DEFAULT_SYSTEM_ACCOUNT,
    Decision, Denial, DenyReason, GLOBAL_ACCOUNT, Identity, ListenerAuth, Recheck, TokenFacts, UserLabel,
    UserLimits,
};
pub use permissions::{Permissions, PermissionsError, Verdict};
pub use responses::ResponseTracker;
pub use users::AuthConfigError;
