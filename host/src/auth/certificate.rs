//! What a client's certificate says about who it is (AUTH-020).
//!
//! Reads names out of DER. Not here: whether the certificate is to be trusted (`tls`).

use thiserror::Error;
use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::distinguished_name::DistinguishedName;

/// The names in a certificate, as users are called after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    pub emails: Vec<String>,
    pub dns_names: Vec<String>,
    pub uris: Vec<String>,
    /// `None`: the subject has attributes that have no short name.
    pub distinguished_name: Option<DistinguishedName>,
    /// `CN=joe,O=acme`: known attributes, in the reference's fixed order.
    pub subject: String,
    /// Likewise.
    pub issuer: String,
    /// `subject`, then the domain components: `CN=joe,DC=com,DC=acme`. `None`: it has none.
    pub subject_with_domain: Option<String>,
}

#[derive(Debug, Error)]
#[error("the client's certificate cannot be read: {0}")]
pub struct CertificateError(String);

impl CertificateFacts {
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| CertificateError(error.to_string()))?;
        let subject = Subject::read(certificate.subject());
        let mut facts = Self {
            distinguished_name: subject.distinguished_name(),
            subject_with_domain: subject.with_domain(),
            subject: subject.to_text(),
            issuer: Subject::read(certificate.issuer()).to_text(),
            ..Self::default()
        };
        for extension in certificate.extensions() {
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
                continue;
            };
            for name in &names.general_names {
                match name {
                    GeneralName::RFC822Name(email) => facts.emails.push((*email).to_owned()),
                    GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
                    GeneralName::URI(uri) => facts.uris.push((*uri).to_owned()),
                    _ => {}
                }
            }
        }
        Ok(facts)
    }

    /// E-mail addresses first, then host names, then URIs.
    pub fn alternative_names(&self) -> impl Iterator<Item = &str> {
        self.emails.iter().chain(&self.dns_names).chain(&self.uris).map(String::as_str)
    }
}

/// A subject's parts in the order of the certificate; each a set of object id and value. `None`: the
/// value is no text.
struct Subject(Vec<Vec<(String, Option<String>)>>);

const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";

/// Short names by object id, in the order in which Go writes a subject (as of Go 1.27).
const SHORT_NAMES: [(&str, &str); 9] = [
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.3", "CN"),
    ("2.5.4.11", "OU"),
    ("2.5.4.10", "O"),
    ("2.5.4.17", "POSTALCODE"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.6", "C"),
];

impl Subject {
    fn read(name: &X509Name<'_>) -> Self {
        let attributes = |part: &x509_parser::x509::RelativeDistinguishedName<'_>| {
            part.iter().map(|one| (one.attr_type().to_id_string(), text_of(one.attr_value()))).collect()
        };
        Self(name.iter_rdn().map(attributes).collect())
    }

    fn distinguished_name(&self) -> Option<DistinguishedName> {
        let named = |(id, value): &(String, Option<String>)| {
            let (_, name) =
                SHORT_NAMES.iter().chain([&(DOMAIN_COMPONENT, "DC")]).find(|(known, _)| known == id)?;
            Some((*name, value.clone()?))
        };
        let parts: Option<Vec<Vec<_>>> = self.0.iter().map(|part| part.iter().map(named).collect()).collect();
        parts.map(DistinguishedName::from_certificate)
    }

    /// As Go's `pkix.Name` prints it: values of a kind together, of serial number and common name the last.
    fn to_text(&self) -> String {
        let mut text = String::new();
        for (id, name) in SHORT_NAMES {
            let mut values: Vec<&str> = self.values(id).collect();
            if matches!(name, "CN" | "SERIALNUMBER") {
                values = values.pop().filter(|last| !last.is_empty()).into_iter().collect();
            }
            for (at, value) in values.iter().enumerate() {
                text.push_str(match (text.is_empty(), at) {
                    (true, _) => "",
                    (false, 0) => ",",
                    (false, _) => "+",
                });
                text.push_str(name);
                text.push('=');
                push_escaped(&mut text, value);
            }
        }
        text
    }

    fn with_domain(&self) -> Option<String> {
        let mut text = self.to_text();
        let len = text.len();
        for value in self.values(DOMAIN_COMPONENT) {
            text.push_str(",DC=");
            text.push_str(value);
        }
        (text.len() > len).then_some(text)
    }

    fn values<'s>(&'s self, id: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().flatten().filter(move |(of, _)| of == id).filter_map(|(_, value)| value.as_deref())
    }
}

fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        let escape = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if escape {
            text.push('\\');
        }
        text.push(c);
    }
}

