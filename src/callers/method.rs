//! The methods that can be allowed: those of the contract, and Envoy's.

use std::{collections::BTreeSet, sync::LazyLock};

use prost_reflect::DescriptorPool;

use crate::proto::DESCRIPTORS;

/// The package whose methods callers are allowed; health needs no caller.
const PACKAGE: &str = "tokenward.v1";

/// Methods that the contract of another project has, by its package.
const OTHERS: [(&str, &str); 1] = [("envoy.service.auth.v3", "Authorization/Check")];

/// The methods that a caller may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    /// Every one, reflection too: an administrator.
    All,
    /// These, as `TokenService/Authenticate`.
    Only(BTreeSet<String>),
}

/// Every method there is, as `TokenService/Authenticate`.
pub(super) fn existing() -> &'static BTreeSet<String> {
    static EXISTING: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("build.rs wrote the descriptor set");
        let services: Vec<_> = pool.services().filter(|service| service.package_name() == PACKAGE).collect();
        let methods = services.iter().flat_map(|service| {
            service.methods().map(move |method| format!("{}/{}", service.name(), method.name())).collect::<Vec<_>>()
        });
        methods.chain(OTHERS.map(|(_, method)| method.to_owned())).collect()
    });
    &EXISTING
}

/// The contract's name of the method of a path, `TokenService/Authenticate`; `None` for a method of others.
#[must_use]
pub fn method(path: &str) -> Option<&'static str> {
    short(path).and_then(|name| existing().get(name)).map(String::as_str)
}

// === impl Methods ===

impl Methods {
    /// Whether a call of this path, `/tokenward.v1.TokenService/Authenticate`, is allowed.
    #[must_use]
    pub fn allow(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(methods) => short(path).is_some_and(|method| methods.contains(method)),
        }
    }
}

/// The path without its package, which is the right one.
fn short(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let of = |package: &str| path.strip_prefix(package)?.strip_prefix('.');
    of(PACKAGE).or_else(|| OTHERS.iter().find_map(|(package, method)| of(package).filter(|path| path == method)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_allowed_by_its_whole_path_only() {
        let gateway = Methods::Only(BTreeSet::from(["TokenService/Authenticate".to_owned()]));
        assert!(gateway.allow("/tokenward.v1.TokenService/Authenticate"));
        for path in [
            "/tokenward.v1.TokenService/AuthenticateX",
            "/tokenward.v1.TokenService/authenticate",
            "/tokenward.v1.TokenService/Revoke",
            "/tokenward.v2.TokenService/Authenticate",
            "//tokenward.v1.TokenService/Authenticate",
            "/tokenward.v1.TokenService/Authenticate/",
            "/TokenService/Authenticate",
            "TokenService/Authenticate",
            "",
        ] {
            assert!(!gateway.allow(path), "{path}");
            assert!(Methods::All.allow(path));
        }
    }

    #[test]
    fn envoys_method_is_its_own_and_no_other_of_its_package_is_allowed() {
        let envoy = Methods::Only(BTreeSet::from(["Authorization/Check".to_owned()]));
        assert!(envoy.allow("/envoy.service.auth.v3.Authorization/Check"));
        let both = Methods::Only(existing().clone());
        for path in ["/envoy.service.auth.v3.TokenService/Authenticate", "/envoy.service.auth.v2.Authorization/Check"] {
            assert!(!envoy.allow(path) && !both.allow(path), "{path}");
        }
        assert!(!envoy.allow("/tokenward.v1.TokenService/Authenticate"));
    }

    #[test]
    fn the_methods_are_those_of_the_contract() {
        assert!(existing().contains("TokenService/Authenticate"));
        assert!(existing().contains("StatusService/GetStatus"));
        assert!(existing().contains("Authorization/Check"));
        assert!(!existing().iter().any(|method| method.contains("Health")));
    }
}
