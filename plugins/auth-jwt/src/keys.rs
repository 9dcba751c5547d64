//! Public nkeys and signatures (JWT-005).
//!
//! Not here: seeds. The plugin signs with throw-away keys of its own and with the server's through the host.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use data_encoding::BASE32_NOPAD;
#[cfg(test)]
use ed25519_dalek::Signer;
use ed25519_dalek::{Signature, SigningKey, Verifier, VerifyingKey};

/// What a key is for; the letter that it begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    Operator,
    Account,
    User,
    Server,
    Curve,
}

impl Role {
    const ALL: [Self; 5] = [Self::Operator, Self::Account, Self::User, Self::Server, Self::Curve];

    fn prefix(self) -> u8 {
        let letter = match self {
            Self::Account => 0,
            Self::Server => 13,
            Self::Operator => 14,
            Self::User => 20,
            Self::Curve => 23,
        };
        letter << 3
    }
}

const RAW_LEN: usize = 1 + 32 + 2;

/// Role and 32 bytes of a public key; `None` if the text is none.
pub fn decode(text: &str) -> Option<(Role, [u8; 32])> {
    let raw: [u8; RAW_LEN] = BASE32_NOPAD.decode(text.as_bytes()).ok()?.try_into().ok()?;
    let (body, check) = raw.split_at(RAW_LEN - 2);
    if crc16(body).to_le_bytes() != *check {
        return None;
    }
    let role = Role::ALL.into_iter().find(|role| role.prefix() == body[0])?;
    Some((role, body[1..].try_into().ok()?))
}

pub fn encode(role: Role, key: &[u8; 32]) -> String {
    let mut raw = Vec::with_capacity(RAW_LEN);
    raw.push(role.prefix());
    raw.extend_from_slice(key);
    let check = crc16(&raw).to_le_bytes();
    raw.extend_from_slice(&check);
    BASE32_NOPAD.encode(&raw)
}

pub fn is(text: &str, role: Role) -> bool {
    decode(text).is_some_and(|(found, _)| found == role)
}

/// Whether the key with this name made the signature.
pub fn verifies(key: &str, message: &[u8], signature: &[u8]) -> bool {
    let Some((role, public)) = decode(key) else { return false };
    let (Ok(verifying), Ok(signature)) =
        (VerifyingKey::from_bytes(&public), Signature::from_slice(signature))
    else {
        return false;
    };
    role != Role::Curve && verifying.verify(message, &signature).is_ok()
}

/// A signature as CONNECT carries it: raw-url base64, or the standard one (AUTH-007).
pub fn decode_signature(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).or_else(|_| BASE64_STANDARD.decode(text)).ok()
}

/// A key pair made from random bytes, to sign with while the server runs.
pub struct KeyPair {
    role: Role,
    signing: SigningKey,
}

impl KeyPair {
    pub fn from_seed(role: Role, seed: &[u8; 32]) -> Self {
        Self { role, signing: SigningKey::from_bytes(seed) }
    }

    pub fn public(&self) -> String {
        encode(self.role, self.signing.verifying_key().as_bytes())
    }

    #[cfg(test)]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_written_back() {
        let text = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        let (role, key) = decode(text).unwrap();
        assert_eq!((role, encode(role, &key)), (Role::User, text.to_owned()));
        for bad in ["", "U", &text[1..], &text.to_lowercase(), &text.replace("UDXU", "UDXV")] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_right_key_verifies() {
        let (one, other) =
            (KeyPair::from_seed(Role::Account, &[1; 32]), KeyPair::from_seed(Role::Account, &[2; 32]));
        let signature = one.sign(b"text");
        assert!(verifies(&one.public(), b"text", &signature));
        assert!(!verifies(&one.public(), b"tExt", &signature));
        assert!(!verifies(&other.public(), b"text", &signature));
        assert!(!verifies(&one.public(), b"text", &signature[1..]));
    }
}