/// Strings of all the kinds that certificates use.
fn text_of(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::T61String => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        Tag::BmpString => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<_, _>>().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// DC=com, DC=acme, C=US, O=`Ac, me`, OU=one, OU=two, CN=`joe <x>`, serialNumber=42; two e-mails, a
    /// host name, a URI and an address.
    const FULL: &str = concat!(
        "MIICejCCAiCgAwIBAgIUFwaUmL5EL/re1rwD7r5o+zggsWgwCgYIKoZIzj0EAwIwgYQxEzARBgoJkiaJk/IsZAEZFgNjb20xFDAS",
        "BgoJkiaJk/IsZAEZFgRhY21lMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGQWMsIG1lMQwwCgYDVQQLDANvbmUxDDAKBgNVBAsMA3R3",
        "bzEQMA4GA1UEAwwHam9lIDx4PjELMAkGA1UEBRMCNDIwHhcNMjYxMTI0MDAwMTQyWhcNMzYxMTIxMDAwMTQyWjCBhDETMBEGCgmS",
        "JomT8ixkARkWA2NvbTEUMBIGCgmSJomT8ixkARkWBGFjbWUxCzAJBgNVBAYTAlVTMQ8wDQYDVQQKDAZBYywgbWUxDDAKBgNVBAsM",
        "A29uZTEMMAoGA1UECwwDdHdvMRAwDgYDVQQDDAdqb2UgPHg+MQswCQYDVQQFEwI0MjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA",
        "BBNbZkYisDwEEc0AElac6yn7c1vPX52HlYL9W0t8pfdVGrawW2F4QqtQLlnG9fD/Jb7tApKPz1jb3tSf4CGjsqOjbjBsMEsGA1Ud",
        "EQREMEKBDGpvZUBhY21lLmNvbYELajJAYWNtZS5jb22CDGpvZS5hY21lLmNvbYYRc3BpZmZlOi8vYWNtZS9qb2WHBH8AAAEwHQYD",
        "VR0OBBYEFGkou0YMmcHH/K+Otcp0DmzrL0HUMAoGCCqGSM49BAMCA0gAMEUCIH94d1zO9EPICsA+kcfCP+YVaPwra8txrtNFDs1g",
        "x4v8AiEA8nwDQd+RjbE2MjDyMFqA7mVZKB/IH85DkA4AuqzRGP4=",
    );

    /// emailAddress=a@b, CN=odd; no other names.
    const ODD: &str = concat!(
        "MIIBmDCCAT+gAwIBAgIUb5HZ30KxhDZs3fEaoYyhneRgppUwCgYIKoZIzj0EAwIwIjESMBAGCSqGSIb3DQEJARYDYUBiMQwwCgYD",
        "VQQDDANvZGQwHhcNMjYxMTI0MDAwMTQyWhcNMzYxMTIxMDAwMTQyWjAiMRIwEAYJKoZIhvcNAQkBFgNhQGIxDDAKBgNVBAMMA29k",
        "ZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOUDbyDJrSlKnVdSgOCU3dteETYDr2QXDAOiF68f92KDQYI3mJYpSDD384WNS01S",
        "ET3k9Y+5qTpjA/HZ3jZVdwSjUzBRMB0GA1UdDgQWBBSYHyA054NdDSyXhhOd1cqCAxOvkjAfBgNVHSMEGDAWgBSYHyA054NdDSyX",
        "hhOd1cqCAxOvkjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIEeJQDXIn6nJA7z8gSFTviiwRM9Xz3Bf538V3bWS",
        "3HKNAiANMjB2MJjeKKggXYwfZ1ntktKiI/rbWzvqLBoukAVNDQ==",
    );

    fn facts(base64: &str) -> CertificateFacts {
        let der = data_encoding::BASE64.decode(base64.as_bytes()).unwrap();
        CertificateFacts::from_der(&der).unwrap()
    }

    #[test]
    fn names_are_read_as_the_reference_reads_them() {
        // AUTH-020; subjects are as Go prints them.
        let facts = facts(FULL);
        assert_eq!(
            facts.alternative_names().collect::<Vec<_>>(),
            ["joe@acme.com", "j2@acme.com", "joe.acme.com", "spiffe://acme/joe"]
        );
        let subject = r"SERIALNUMBER=42,CN=joe \<x\>,OU=one+OU=two,O=Ac\, me,C=US";
        assert_eq!(facts.subject, subject);
        assert_eq!(facts.subject_with_domain, Some(format!("{subject},DC=com,DC=acme")));
        let written = r"serialNumber=42,CN=joe \<x\>,OU=two,OU=one,O=Ac\, me,C=US,DC=acme,DC=com";
        assert_eq!(facts.distinguished_name, DistinguishedName::parse(written));
    }

    #[test]
    fn attributes_without_a_short_name_leave_the_plain_subject() {
        let facts = facts(ODD);
        assert_eq!(facts.alternative_names().count(), 0);
        assert_eq!((facts.subject.as_str(), facts.subject_with_domain), ("CN=odd", None));
        assert_eq!(facts.distinguished_name, None);
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        for der in [&b""[..], b"\x30", &[0xff; 100]] {
            assert!(CertificateFacts::from_der(der).is_err());
        }
    }
}
