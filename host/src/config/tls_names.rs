//! The names of cipher suites and curves that config files use, and which of them natsd has.

/// A name Go knows, and what natsd makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Supported,
    /// Go has it, natsd's TLS library leaves it out on purpose.
    LeftOut,
    /// As `LeftOut`, and Go itself wants `allow_insecure_cipher_suites` for it.
    Insecure,
}

/// In the order in which `--help_tls` lists them.
pub const CIPHER_SUITES: [&str; 25] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];
/// The first of [`CIPHER_SUITES`] are supported, ...
pub const CIPHER_SUITES_SUPPORTED: usize = 9;
/// ... up to here they are left out, and the rest is insecure.
const CIPHER_SUITES_SECURE: usize = 13;

pub const CURVES: [&str; 7] = [
    "X25519MLKEM768",
    "X25519",
    "CurveP256",
    "CurveP384",
    "SecP256r1MLKEM768",
    "CurveP521",
    "SecP384r1MLKEM1024",
];
pub const CURVES_SUPPORTED: usize = 5;

pub(super) fn cipher_suite(name: &str) -> Option<Known> {
    let at = CIPHER_SUITES.iter().position(|known| *known == name)?;
    Some(match at {
        0..CIPHER_SUITES_SUPPORTED => Known::Supported,
        CIPHER_SUITES_SUPPORTED..CIPHER_SUITES_SECURE => Known::LeftOut,
        _ => Known::Insecure,
    })
}

pub(super) fn curve(name: &str) -> Option<Known> {
    let at = CURVES.iter().position(|known| *known == name)?;
    Some(if at < CURVES_SUPPORTED { Known::Supported } else { Known::LeftOut })
}
