//! Encryption at rest: a key for each stream, drawn when it is made, which lies in its state log sealed by the
//! server's key. What says something of messages, subjects or consumers is encrypted and authenticated record by
//! record; heads of records, sequences of blocks and names of streams are not.

use crate::config::Cipher;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;

pub const NONCE: usize = 12;
pub const TAG: usize = 16;
pub const SEED: usize = 32;

type Nonce = [u8; NONCE];
type Seed = [u8; SEED];

/// Fills a buffer with random bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The server's keys, as they are configured.
#[derive(Clone)]
pub struct Keys {
    /// Empty: what is written is not encrypted.
    pub current: String,
    /// What may still be in use; empty: none.
    pub previous: String,
    pub cipher: Cipher,
    pub entropy: Entropy,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

/// A stream's key as it lies in its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub cipher: u8,
    pub nonce: Nonce,
    pub seed: Seed,
    pub tag: [u8; TAG],
}

/// In files that are not encrypted.
pub const PLAIN: u8 = b'1';
const AES: u8 = b'a';
const CHACHA: u8 = b'c';

/// The key of a stream for one cipher.
#[derive(Clone)]
pub struct Seal {
    pub cipher: u8,
    suite: Suite,
}

#[derive(Clone)]
enum Suite {
    Aes(Box<Aes256Gcm>),
    ChaCha(Box<ChaCha20Poly1305>),
}

impl Keys {
    /// The letter of what is written: that of a cipher, or `PLAIN`.
    pub fn wanted(&self) -> u8 {
        match self.cipher {
            _ if self.current.is_empty() => PLAIN,
            Cipher::AesGcm => AES,
            Cipher::ChaCha20Poly1305 => CHACHA,
        }
    }

    pub fn draw(&self) -> Seed {
        let mut seed = [0; SEED];
        (self.entropy)(&mut seed);
        seed
    }

    /// `place` names the stream: a key of one is of no use in another.
    pub fn seal(&self, place: &str, seed: &Seed) -> Option<Sealed> {
        let cipher = self.wanted();
        let seal = Seal::new(cipher, &derive(self.current.as_bytes(), place.as_bytes()))?;
        let (mut nonce, mut sealed) = ([0; NONCE], *seed);
        (self.entropy)(&mut nonce);
        let tag = seal.lock(&nonce, b"seed", &mut sealed)?;
        Some(Sealed { cipher, nonce, seed: sealed, tag })
    }

    /// The stream's key, and whether it was sealed by the current one.
    pub fn unseal(&self, place: &str, sealed: &Sealed) -> Option<(Seed, bool)> {
        for (text, is_current) in [(&self.current, true), (&self.previous, false)] {
            let mut seed = sealed.seed;
            if !text.is_empty()
                && let Some(seal) = Seal::new(sealed.cipher, &derive(text.as_bytes(), place.as_bytes()))
                && seal.unlock(&sealed.nonce, b"seed", &mut seed, &sealed.tag)
            {
                return Some((seed, is_current));
            }
        }
        None
    }
}

impl Seal {
    /// The key of a stream for a cipher; `None` for `PLAIN`, and for letters that mean none.
    pub fn of(cipher: u8, seed: &Seed) -> Option<Self> {
        Self::new(cipher, &derive(seed, &[cipher]))
    }

    fn new(cipher: u8, key: &[u8; 32]) -> Option<Self> {
        let suite = match cipher {
            AES => Suite::Aes(Box::new(Aes256Gcm::new(key.into()))),
            CHACHA => Suite::ChaCha(Box::new(ChaCha20Poly1305::new(key.into()))),
            _ => return None,
        };
        Some(Self { cipher, suite })
    }

    /// Encrypts in place. A nonce must never be used twice.
    pub fn lock(&self, nonce: &Nonce, with: &[u8], body: &mut [u8]) -> Option<[u8; TAG]> {
        let tag = match &self.suite {
            Suite::Aes(suite) => suite.encrypt_in_place_detached(nonce.into(), with, body),
            Suite::ChaCha(suite) => suite.encrypt_in_place_detached(nonce.into(), with, body),
        };
        // It fails for bodies of many gigabytes only.
        tag.ok().map(Into::into)
    }

    /// Decrypts in place; whether it is what was encrypted.
    pub fn unlock(&self, nonce: &Nonce, with: &[u8], body: &mut [u8], tag: &[u8; TAG]) -> bool {
        let opened = match &self.suite {
            Suite::Aes(suite) => suite.decrypt_in_place_detached(nonce.into(), with, body, tag.into()),
            Suite::ChaCha(suite) => suite.decrypt_in_place_detached(nonce.into(), with, body, tag.into()),
        };
        opened.is_ok()
    }
}

/// Nonces of a file: its salt and the place. A place of a file is written once, but for what is not encrypted.
pub fn nonce(salt: u64, at: u64) -> Nonce {
    let mut nonce = [0; NONCE];
    nonce[..8].copy_from_slice(&salt.to_le_bytes());
    nonce[8..].copy_from_slice(&(at as u32).to_le_bytes());
    nonce
}

fn derive(key: &[u8], what: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length");
    };
    mac.update(b"natsd jetstream 1\0");
    mac.update(what);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keys(current: &str, previous: &str, cipher: Cipher) -> Keys {
        let entropy: Entropy = Arc::new(|bytes| bytes.fill(7));
        Keys { current: current.to_owned(), previous: previous.to_owned(), cipher, entropy }
    }

    #[test]
    fn a_seed_opens_with_its_key_and_place_alone() {
        for cipher in [Cipher::AesGcm, Cipher::ChaCha20Poly1305] {
            let seed = [9; SEED];
            let sealed = keys("secret", "", cipher).seal("A/streams/S", &seed).unwrap();
            assert_ne!(sealed.seed, seed);
            let open = |keys: &Keys, place: &str| keys.unseal(place, &sealed);
            assert_eq!(open(&keys("secret", "", Cipher::AesGcm), "A/streams/S"), Some((seed, true)));
            assert_eq!(open(&keys("new", "secret", cipher), "A/streams/S"), Some((seed, false)));
            assert_eq!(open(&keys("wrong", "", cipher), "A/streams/S"), None);
            assert_eq!(open(&keys("secret", "", cipher), "A/streams/T"), None);
        }
        assert!(Seal::of(PLAIN, &[0; SEED]).is_none());
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let seal = Seal::of(CHACHA, &[1; SEED]).unwrap();
        let mut body = *b"content";
        let tag = seal.lock(&nonce(3, 4), b"k", &mut body).unwrap();
        assert_ne!(&body, b"content");
        let opens = |nonce: Nonce, with: &[u8], mut body: [u8; 7]| seal.unlock(&nonce, with, &mut body, &tag);
        assert!(opens(nonce(3, 4), b"k", body));
        assert!(!opens(nonce(3, 5), b"k", body) && !opens(nonce(3, 4), b"l", body));
        body[0] ^= 1;
        assert!(!opens(nonce(3, 4), b"k", body));
    }
}
