//! Sealed boxes between the server's curve key and that of a service (CALL-009): `xkv1`, a nonce, then NaCl's box.

use crate::keys::{self, Role};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::aead::generic_array::GenericArray;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use natsd_plugin_api::Host;
use salsa20::cipher::consts::U10;
use thiserror::Error;

const MARK: &[u8] = b"xkv1";
const NONCE_LEN: usize = 24;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SealError {
    #[error("nkeys: invalid public key")]
    Key,
    #[error("nkeys: could not decrypt input")]
    Open,
    #[error("nkeys: could not encrypt input")]
    Seal,
    #[error("{0}")]
    Host(String),
}

/// What both sides can compute, and nobody else.
fn cipher(host: &Host, peer: &str) -> Result<XSalsa20Poly1305, SealError> {
    let (role, public) = keys::decode(peer).ok_or(SealError::Key)?;
    if role != Role::Curve {
        return Err(SealError::Key);
    }
    let shared = host.agree(&public).map_err(|error| SealError::Host(error.message().to_owned()))?;
    Ok(cipher_of(&shared))
}

fn cipher_of(shared: &[u8; 32]) -> XSalsa20Poly1305 {
    let key = salsa20::hsalsa::<U10>(GenericArray::from_slice(shared), &GenericArray::default());
    XSalsa20Poly1305::new(&key)
}

pub fn seal(host: &Host, peer: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_LEN];
    host.random(&mut nonce);
    let sealed = cipher(host, peer)?.encrypt(GenericArray::from_slice(&nonce), plain);
    Ok([MARK, &nonce, &sealed.map_err(|_| SealError::Seal)?].concat())
}

pub fn open(host: &Host, peer: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    opened(&cipher(host, peer)?, sealed)
}

fn opened(cipher: &XSalsa20Poly1305, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let rest = sealed.strip_prefix(MARK).ok_or(SealError::Open)?;
    let (nonce, boxed) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Open)?;
    cipher.decrypt(GenericArray::from_slice(nonce), boxed).map_err(|_| SealError::Open)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_does_not_open() {
        let cipher = cipher_of(&[7; 32]);
        let boxed = cipher.encrypt(GenericArray::from_slice(&[1; NONCE_LEN]), &b"text"[..]).unwrap();
        let sealed = [MARK, &[1; NONCE_LEN], &boxed].concat();
        assert_eq!(opened(&cipher, &sealed), Ok(b"text".to_vec()));
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert_eq!(opened(&cipher, &bad), Err(SealError::Open));
        }
        for len in 0..sealed.len() {
            assert_eq!(opened(&cipher, &sealed[..len]), Err(SealError::Open));
        }
    }
}
