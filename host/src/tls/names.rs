//! Go's names of cipher suites, curves and versions, and what of them rustls has.

use rustls::crypto::aws_lc_rs::{cipher_suite as suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::{CipherSuite, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion};

use super::error::TlsConfigError;
use crate::config::options::{TlsOptions, TlsVersion};

/// The algorithms of a `tls {}` block.
pub(super) struct Algorithms {
    pub provider: CryptoProvider,
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Names that were dropped because rustls does not have them; others remain.
    pub warnings: Vec<String>,
}

/// Go's order of preference on machines with AES instructions. The first that the client also has wins,
/// so AES-128 is used where OpenSSL's clients list AES-256 first.
static SUITES_TLS13: [SupportedCipherSuite; 3] =
    [suite::TLS13_AES_128_GCM_SHA256, suite::TLS13_AES_256_GCM_SHA384, suite::TLS13_CHACHA20_POLY1305_SHA256];

static SUITES_TLS12: [SupportedCipherSuite; 6] = [
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Names that nats-server knows and rustls leaves out: no forward secrecy, CBC, RC4 or 3DES.
const SUITES_WITHOUT_SUPPORT: [&str; 16] = [
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

type Curve = (&'static str, &'static dyn SupportedKxGroup);

/// Go's default order.
static CURVES: [Curve; 5] = [
    ("X25519MLKEM768", kx_group::X25519MLKEM768),
    ("SecP256r1MLKEM768", kx_group::SECP256R1MLKEM768),
    ("X25519", kx_group::X25519),
    ("CurveP256", kx_group::SECP256R1),
    ("CurveP384", kx_group::SECP384R1),
];

const CURVES_WITHOUT_SUPPORT: [&str; 2] = ["CurveP521", "SecP384r1MLKEM1024"];

static VERSIONS_ALL: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
static VERSIONS_TLS13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Chooses by CFG-247 and CFG-248. Empty lists mean the defaults.
pub(super) fn algorithms(options: &TlsOptions) -> Result<Algorithms, TlsConfigError> {
    let mut warnings = Vec::new();
    let suites = choose_suites(&options.cipher_suites, &mut warnings)?;
    let kx_groups = choose_curves(&options.curve_preferences, &mut warnings)?;
    let has_tls12 = suites.iter().any(|suite| suite.tls13().is_none());
    let versions: &[_] = match options.min_version {
        TlsVersion::V1_2 if has_tls12 => &VERSIONS_ALL,
        // As in Go, a list that names only suites of TLS 1.3 leaves nothing to TLS 1.2.
        TlsVersion::V1_2 | TlsVersion::V1_3 => &VERSIONS_TLS13,
    };
    let provider = CryptoProvider { cipher_suites: suites, kx_groups, ..default_provider() };
    Ok(Algorithms { provider, versions, warnings })
}

/// The suites of TLS 1.3 are always on; the list chooses among those of TLS 1.2 (as in Go).
fn choose_suites(
    names: &[String],
    warnings: &mut Vec<String>,
) -> Result<Vec<SupportedCipherSuite>, TlsConfigError> {
    let mut chosen = SUITES_TLS13.to_vec();
    if names.is_empty() {
        chosen.extend(SUITES_TLS12);
        return Ok(chosen);
    }
    let is_named =
        |suite: &SupportedCipherSuite| names.iter().any(|name| name == cipher_suite(suite.suite()));
    let known = |name: &str| {
        SUITES_TLS13.iter().chain(&SUITES_TLS12).any(|suite| cipher_suite(suite.suite()) == name)
    };
    let dropped = dropped(names, known, &SUITES_WITHOUT_SUPPORT).map_err(TlsConfigError::UnknownCipher)?;
    if dropped.len() == names.len() {
        let supported: Vec<_> = SUITES_TLS12.iter().map(|suite| cipher_suite(suite.suite())).collect();
        return Err(TlsConfigError::NoUsableCipher(dropped.join(", "), supported.join(", ")));
    }
    if !dropped.is_empty() {
        warnings.push(format!("cipher suites not supported by natsd are left out: {}", dropped.join(", ")));
    }
    chosen.extend(SUITES_TLS12.iter().filter(|suite| is_named(suite)));
    Ok(chosen)
}

fn choose_curves(
    names: &[String],
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static dyn SupportedKxGroup>, TlsConfigError> {
    if names.is_empty() {
        return Ok(CURVES.iter().map(|(_, group)| *group).collect());
    }
    let find = |name: &str| CURVES.iter().find(|(known, _)| *known == name).map(|(_, group)| *group);
    let dropped = dropped(names, |name| find(name).is_some(), &CURVES_WITHOUT_SUPPORT)
        .map_err(TlsConfigError::UnknownCurve)?;
    if dropped.len() == names.len() {
        let supported: Vec<_> = CURVES.iter().map(|(name, _)| *name).collect();
        return Err(TlsConfigError::NoUsableCurve(dropped.join(", "), supported.join(", ")));
    }
    if !dropped.is_empty() {
        warnings.push(format!("curves not supported by natsd are left out: {}", dropped.join(", ")));
    }
    Ok(names.iter().filter_map(|name| find(name)).collect())
}

/// The names that are real but not to be had; the error is a name that nobody knows.
fn dropped<'n>(
    names: &'n [String],
    known: impl Fn(&str) -> bool,
    without_support: &[&str],
) -> Result<Vec<&'n str>, String> {
    let mut dropped = Vec::new();
    for name in names.iter().filter(|name| !known(name)) {
        if !without_support.contains(&name.as_str()) {
            return Err(name.clone());
        }
        dropped.push(name.as_str());
    }
    Ok(dropped)
}

/// As connz shows it.
pub fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "1.2",
        ProtocolVersion::TLSv1_3 => "1.3",
        _ => "unknown",
    }
}

/// The name of IANA and Go; rustls writes those of TLS 1.3 differently.
pub fn cipher_suite(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}
