//! The callers, found by their credential.

use std::{collections::BTreeMap, fmt, num::NonZeroU32, sync::Arc};

use sha2::{Digest as _, Sha256};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};

use super::Methods;
use crate::domain::{Quota, Share};

/// Who makes a call; in the extensions of its request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the callers file names it; empty where callers are not known.
    pub name: Arc<str>,
    /// What its look-ups are charged to.
    pub quota: Arc<Quota>,
    /// What its revocations are charged to: apart, so that whoever floods a gateway with made-up tokens does not keep it
    /// from ending one.
    pub revocations: Arc<Quota>,
}

/// A name in a certificate, and in the callers file. The two kinds never equal each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    /// A DNS name, in lower case.
    Dns(String),
    /// A URI, such as a SPIFFE identity.
    Uri(String),
}

/// What a call proves its caller's name by.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// The key of an `authorization: Bearer` header.
    Key(&'a str),
    /// The names in a certificate that was verified.
    Certificate(&'a [San]),
}

/// Why a call is not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody has this credential.
    Unauthenticated,
    /// This caller may not use the method.
    NotAllowed(Caller),
}

/// All callers.
#[derive(Debug, Default)]
pub struct Directory {
    entries: Vec<Entry>,
    keys: Vec<(KeyDigest, u32)>,
    sans: BTreeMap<San, u32>,
}

#[derive(Debug)]
struct Entry {
    caller: Caller,
    methods: Methods,
}

/// SHA-256 of a key. Keys are long and random, so that a faster hash than for passwords will do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyDigest([u8; 32]);

/// The index that stands for nobody.
const NOBODY: u32 = u32::MAX;

// === impl Caller ===

impl Caller {
    /// A caller of this name that may have so many look-ups a second find no active token; `None` for any number.
    #[must_use]
    pub fn new(name: &str, max_inactive_per_second: Option<NonZeroU32>) -> Self {
        Self::with_share(name, max_inactive_per_second, Share::Fair)
    }

    /// Whoever can connect, where callers are not known.
    #[must_use]
    pub fn anyone(max_inactive_per_second: Option<NonZeroU32>) -> Self {
        Self::with_share("", max_inactive_per_second, Share::Whole)
    }

    fn with_share(name: &str, limit: Option<NonZeroU32>, share: Share) -> Self {
        let quota = || Arc::new(Quota::per_second(limit, share));
        Self { name: name.into(), quota: quota(), revocations: quota() }
    }

    /// The same caller as `former`, with the limits that it has now: what it owes it still owes.
    fn succeed(&mut self, former: &Self) {
        for (quota, former) in [(&mut self.quota, &former.quota), (&mut self.revocations, &former.revocations)] {
            former.follow(quota);
            *quota = Arc::clone(former);
        }
    }
}

/// A name is one caller's alone.
impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Caller {}

// === impl San ===

impl San {
    /// A DNS name.
    #[must_use]
    pub fn dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }

    /// A URI.
    #[must_use]
    pub fn uri(uri: &str) -> Self {
        Self::Uri(uri.to_owned())
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Dns(name) | Self::Uri(name)) = self;
        f.write_str(name)
    }
}

// === impl KeyDigest ===

impl KeyDigest {
    pub(super) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(redacted)")
    }
}

// === impl Credential ===

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(_) => f.write_str("Key(redacted)"),
            Self::Certificate(sans) => f.debug_tuple("Certificate").field(sans).finish(),
        }
    }
}

// === impl Directory ===

impl Directory {
    /// Adds a caller. The credentials are nobody else's; `file` has seen to that.
    pub(super) fn add(
        &mut self,
        caller: Caller,
        methods: Methods,
        keys: impl IntoIterator<Item = KeyDigest>,
        sans: impl IntoIterator<Item = San>,
    ) {
        let index = u32::try_from(self.entries.len()).expect("a file names fewer callers");
        self.entries.push(Entry { caller, methods });
        self.keys.extend(keys.into_iter().map(|key| (key, index)));
        self.sans.extend(sans.into_iter().map(|san| (san, index)));
    }

    /// Takes over what callers of the same names owe, and leaves what those of this directory will.
    pub fn keep_debts(&mut self, known: &mut BTreeMap<Arc<str>, Caller>) {
        for Entry { caller, .. } in &mut self.entries {
            if let Some(former) = known.get(&caller.name) {
                caller.succeed(former);
            }
        }
        *known = self.entries.iter().map(|entry| (Arc::clone(&entry.caller.name), entry.caller.clone())).collect();
    }

    /// How many callers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The caller, when it may call the method at `path`.
    ///
    /// # Errors
    /// When nobody has the credential, or its caller may not use the method.
    pub fn admit(&self, credential: Option<Credential<'_>>, path: &str) -> Result<Caller, Refused> {
        let entry = credential.and_then(|credential| self.find(credential)).ok_or(Refused::Unauthenticated)?;
        if entry.methods.allow(path) {
            Ok(entry.caller.clone())
        } else {
            Err(Refused::NotAllowed(entry.caller.clone()))
        }
    }

