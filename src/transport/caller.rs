//! Whether a call is let through: its credential, and what the callers file says of it.

use std::sync::Arc;

use http::{HeaderMap, Request, header::AUTHORIZATION};

use super::{certificate::Shown, listener::Origin};
use crate::{
    callers::{Caller, Credential, Directory, Refused, San},
    domain::Quota,
    reload::Live,
};

/// What every probe may call without a credential.
const HEALTH: &str = "/grpc.health.v1.Health/";
const SCHEME: &str = "bearer";

/// Who is let through.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Whoever can connect; all of them are this one caller.
    Open(Caller),
    /// Callers with a credential, for their own methods.
    Callers(Live<Directory>),
}

/// What a connection knows of its peer: where it is, and its certificate, if it has one with names.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) origin: Origin,
    pub(crate) certificate: Option<Arc<Shown>>,
}

// === impl Peer ===

impl Peer {
    /// The names that its certificate proves.
    fn proven(&self) -> &[San] {
        self.certificate.as_ref().map(|shown| shown.proven()).unwrap_or_default()
    }

    /// The names in its certificate.
    pub(super) fn named(&self) -> &[San] {
        self.certificate.as_ref().map(|shown| shown.named()).unwrap_or_default()
    }
}

// === impl Gate ===

impl Gate {
    /// The names of those who may call the method at `path` now; the empty one for whoever can connect.
    #[must_use]
    pub fn allowed(&self, path: &str) -> Vec<String> {
        match self {
            Self::Open(anyone) => vec![anyone.name.to_string()],
            Self::Callers(directory) => directory.get().allowed(path).map(str::to_owned).collect(),
        }
    }

    /// Lets a request through, with its [`Caller`] in its extensions and without its credential.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Refused> {
        if is_probe(request.uri().path()) {
            return Ok(());
        }
        let caller = match self {
            Self::Open(anyone) => anyone.clone(),
            Self::Callers(directory) => {
                let caller = admit(&directory.get(), request);
                // Nothing behind this point has use for it, so nothing can log it.
                request.headers_mut().remove(AUTHORIZATION);
                caller?
            }
        };
        request.extensions_mut().insert(caller);
        Ok(())
    }
}

/// Who issues a token by this call, where callers are known.
pub(super) fn issuer<T>(request: &tonic::Request<T>) -> Option<String> {
    let caller = request.extensions().get::<Caller>()?;
    (!caller.name.is_empty()).then(|| caller.name.to_string())
}

/// Whether the call asks for health.
pub(super) fn is_probe(path: &str) -> bool {
    path.starts_with(HEALTH)
}

/// What a call's look-ups are charged to.
pub(super) fn quota<T>(request: &tonic::Request<T>) -> Option<Arc<Quota>> {
    request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.quota))
}

/// What a call's revocations of what is not active are charged to.
pub(super) fn revocation_quota<T>(request: &tonic::Request<T>) -> Option<Arc<Quota>> {
    request.extensions().get::<Caller>().map(|caller| Arc::clone(&caller.revocations))
}

fn admit<B>(directory: &Directory, request: &Request<B>) -> Result<Caller, Refused> {
    let path = request.uri().path();
    let sans = request.extensions().get::<Peer>().map(Peer::proven).unwrap_or_default();
    let credential = match key(request.headers()) {
        Ok(Some(key)) => Some(Credential::Key(key)),
        Ok(None) => Some(Credential::Certificate(sans)).filter(|_| !sans.is_empty()),
        Err(Malformed) => None,
    };
    directory.admit(credential, path).inspect_err(|refused| match refused {
        Refused::Unauthenticated => tracing::debug!(path, "a call without a caller's credential is refused"),
        Refused::NotAllowed(Caller { name, .. }) => {
            tracing::debug!(path, caller = &**name, "a call is refused: the method is not among the caller's");
        }
    })
}

/// A header that is there and is not one key. A certificate does not make up for it.
struct Malformed;

/// The key of the one `authorization: Bearer KEY`; `None` without the header.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Malformed> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let (scheme, key) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Malformed)?;
    let is_one_key = scheme.eq_ignore_ascii_case(SCHEME) && !key.is_empty() && values.next().is_none();
    if is_one_key { Ok(Some(key)) } else { Err(Malformed) }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(values: &[&'static str]) -> Result<Option<String>, ()> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a header"));
        }
        key(&headers).map(|key| key.map(str::to_owned)).map_err(|Malformed| ())
    }

    #[test]
    fn a_key_is_the_one_bearer_credential() {
        assert_eq!(key_of(&[]), Ok(None));
        assert_eq!(key_of(&["Bearer abc"]), Ok(Some("abc".to_owned())));
        assert_eq!(key_of(&["bEARER abc"]), Ok(Some("abc".to_owned())));
        for values in [
            &[""][..],
            &["Bearer"],
            &["Bearer "],
            &["abc"],
            &["Basic abc"],
            &["Token abc"],
            &["Bearer abc", "Bearer abc"],
            &["Bearer abc", ""],
            &["Bearer \u{e9}"],
        ] {
            assert_eq!(key_of(values), Err(()), "{values:?}");
        }
    }

    #[test]
    fn only_healths_own_methods_are_probes() {
        assert!(is_probe("/grpc.health.v1.Health/Check"));
        for path in ["/grpc.health.v1.HealthX/Check", "/grpc.health.v2.Health/Check", "grpc.health.v1.Health/Check"] {
            assert!(!is_probe(path), "{path}");
        }
    }
}
