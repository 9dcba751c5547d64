//! The alert that ends a session after its handshake: rustls sends none of the application's choice.

use rustls::SupportedCipherSuite;
use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::server::UnbufferedServerConnection;
use rustls::{ConnectionTrafficSecrets, ContentType, ProtocolVersion};

const FATAL: u8 = 2;
const BAD_CERTIFICATE: u8 = 42;
/// The part of a nonce that TLS 1.2 with AES-GCM derives from the handshake.
const FIXED_IV_BYTES: usize = 4;

/// As Go refuses a peer whose certificate its application does not like. `None`: the session is not so far.
pub(super) fn bad_certificate(conn: UnbufferedServerConnection) -> Option<Vec<u8>> {
    let suite = conn.negotiated_cipher_suite()?;
    let (secrets, _) = conn.dangerous_into_kernel_connection().ok()?;
    let (sequence, secrets) = secrets.tx;
    let message = OutboundPlainMessage {
        typ: ContentType::Alert,
        version: ProtocolVersion::TLSv1_2,
        payload: OutboundChunks::Single(&[FATAL, BAD_CERTIFICATE]),
    };
    let record = encrypter(suite, secrets)?.encrypt(message, sequence).ok()?;
    Some(record.encode())
}

fn encrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Option<Box<dyn MessageEncrypter>> {
    use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
    let (key, iv, is_gcm) = match secrets {
        Aes128Gcm { key, iv } | Aes256Gcm { key, iv } => (key, iv, true),
        Chacha20Poly1305 { key, iv } => (key, iv, false),
        _ => return None,
    };
    Some(match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let iv = iv.as_ref();
            let (fixed, explicit) = iv.split_at(if is_gcm { FIXED_IV_BYTES } else { iv.len() });
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    })
}