    /// The names of those who may call the method at `path`.
    pub fn allowed(&self, path: &str) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| entry.methods.allow(path)).map(|entry| &*entry.caller.name)
    }

    fn find(&self, credential: Credential<'_>) -> Option<&Entry> {
        let index = match credential {
            Credential::Key(key) => self.by_key(KeyDigest::of(key)),
            Credential::Certificate(sans) => self.by_sans(sans)?,
        };
        self.entries.get(usize::try_from(index).expect("a u32 fits"))
    }

    /// Looks at every key, in the same time whichever it is.
    fn by_key(&self, given: KeyDigest) -> u32 {
        self.keys.iter().fold(NOBODY, |found, (key, index)| {
            u32::conditional_select(&found, index, key.0.as_slice().ct_eq(given.0.as_slice()))
        })
    }

    /// A certificate with the names of two callers is nobody's.
    fn by_sans(&self, sans: &[San]) -> Option<u32> {
        let mut found = sans.iter().filter_map(|san| self.sans.get(san)).copied();
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;

    const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";
    const REVOKE: &str = "/tokenward.v1.TokenService/Revoke";

    fn directory() -> Directory {
        let mut directory = Directory::default();
        let authenticate = Methods::Only(BTreeSet::from(["TokenService/Authenticate".to_owned()]));
        directory.add(
            Caller::new("gateway", None),
            authenticate,
            ["old", "new"].map(KeyDigest::of),
            [San::dns("GW.example.org")],
        );
        directory.add(
            Caller::new("admin", None),
            Methods::All,
            [KeyDigest::of("admin")],
            [San::uri("spiffe://example.org/admin")],
        );
        directory
    }

    fn name(credential: Credential<'_>, path: &str) -> Result<String, Refused> {
        directory().admit(Some(credential), path).map(|caller| caller.name.to_string())
    }

    #[test]
    fn each_of_a_callers_keys_proves_its_name_and_no_other_does() {
        assert_eq!(name(Credential::Key("old"), AUTHENTICATE), Ok("gateway".to_owned()));
        assert_eq!(name(Credential::Key("new"), AUTHENTICATE), Ok("gateway".to_owned()));
        assert_eq!(name(Credential::Key("admin"), REVOKE), Ok("admin".to_owned()));
        for key in ["", "ol", "oldd", "OLD", "gateway"] {
            assert_eq!(name(Credential::Key(key), AUTHENTICATE), Err(Refused::Unauthenticated), "{key}");
        }
        assert_eq!(directory().admit(None, AUTHENTICATE), Err(Refused::Unauthenticated));
    }

    #[test]
    fn a_caller_may_use_its_own_methods_only() {
        let gateway = Caller::new("gateway", None);
        assert_eq!(name(Credential::Key("old"), REVOKE), Err(Refused::NotAllowed(gateway)));
    }

    #[test]
    fn what_a_caller_owes_it_still_owes_when_the_file_is_read_again() {
        let limited = |limit| {
            let mut directory = Directory::default();
            directory.add(Caller::new("gateway", NonZeroU32::new(limit)), Methods::All, [KeyDigest::of("key")], []);
            directory
        };
        let of = |directory: &Directory| directory.admit(Some(Credential::Key("key")), REVOKE).expect("it may");
        let (mut known, mut before, mut after) = (BTreeMap::new(), limited(1), limited(2));
        before.keep_debts(&mut known);
        (0..100).for_each(|_| of(&before).quota.charge());
        let owed = of(&before).quota.exhausted().expect("much is owed");
        after.keep_debts(&mut known);
        let still = of(&after).quota.exhausted().expect("it is not forgiven");
        assert!(owed < still + Duration::from_secs(10), "{owed:?} {still:?}");
        (0..100).for_each(|_| of(&after).quota.charge());
        let more = of(&after).quota.exhausted().expect("more is owed");
        assert!(more < still + Duration::from_secs(51), "by the new limit: {more:?}");
        assert_eq!(of(&after).revocations.exhausted(), None, "revocations are charged apart");
        let mut other = Directory::default();
        other.add(Caller::new("other", NonZeroU32::new(1)), Methods::All, [KeyDigest::of("key")], []);
        other.keep_debts(&mut known);
        assert_eq!(of(&other).quota.exhausted(), None, "another name");
    }

    #[test]
    fn a_certificate_is_known_by_one_exact_name() {
        let of = |sans: &[San]| name(Credential::Certificate(sans), AUTHENTICATE);
        assert_eq!(of(&[San::dns("other.example.org"), San::dns("gw.EXAMPLE.org")]), Ok("gateway".to_owned()));
        assert_eq!(of(&[San::uri("spiffe://example.org/admin")]), Ok("admin".to_owned()));
        for sans in [
            &[][..],
            &[San::dns("x.gw.example.org")],
            &[San::dns("*.example.org")],
            &[San::uri("gw.example.org")],
            &[San::dns("spiffe://example.org/admin")],
            &[San::uri("spiffe://example.org/admin/")],
            &[San::uri("spiffe://EXAMPLE.org/admin")],
            &[San::dns("gw.example.org"), San::uri("spiffe://example.org/admin")],
        ] {
            assert_eq!(of(sans), Err(Refused::Unauthenticated), "{sans:?}");
        }
    }

    #[test]
    fn no_key_is_shown() {
        let shown = format!("{:?} {:?}", directory(), Credential::Key("s3cret"));
        assert!(!shown.contains("s3cret"));
        assert!(shown.contains("KeyDigest(redacted)"), "{shown}");
    }
}
