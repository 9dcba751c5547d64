//! Which users a client's certificate stands for with `verify_and_map` (AUTH-020).
//!
//! Not here: the lookup among the users, and whether they may connect this way (`auth`).

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::dn::{Attribute, Dn};

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentity {
    emails: Vec<String>,
    dns_names: Vec<String>,
    uris: Vec<String>,
    /// `None` if the subject has an attribute that no DN in a config can name.
    dn: Option<Dn>,
    /// The subject as Go's pkix prints it: known attributes only, in a fixed order.
    subject: String,
    domain_components: Vec<String>,
}

/// One way to find the user. The first that finds one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// The user of this name.
    Name(String),
    /// The user whose name is this DN.
    Dn(Dn),
    /// The user whose name has the parts of this DN in whatever order.
    DnInAnyOrder(Dn),
}

impl Candidate {
    /// Whether a user's name is the one looked for.
    pub fn matches(&self, user: &str) -> bool {
        match self {
            Candidate::Name(name) => name == user,
            Candidate::Dn(dn) => Dn::parse(user).is_some_and(|user| dn.equals(&user)),
            Candidate::DnInAnyOrder(dn) => Dn::parse(user).is_some_and(|user| dn.matches_in_any_order(&user)),
        }
    }
}

impl PeerIdentity {
    /// Reads the first certificate of a client's chain (DER). `None` if it cannot be parsed.
    pub fn parse(cert: &[u8]) -> Option<Self> {
        let (_, cert) = X509Certificate::from_der(cert).ok()?;
        let subject = cert.subject();
        let mut identity = PeerIdentity {
            dn: dn(subject),
            subject: pkix_string(subject),
            domain_components: values(subject, DOMAIN_COMPONENT),
            ..PeerIdentity::default()
        };
        let names = cert.subject_alternative_name().ok().flatten();
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::RFC822Name(email) => identity.emails.push((*email).to_owned()),
                GeneralName::DNSName(name) => identity.dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        Some(identity)
    }

    /// Empty if the certificate names nobody.
    pub fn candidates(&self) -> Vec<Candidate> {
        let alternatives = self.emails.iter().chain(&self.dns_names).chain(&self.uris);
        let mut candidates: Vec<_> = alternatives.cloned().map(Candidate::Name).collect();
        if let Some(dn) = &self.dn {
            candidates.push(Candidate::Dn(dn.clone()));
            candidates.push(Candidate::DnInAnyOrder(dn.clone()));
        }
        if !self.domain_components.is_empty() {
            let components: Vec<_> = self.domain_components.iter().map(|dc| format!("DC={dc}")).collect();
            candidates.push(Candidate::Name(format!("{},{}", self.subject, components.join(","))));
        }
        if !self.subject.is_empty() {
            candidates.push(Candidate::Name(self.subject.clone()));
        }
        candidates
    }

    /// The DNS names, for `verify_cert_and_check_known_urls` (AUTH-023).
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// For the log: `User in cert ["CN=joe,O=acme"], not found`.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

type Known = (&'static str, &'static str);

/// Object identifiers with their names, in the order in which Go prints them.
const KNOWN: [Known; 9] = [
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

const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";

/// The subject, the last part first, as a user writes it.
fn dn(subject: &X509Name<'_>) -> Option<Dn> {
    let attribute = |attribute: &AttributeTypeAndValue<'_>| {
        let oid = attribute.attr_type().to_id_string();
        let is_component = oid == DOMAIN_COMPONENT;
        let known = KNOWN.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
        let name = known.or(is_component.then_some("DC"))?;
        Some(Attribute::new(name, attribute.as_str().ok()?))
    };
    let rdns: Vec<_> = subject.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect()).collect();
    let rdns = rdns.into_iter().rev().collect::<Option<Vec<Vec<_>>>>()?;
    (!rdns.is_empty()).then(|| Dn::new(rdns))
}

fn values(subject: &X509Name<'_>, oid: &str) -> Vec<String> {
    let attributes = subject.iter_attributes().filter(|a| a.attr_type().to_id_string() == oid);
    attributes.filter_map(|a| a.as_str().ok()).map(str::to_owned).collect()
}

/// Several values of a type are joined by `+`; of a common name and a serial number the last counts.
fn pkix_string(subject: &X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for (oid, name) in KNOWN {
        let mut values = values(subject, oid);
        if matches!(name, "CN" | "SERIALNUMBER") {
            values.drain(..values.len().saturating_sub(1));
            values.retain(|value| !value.is_empty());
        }
        if !values.is_empty() {
            let values: Vec<_> = values.iter().map(|value| format!("{name}={}", escape(value))).collect();
            parts.push(values.join("+"));
        }
    }
    parts.join(",")
}

fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for (at, c) in value.char_indices() {
        let is_special = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == value.len() - 1,
            '#' => at == 0,
            _ => false,
        };
        if is_special {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    const DC: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 25];
    const UID: &[u64] = &[0, 9, 2342, 19_200_300, 100, 1, 1];

    fn identity(subject: &[(DnType, &str)], alternatives: Vec<SanType>) -> PeerIdentity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (name, value) in subject {
            params.distinguished_name.push(name.clone(), *value);
        }
        params.subject_alt_names = alternatives;
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PeerIdentity::parse(cert.der()).unwrap()
    }

    /// The first of `users` that the certificate stands for, as auth looks them up.
    fn user_of<'u>(identity: &PeerIdentity, users: &[&'u str]) -> Option<&'u str> {
        let candidates = identity.candidates();
        candidates.iter().find_map(|candidate| users.iter().find(|user| candidate.matches(user)).copied())
    }

    #[test]
    fn alternative_names_come_first_by_kind() {
        let subject = [(DnType::CommonName, "joe")];
        let alternatives = vec![
            SanType::URI("urn:x:y".try_into().unwrap()),
            SanType::DnsName("d.x.y".try_into().unwrap()),
            SanType::Rfc822Name("j@x.y".try_into().unwrap()),
        ];
        let identity = identity(&subject, alternatives);
        assert_eq!(user_of(&identity, &["CN=joe", "urn:x:y", "d.x.y", "j@x.y"]), Some("j@x.y"));
        assert_eq!(user_of(&identity, &["CN=joe", "urn:x:y", "d.x.y"]), Some("d.x.y"));
        assert_eq!(user_of(&identity, &["CN=joe", "urn:x:y"]), Some("urn:x:y"));
        assert_eq!(user_of(&identity, &["joe", "CN=joe"]), Some("CN=joe"));
        assert_eq!(user_of(&identity, &["joe"]), None);
    }

    #[test]
    fn a_subject_is_matched_in_order_before_out_of_order() {
        // Each case was tried with nats-server.
        let subject = [
            (DnType::CountryName, "US"),
            (DnType::OrganizationName, "acme"),
            (DnType::OrganizationalUnitName, "x"),
            (DnType::CommonName, "joe"),
        ];
        let identity = identity(&subject, Vec::new());
        let (reversed, as_is) = ("CN=joe,OU=x,O=acme,C=US", "C=US,O=acme,OU=x,CN=joe");
        assert_eq!(user_of(&identity, &[as_is, reversed]), Some(reversed));
        assert_eq!(user_of(&identity, &[as_is]), Some(as_is));
        assert_eq!(user_of(&identity, &["cn=joe, ou=x, o=acme, c=US"]), Some("cn=joe, ou=x, o=acme, c=US"));
        assert_eq!(user_of(&identity, &["CN=JOE,OU=x,O=acme,C=US", "CN=joe"]), None);
    }

    #[test]
    fn domain_components_may_be_named_or_left_out() {
        let subject = [
            (DnType::CustomDnType(DC.to_vec()), "example"),
            (DnType::OrganizationName, "acme"),
            (DnType::CommonName, "joe"),
        ];
        let identity = identity(&subject, Vec::new());
        assert_eq!(user_of(&identity, &["CN=joe,O=acme,DC=example"]), Some("CN=joe,O=acme,DC=example"));
        assert_eq!(user_of(&identity, &["CN=joe,O=acme"]), Some("CN=joe,O=acme"));
    }

    #[test]
    fn attributes_without_a_name_are_left_out_of_the_subject() {
        let subject = [
            (DnType::CustomDnType(UID.to_vec()), "u1"),
            (DnType::OrganizationName, "acme, inc"),
            (DnType::CommonName, " #joe"),
        ];
        let identity = identity(&subject, Vec::new());
        assert_eq!(identity.subject(), r"CN=\ #joe,O=acme\, inc");
        assert_eq!(user_of(&identity, &["CN=\\ #joe,O=acme\\, inc"]), Some("CN=\\ #joe,O=acme\\, inc"));
        assert_eq!(user_of(&identity, &["CN=\\ #joe,O=acme\\, inc,UID=u1"]), None);
    }

    #[test]
    fn a_certificate_without_names_stands_for_nobody() {
        assert!(identity(&[], Vec::new()).candidates().is_empty());
        assert_eq!(PeerIdentity::parse(b"junk"), None);
    }
}
