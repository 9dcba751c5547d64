//! Curve keys for tests, and boxes sealed with them: `xkv1`, a nonce, NaCl's box (CALL-009).

use crypto_secretbox::aead::Aead;
use crypto_secretbox::aead::generic_array::GenericArray;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use curve25519_dalek::MontgomeryPoint;
use data_encoding::BASE32_NOPAD;
use salsa20::cipher::consts::U10;
use sha2::{Digest, Sha256};

use crate::nkey::crc16;

const PREFIX: u8 = 23 << 3;

#[derive(Clone)]
pub struct CurveKey([u8; 32]);

impl CurveKey {
    pub fn named(name: &str) -> Self {
        Self(Sha256::digest(format!("curve {name}")).into())
    }

    pub fn public(&self) -> String {
        let mut raw = vec![PREFIX];
        raw.extend_from_slice(MontgomeryPoint::mul_base_clamped(self.0).as_bytes());
        let check = crc16(&raw).to_le_bytes();
        raw.extend_from_slice(&check);
        BASE32_NOPAD.encode(&raw)
    }

    fn cipher(&self, peer: &str) -> XSalsa20Poly1305 {
        let raw = BASE32_NOPAD.decode(peer.as_bytes()).expect("a public key");
        let point = MontgomeryPoint(raw[1..33].try_into().expect("32 bytes"));
        let shared = point.mul_clamped(self.0).to_bytes();
        let key = salsa20::hsalsa::<U10>(GenericArray::from_slice(&shared), &GenericArray::default());
        XSalsa20Poly1305::new(&key)
    }

    /// The nonce is always the same: this is for tests.
    pub fn seal(&self, peer: &str, plain: &[u8]) -> Vec<u8> {
        let nonce = [9; 24];
        let boxed = self.cipher(peer).encrypt(GenericArray::from_slice(&nonce), plain).expect("it seals");
        [&b"xkv1"[..], &nonce, &boxed].concat()
    }

    pub fn open(&self, peer: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, boxed) = sealed.strip_prefix(b"xkv1")?.split_at_checked(24)?;
        self.cipher(peer).decrypt(GenericArray::from_slice(nonce), boxed).ok()
    }
}
