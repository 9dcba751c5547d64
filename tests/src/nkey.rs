//! User nkeys for tests: fixed key pairs by name, and signatures over a nonce.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// The role letter is in the prefix byte: JWT-005.
const USER_PREFIX: u8 = 20 << 3;

/// A key pair that is always the same for the same name.
pub struct UserKey(SigningKey);

impl UserKey {
    pub fn named(name: &str) -> Self {
        Self(SigningKey::from_bytes(&Sha256::digest(name).into()))
    }

    /// The public key as it stands in a config: 56 letters, the first a U.
    pub fn public(&self) -> String {
        let mut raw = vec![USER_PREFIX];
        raw.extend_from_slice(self.0.verifying_key().as_bytes());
        let check = crc16(&raw).to_le_bytes();
        raw.extend_from_slice(&check);
        BASE32_NOPAD.encode(&raw)
    }

    /// The signature as CONNECT carries it.
    pub fn sign(&self, nonce: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0.sign(nonce.as_bytes()).to_bytes())
    }

    /// The same in standard base64, which servers accept too.
    pub fn sign_padded(&self, nonce: &str) -> String {
        base64::prelude::BASE64_STANDARD.encode(self.0.sign(nonce.as_bytes()).to_bytes())
    }
}

/// Whether this is a public nkey of a role (`N` server, `X` curve, `U` user), check sum included.
pub fn is_public(text: &str, role: char) -> bool {
    let Ok(raw) = BASE32_NOPAD.decode(text.as_bytes()) else { return false };
    let Some((body, check)) = raw.split_last_chunk::<2>() else { return false };
    text.starts_with(role) && raw.len() == 35 && crc16(body).to_le_bytes() == *check
}

/// CRC-16/XMODEM.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}
