//! A `tls {}` block (section 9 of config.md) into [`TlsOptions`].
//!
//! Certificates are checked to be readable; what is in them is checked where they are used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::authorization::timeout;
use super::duration;
use super::fields::{Field, fields};
use super::ocsp;
use super::options::{HandshakeFirst, OCSP_PEER_WITHOUT_VERIFY, TlsOptions, TlsVersion};
use super::parse::go_io_text;
use super::problem::Problem;
use super::reading::Reading;
use super::tls_names::{self, Known};
use super::value::{Map, Value};

/// What `auto` waits for a first byte before INFO is sent (CORE-230).
const HANDSHAKE_FIRST_AUTO: Duration = Duration::from_millis(50);
const PINNED_CERT_LEN: usize = 64;

/// A block whose parts are read in any order and checked at the end.
#[derive(Default)]
struct Block {
    options: TlsOptions,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    allow_insecure: bool,
    insecure_suites: Vec<String>,
}

/// The server's own block: it needs a certificate.
pub(super) fn read_for_server(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<TlsOptions, Problem> {
    let errors = reading.report.errors.len();
    let options = read(field, reading)?;
    // What else is wrong with the block may be the reason.
    if options.certs.is_empty() && reading.report.errors.len() == errors {
        return Err(field
            .problem("TLS Server certificate must be present and valid")
            .detail("the block names no certificate")
            .remedy("add cert_file and key_file"));
    }
    if options.ocsp_peer.is_some() && !options.verify {
        let problem = field.problem(OCSP_PEER_WITHOUT_VERIFY);
        reading.report.error_at_start(problem.remedy("add verify: true, or remove ocsp_peer"));
    }
    Ok(options)
}

/// Any block, also of clients that need no certificate.
pub(super) fn read(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<TlsOptions, Problem> {
    let mut block = Block::default();
    for entry in fields(field.map()?) {
        let result = block.key(&entry, reading);
        reading.report.check(result);
    }
    block.finish(field, reading)
}

impl Block {
    fn key(&mut self, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<(), Problem> {
        let options = &mut self.options;
        match field.name.as_str() {
            "cert_file" => self.cert_file = file(field)?,
            "key_file" => self.key_file = file(field)?,
            "ca_file" => options.ca_file = file(field)?,
            "certs" | "certificates" => options.certs = certificates(field, reading)?,
            "verify" => options.verify = flag(field)?,
            "verify_and_map" => options.verify_and_map = flag(field)?,
            "insecure" => options.insecure = flag(field)?,
            "timeout" => options.timeout = timeout(field, "tls")?.unwrap_or(TlsOptions::default().timeout),
            "allow_insecure_cipher_suites" => self.allow_insecure = flag(field)?,
            "cipher_suites" => self.cipher_suites(field, reading)?,
            "curve_preferences" => {
                options.curve_preferences =
                    known_names(field, "curve preference", tls_names::curve, reading)?.0;
            }
            "min_version" => options.min_version = min_version(field)?,
            "handshake_first" | "first" | "immediate" => options.handshake_first = handshake_first(field)?,
            "pinned_certs" => options.pinned_certs = pinned_certs(field)?,
            "connection_rate_limit" => {
                let Value::Integer(limit) = field.node.value else {
                    return Err(field.problem("error parsing tls config, 'connection_rate_limit' wrong type"));
                };
                options.connection_rate_limit = u32::try_from(limit).ok().filter(|&limit| limit > 0);
            }
            "ocsp_peer" => options.ocsp_peer = ocsp::read_peer(field)?,
            _ => return self.other_key(field),
        }
        Ok(())
    }

    fn other_key(&self, field: &Field<'_>) -> Result<(), Problem> {
        match field.name.as_str() {
            "verify_cert_and_check_known_urls" => Err(field
                .problem("verify_cert_and_check_known_urls not supported in this context")
                .remedy("it belongs in the tls block of cluster or gateway")),
            "cert_store" | "cert_match_by" | "cert_match" | "ca_certs_match" | "cert_match_skip_invalid" => {
                Err(field
                    .problem("cert store type not implemented")
                    .detail("certificate stores exist on Windows only")
                    .remedy("use cert_file and key_file"))
            }
            _ if field.node.used_as_variable => Ok(()),
            _ => Err(field.problem(format!("error parsing tls config, unknown field {:?}", field.key))),
        }
    }

    fn cipher_suites(&mut self, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<(), Problem> {
        let (supported, insecure) = known_names(field, "cipher", tls_names::cipher_suite, reading)?;
        self.options.cipher_suites = supported;
        self.insecure_suites = insecure;
        Ok(())
    }

    fn finish(mut self, field: &Field<'_>, reading: &mut Reading<'_>) -> Result<TlsOptions, Problem> {
        if !self.insecure_suites.is_empty() && !self.allow_insecure {
            return Err(field
                .problem(format!(
                    "insecure cipher suites configured without 'allow_insecure_cipher_suites' option set: {}",
                    self.insecure_suites.join(", ")
                ))
                .remedy("remove them"));
        }
        let pair = match (self.cert_file, self.key_file) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (Some(_), None) => return Err(field.problem("missing 'key_file' in TLS configuration")),
            (None, Some(_)) => return Err(field.problem("missing 'cert_file' in TLS configuration")),
            (None, None) => None,
        };
        let is_list = pair.is_none();
        if let Some(pair) = pair {
            if !self.options.certs.is_empty() {
                return Err(field.problem(
                    "error parsing tls config, cannot combine 'cert_file' option with 'certs' option",
                ));
            }
            self.options.certs.push(pair);
        }
        let count = self.options.certs.len();
        for (at, (cert, key)) in self.options.certs.iter().enumerate() {
            let which = if is_list { format!(" {}/{count}", at + 1) } else { String::new() };
            let unreadable = |cause| format!("error parsing X509 certificate/key pair{which}: {cause}");
            for path in [cert, key] {
                readable(path, reading)
                    .map_err(|cause| field.problem(unreadable(cause)).remedy(PATHS_REMEDY))?;
            }
        }
        if let Some(path) = &self.options.ca_file {
            readable(path, reading).map_err(|cause| field.problem(cause).remedy(PATHS_REMEDY))?;
        }
        self.options.verify |= self.options.verify_and_map;
        Ok(self.options)
    }
}

const PATHS_REMEDY: &str = "paths are relative to the folder natsd is started in";

fn readable(path: &Path, reading: &Reading<'_>) -> Result<(), String> {
    match (reading.inputs.read_file)(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("open {}: {}", path.display(), go_io_text(&error))),
    }
}

fn file(field: &Field<'_>) -> Result<Option<PathBuf>, Problem> {
    let Value::String(path) = &field.node.value else {
        return Err(
            field.problem(format!("error parsing tls config, expected '{}' to be filename", field.name))
        );
    };
    Ok((!path.is_empty()).then(|| PathBuf::from(path)))
}

fn flag(field: &Field<'_>) -> Result<bool, Problem> {
    match field.node.value {
        Value::Bool(on) => Ok(on),
        _ => {
            Err(field.problem(format!("error parsing tls config, expected '{}' to be a boolean", field.name)))
        }
    }
}

/// `certs: [ {cert_file, key_file} ]` (CFG-241).
fn certificates(field: &Field<'_>, reading: &mut Reading<'_>) -> Result<Vec<(PathBuf, PathBuf)>, Problem> {
    let wrong =
        |value: &Value| format!("error parsing certificates config: unsupported type {}", value.go_type());
    let Value::Array(items) = &field.node.value else {
        return Err(field
            .problem(wrong(&field.node.value))
            .remedy("write certs: [ {cert_file: ..., key_file: ...} ]"));
    };
    let mut pairs = Vec::new();
    for item in items {
        let element = field.element(item);
        let Value::Map(map) = &item.value else {
            reading.report.error(element.problem(wrong(&item.value)));
            continue;
        };
        let pair = certificate_pair(map, &element);
        pairs.extend(reading.report.check(pair));
    }
    Ok(pairs)
}

fn certificate_pair(map: &Map, element: &Field<'_>) -> Result<(PathBuf, PathBuf), Problem> {
    let (mut cert, mut key) = (None, None);
    for entry in fields(map) {
        match entry.name.as_str() {
            "cert_file" => cert = file(&entry)?,
            "key_file" => key = file(&entry)?,
            _ => entry.unknown()?,
        }
    }
    cert.zip(key).ok_or_else(|| {
        element.problem(
            "error parsing certificates config: both 'cert_file' and 'cert_key' options are required",
        )
    })
}

/// Names from a list: the supported ones and the insecure ones. Others that Go knows are dropped with a warning,
/// as long as something is left.
fn known_names(
    field: &Field<'_>,
    what: &str,
    known: impl Fn(&str) -> Option<Known>,
    reading: &mut Reading<'_>,
) -> Result<(Vec<String>, Vec<String>), Problem> {
    let items = field.array()?;
    if items.is_empty() {
        return Err(field.problem(format!("error parsing tls config, '{}' cannot be empty", field.name)));
    }
    let (mut supported, mut insecure, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
    for item in items {
        let element = field.element(item);
        let name = element.string()?;
        match known(name) {
            Some(Known::Supported) => supported.push(name.to_owned()),
            Some(Known::LeftOut) => dropped.push(name.to_owned()),
            Some(Known::Insecure) => insecure.push(name.to_owned()),
            None => {
                return Err(element
                    .problem(format!("unrecognized {what} {name}"))
                    .remedy("natsd --help_tls lists the names"));
            }
        }
    }
    dropped.extend(insecure.iter().cloned());
    if dropped.is_empty() {
        return Ok((supported, insecure));
    }
    let text = format!("natsd has no {what} {}", dropped.join(", "));
    if supported.is_empty() && insecure.is_empty() {
        return Err(field.problem(text).remedy("natsd --help_tls lists those it has"));
    }
    reading.report.warn(field.problem(text).remedy("remove the name; the others are used"));
    Ok((supported, insecure))
}

fn min_version(field: &Field<'_>) -> Result<TlsVersion, Problem> {
    let problem = match &field.node.value {
        Value::String(version) => match version.as_str() {
            "1.2" => return Ok(TlsVersion::V1_2),
            "1.3" => return Ok(TlsVersion::V1_3),
            "1.0" | "1.1" => format!("error parsing tls config: unsupported TLS version: TLS {version}"),
            _ => format!("error parsing tls config: unknown version: {version}"),
        },
        other => format!("error parsing tls config: 'min_version' wrong type: {}", other.kind()),
    };
    Err(field.problem(problem).remedy("write \"1.2\" or \"1.3\", in quotes"))
}

fn handshake_first(field: &Field<'_>) -> Result<HandshakeFirst, Problem> {
    let text = match &field.node.value {
        Value::Bool(true) => return Ok(HandshakeFirst::Always),
        Value::Bool(false) => return Ok(HandshakeFirst::No),
        Value::String(text) => text,
        other => {
            let found = other.go_type();
            return Err(
                field.problem(format!("field {:?} should be a boolean or a string, got {found}", field.key))
            );
        }
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" => Ok(HandshakeFirst::Always),
        "false" | "off" => Ok(HandshakeFirst::No),
        "auto" | "auto_fallback" => Ok(HandshakeFirst::Auto(HANDSHAKE_FIRST_AUTO)),
        _ => match duration::parse(text) {
            Ok(wait) if !wait.negative => Ok(HandshakeFirst::Auto(wait.size)),
            _ => Err(field
                .problem(format!("field {:?}'s value {text:?} is invalid", field.key))
                .remedy("use true, false, \"auto\" or a duration such as \"100ms\"")),
        },
    }
}

fn pinned_certs(field: &Field<'_>) -> Result<Vec<String>, Problem> {
    const WHAT: &str = "hex-encoded sha256 of DER encoded SubjectPublicKeyInfo";
    let Value::Array(items) = &field.node.value else {
        return Err(field
            .problem(format!("error parsing tls config, expected 'pinned_certs' to be a list of {WHAT}")));
    };
    let check = |item| {
        let element = field.element(item);
        let pin = element.string()?.to_ascii_lowercase();
        if pin.len() == PINNED_CERT_LEN && pin.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(pin);
        }
        Err(element
            .problem(format!("error parsing tls config, 'pinned_certs' key {pin} does not look like {WHAT}")))
    };
    items.iter().map(check).collect()
}
