//! TEMPORARY
pub mod permissions;
use crate::proto::connect::ConnectOptions;
use crate::proto::error::ClosedReason;
use std::sync::Arc;
#[derive(Clone, Default)]
pub struct Identity { pub account: Option<String>, pub label: String, pub user: String, pub permissions: Option<Arc<permissions::Permissions>> }
impl Identity { pub fn anonymous() -> Self { Self::default() } }
pub struct Denial { pub reason: ClosedReason, pub log: String }
pub enum Decision { Allow(Identity), Deny(Denial) }
pub struct ConnectFacts { pub options: ConnectOptions, pub nonce: String, pub connection_type: String, pub client_type: String, pub ip: String, pub port: u16, pub cid: u64, pub peer_certificates: Vec<Vec<u8>> }
pub struct Authenticator;
impl Authenticator {
    pub fn has_no_auth_user(&self) -> bool { false }
    pub fn auth_required(&self) -> bool { false }
    pub fn nonce_required(&self) -> bool { false }
    pub fn is_slow(&self, _: &ConnectFacts) -> bool { false }
    pub fn decide(&self, _: &ConnectFacts) -> Decision { Decision::Allow(Identity::anonymous()) }
    pub fn recheck(&self, i: &Identity) -> Option<Identity> { Some(i.clone()) }
}
