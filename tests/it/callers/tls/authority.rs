//! Certificates made on the spot.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Validity {
    /// Until 2020.
    Past,
    /// For centuries.
    Now,
    /// From 2900 on.
    Future,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no name is a good name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, key()).expect("a new key can sign"))
    }

    /// Its own certificate, as PEM.
    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A certificate with these names and addresses, and with 127.0.0.1, where the tests' servers listen.
    pub(crate) fn sign(&self, names: &[&str], validity: Validity) -> Signed {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a good name");
        params.subject_alt_names.extend(names.iter().map(|name| san(name)));
        let (from, to) = match validity {
            Validity::Past => (2000, 2020),
            Validity::Now => (2000, 2900),
            Validity::Future => (2900, 2950),
        };
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        let key = key();
        let certificate = params.signed_by(&key, &self.0).expect("an authority can sign");
        Signed { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("the operating system gives random bytes")
}

fn san(name: &str) -> SanType {
    let ascii = "a test's name is ASCII";
    if let Ok(address) = name.parse() {
        SanType::IpAddress(address)
    } else if name.contains("://") {
        SanType::URI(name.try_into().expect(ascii))
    } else {
        SanType::DnsName(name.try_into().expect(ascii))
    }
}
