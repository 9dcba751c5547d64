//! What the tests of this module build their cases from.
#![allow(clippy::unwrap_used, clippy::panic)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer, SigningKey};

use super::authenticator::Authenticator;
use super::identity::{
    ConnectFacts, ConnectionType, ConnectionTypes, Credentials, Decision, Denial, Identity,
};
use crate::config::options::{AccountOptions, AccountsOptions, AuthOptions, UserOptions};
use crate::proto::nkey::{NkeyKind, encode};

pub const NONCE: &str = "b_88CSlxqlsj53g";
pub const BCRYPT_OF_SECRET: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

pub fn user(name: &str, password: &str) -> UserOptions {
    UserOptions { user: Some(name.into()), password: Some(password.into()), ..Default::default() }
}

pub fn nkey_user(nkey: &str) -> UserOptions {
    UserOptions { nkey: Some(nkey.into()), ..Default::default() }
}

/// A key pair made of one repeated byte.
pub fn key(seed: u8) -> (SigningKey, String) {
    let signing = SigningKey::from_bytes(&[seed; 32]);
    let public = encode(NkeyKind::User, signing.verifying_key().as_bytes());
    (signing, public)
}

pub fn signed(key: &SigningKey) -> String {
    URL_SAFE_NO_PAD.encode(key.sign(NONCE.as_bytes()).to_bytes())
}

pub fn users(users: Vec<UserOptions>) -> AuthOptions {
    AuthOptions { users: users.into(), ..Default::default() }
}

pub fn authenticator(auth: AuthOptions) -> Authenticator {
    Authenticator::new(&auth, &AccountsOptions::default()).unwrap()
}

pub fn with_accounts(accounts: Vec<AccountOptions>) -> AccountsOptions {
    AccountsOptions { accounts, ..Default::default() }
}

pub fn account(name: &str, users: Vec<UserOptions>) -> AccountOptions {
    AccountOptions { name: name.into(), users: users.into(), ..Default::default() }
}

pub fn facts(credentials: Credentials<'_>) -> ConnectFacts<'_> {
    ConnectFacts {
        credentials,
        nonce: NONCE,
        connection_type: ConnectionType::Standard,
        maps_certificates: false,
        certificate: None,
        mapped_types: ConnectionTypes::NONE,
        listener: None,
    }
}

pub fn password<'a>(user: &'a str, password: &'a str) -> Credentials<'a> {
    Credentials { user, password, ..Default::default() }
}

pub fn token(token: &str) -> Credentials<'_> {
    Credentials { token, ..Default::default() }
}

pub fn with_nkey<'a>(nkey: &'a str, signature: &'a str) -> Credentials<'a> {
    Credentials { nkey, signature, ..Default::default() }
}

pub fn decide(authenticator: &Authenticator, facts: &ConnectFacts<'_>) -> Result<Identity, Denial> {
    let settle = |decision| match decision {
        Decision::Allow(identity) => Ok(identity),
        Decision::Deny(denial) => Err(denial),
        Decision::NeedsBcrypt(_) => panic!("settled twice"),
    };
    match authenticator.decide(facts) {
        Decision::NeedsBcrypt(check) => settle(check.run()),
        decision => settle(decision),
    }
}

pub fn allows(authenticator: &Authenticator, credentials: Credentials<'_>) -> bool {
    decide(authenticator, &facts(credentials)).is_ok()
}

pub fn admitted(authenticator: &Authenticator, credentials: Credentials<'_>) -> Identity {
    decide(authenticator, &facts(credentials)).unwrap()
}
