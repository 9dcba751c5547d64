//! Nkeys: ed25519 and curve keys as text that says what they are for (JWT-005).
//!
//! Randomness is an argument. Not here: seeds as text, which the server never reads or writes.

use curve25519_dalek::montgomery::MontgomeryPoint;
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use thiserror::Error;

/// What a key is for: the first letter of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NkeyKind {
    Account,
    Cluster,
    Server,
    Operator,
    User,
    Curve,
}

impl NkeyKind {
    const ALL: [Self; 6] =
        [Self::Account, Self::Cluster, Self::Server, Self::Operator, Self::User, Self::Curve];

    fn prefix(self) -> u8 {
        match self {
            Self::Account => 0,
            Self::Cluster => 2 << 3,
            Self::Server => 13 << 3,
            Self::Operator => 14 << 3,
            Self::User => 20 << 3,
            Self::Curve => 23 << 3,
        }
    }
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NkeyError {
    #[error("an nkey has 56 letters A to Z and digits 2 to 7")]
    Encoding,
    #[error("the checksum of the nkey is wrong: check for a typing error")]
    Checksum,
    #[error("the nkey is not of the kind wanted here")]
    Kind,
    #[error("the nkey is no point of its curve")]
    Point,
}

/// The public key as text.
pub fn encode(kind: NkeyKind, public_key: &[u8; 32]) -> String {
    let mut raw = [0; RAW_LEN];
    raw[0] = kind.prefix();
    raw[1..33].copy_from_slice(public_key);
    let checksum = crc16(&raw[..33]);
    raw[33..].copy_from_slice(&checksum.to_le_bytes());
    BASE32_NOPAD.encode(&raw)
}

/// What a public key's text says. A seed or a private key is an error.
pub fn decode(text: &str) -> Result<(NkeyKind, [u8; 32]), NkeyError> {
    if text.len() != TEXT_LEN {
        return Err(NkeyError::Encoding);
    }
    let mut raw = [0; RAW_LEN];
    BASE32_NOPAD.decode_mut(text.as_bytes(), &mut raw).map_err(|_| NkeyError::Encoding)?;
    if raw[33..] != crc16(&raw[..33]).to_le_bytes() {
        return Err(NkeyError::Checksum);
    }
    let kind = NkeyKind::ALL.into_iter().find(|kind| kind.prefix() == raw[0]).ok_or(NkeyError::Kind)?;
    let mut public_key = [0; 32];
    public_key.copy_from_slice(&raw[1..33]);
    Ok((kind, public_key))
}

/// Whether `text` is a public key, of the given kind if there is one.
pub fn is_public(text: &str, kind: Option<NkeyKind>) -> bool {
    decode(text).is_ok_and(|(found, _)| kind.is_none_or(|kind| kind == found))
}

/// A public key that signatures can be checked with, made ready once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier(VerifyingKey);

impl Verifier {
    /// `kind`: the only one accepted; `None`: any that signs.
    pub fn parse(text: &str, kind: Option<NkeyKind>) -> Result<Self, NkeyError> {
        let (found, public_key) = decode(text)?;
        if found == NkeyKind::Curve || kind.is_some_and(|kind| kind != found) {
            return Err(NkeyError::Kind);
        }
        VerifyingKey::from_bytes(&public_key).map(Self).map_err(|_| NkeyError::Point)
    }

    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        use ed25519_dalek::Verifier as _;
        self.0.verify(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// The keys a server makes for itself at start.
#[derive(Clone)]
pub struct ServerIdentity {
    /// `server_id` (CORE-010).
    pub id: String,
    /// `xkey` (CORE-037).
    pub xkey: String,
    pub signing_key: SigningKey,
    /// The secret half of `xkey`.
    pub curve_secret: [u8; 32],
}

impl ServerIdentity {
    /// Both seeds are 32 random bytes.
    pub fn from_seeds(signing_seed: &[u8; 32], curve_seed: [u8; 32]) -> Self {
        let signing_key = SigningKey::from_bytes(signing_seed);
        let curve_public = MontgomeryPoint::mul_base_clamped(curve_seed);
        Self {
            id: encode(NkeyKind::Server, signing_key.verifying_key().as_bytes()),
            xkey: encode(NkeyKind::Curve, curve_public.as_bytes()),
            signing_key,
            curve_secret: curve_seed,
        }
    }
}

impl ServerIdentity {
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer;
        self.signing_key.sign(message).to_bytes()
    }

    /// X25519 of the curve key with a public key.
    pub fn agree(&self, public: &[u8; 32]) -> [u8; 32] {
        MontgomeryPoint(*public).mul_clamped(self.curve_secret).to_bytes()
    }
}

/// Secrets never reach a log by way of `{:?}`.
impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerIdentity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Prefix, key, checksum.
const RAW_LEN: usize = 1 + 32 + 2;
const TEXT_LEN: usize = RAW_LEN * 8 / 5;

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
    use ed25519_dalek::Signer;

    #[test]
    fn the_checksum_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn keys_of_the_reference_are_read_and_written_back() {
        // Keys that nats-server and the nk tool made.
        for (text, kind) in [
            ("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", NkeyKind::User),
            ("NCXHYXR6KQIYBYT247JCFXL4QXFQPN4OHSTCTQXZ6BDIXFE3FNUOGEC4", NkeyKind::Server),
            ("XDRL7IKUQ2VKEW3LBFNAOFONXPCD2W3OFLG6IGBEHXNBG4BGN3KAZMD2", NkeyKind::Curve),
        ] {
            let (found, public_key) = decode(text).unwrap();
            assert_eq!(found, kind);
            assert_eq!(encode(kind, &public_key), text);
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let good = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        assert_eq!(decode(""), Err(NkeyError::Encoding));
        assert_eq!(decode(&good.to_lowercase()), Err(NkeyError::Encoding));
        assert_eq!(decode(&good[1..]), Err(NkeyError::Encoding));
        assert_eq!(decode(&good.replace("UDXU", "UDXV")), Err(NkeyError::Checksum));
        assert_eq!(Verifier::parse(good, Some(NkeyKind::Account)), Err(NkeyError::Kind));
        assert!(Verifier::parse(good, Some(NkeyKind::User)).is_ok());
        assert!(Verifier::parse(good, None).is_ok());
        assert!(is_public(good, None) && is_public(good, Some(NkeyKind::User)));
        assert!(!is_public(good, Some(NkeyKind::Account)) && !is_public("abc", None));
    }

    #[test]
    fn a_server_proves_its_id_and_has_a_curve_key() {
        let identity = ServerIdentity::from_seeds(&[7; 32], [9; 32]);
        assert!(identity.id.starts_with('N') && identity.id.len() == 56);
        assert!(identity.xkey.starts_with('X') && identity.xkey.len() == 56);
        let signature = identity.signing_key.sign(b"hello").to_bytes();
        let verifier = Verifier::parse(&identity.id, Some(NkeyKind::Server)).unwrap();
        assert!(verifier.verifies(b"hello", &signature));
        assert!(!verifier.verifies(b"hullo", &signature));
        // What Go's crypto libraries make of the same seeds.
        let hex = |key: [u8; 32]| data_encoding::HEXLOWER.encode(&key);
        let (_, signing) = decode(&identity.id).unwrap();
        assert_eq!(hex(signing), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c");
        let (_, curve) = decode(&identity.xkey).unwrap();
        assert_eq!(hex(curve), "57db4b359f23ae5e146e4e2512056704722506348c150c14753d0c933d04d421");
    }
}
