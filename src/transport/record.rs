//! Which calls the audit trail records, who made them, and how they ended.

use std::sync::Arc;

use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use super::{Door, caller::Peer, listener::Origin};
use crate::{
    audit::{self, Audit, Entry, Rejection, Source, Subject},
    callers::{self, Caller, Refused},
    domain::{AuditEvent, Outcome, What, Who},
    metrics::CallerRejection,
    proto::code,
    request::{self, RequestId},
};

/// The package of the methods that are recorded.
const PACKAGE: &str = "/tokenward.v1.";
/// Most of the names of a certificate, in bytes.
const MAX_NAMES_BYTES: usize = 512;

/// What a call of this path is recorded as; `None` for what changes nothing.
fn event(path: &str) -> Option<AuditEvent> {
    Some(match path.strip_prefix(PACKAGE)? {
        "TokenService/IssueToken" => AuditEvent::IssueToken,
        "TokenService/Revoke" => AuditEvent::Revoke,
        "TokenService/RevokeAll" => AuditEvent::RevokeAll,
        "TokenAdminService/UpdateToken" => AuditEvent::UpdateToken,
        "TokenAdminService/RotateToken" => AuditEvent::RotateToken,
        "UserService/UpsertUser" => AuditEvent::UpsertUser,
        "UserService/DeleteUser" => AuditEvent::DeleteUser,
        "CacheService/FlushCache" => AuditEvent::FlushCache,
        _ => return None,
    })
}

/// Begins the record of a call that was let through, if it has one; the method finds its [`Subject`] in the request.
pub(super) fn begin<B>(audit: &Audit, request: &mut Request<B>) -> Option<Box<Entry>> {
    let event = event(request.uri().path())?;
    let caller = request.extensions().get::<Caller>().map(|caller| caller.name.clone()).unwrap_or_default();
    let entry = Box::new(audit.begin(event, who(request, caller)));
    request.extensions_mut().insert(entry.subject());
    Some(entry)
}

/// What the call of a method is about, to be told.
pub(super) fn subject<T>(request: &tonic::Request<T>) -> Subject {
    request.extensions().get::<Subject>().cloned().unwrap_or_default()
}

/// Records a call of the method at `path` that was not let through.
pub(crate) fn refused<B>(door: &Door, request: &Request<B>, path: &str, refused: &Refused) {
    let (rejection, counted, caller) = match refused {
        Refused::Unauthenticated => (Rejection::Unauthenticated, CallerRejection::Unauthenticated, "".into()),
        Refused::NotAllowed(caller) => (Rejection::NotAllowed, CallerRejection::NotAllowed, caller.name.clone()),
    };
    door.rpcs.rejected.of(counted).inc();
    let source = match refused {
        Refused::Unauthenticated => Source::Peer(request.extensions().get::<Peer>().map_or(audit::Peer::Unknown, peer)),
        Refused::NotAllowed(_) => Source::Caller(caller.clone()),
    };
    door.audit.refused(rejection, source, || {
        // What is no method of ours may be any text.
        let method = Some(callers::method(path).unwrap_or("unknown"));
        (who(request, caller.clone()), What { method, ..What::default() })
    });
}

/// Where its calls are counted, when they are not let through.
fn peer(peer: &Peer) -> audit::Peer {
    match peer.origin {
        Origin::Tcp(Some(address)) => audit::Peer::Address(address.ip()),
        Origin::Unix(Some(user)) => audit::Peer::User(user),
        Origin::Tcp(None) | Origin::Unix(None) => audit::Peer::Unknown,
    }
}

/// How a call ended. Without a status among the headers it has a message, and is OK.
pub(super) fn outcome<E>(answer: &Result<Response<Body>, E>) -> Outcome {
    let Ok(response) = answer else { return Outcome { code: code::name(Code::Unknown), reason: String::new() } };
    let status = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok);
    status.map_or_else(Outcome::ok, |status| Outcome {
        code: code::name(status.code()),
        reason: status.get_details_error_info().map(|info| info.reason).unwrap_or_default(),
    })
}

/// The caller of this name, as the request and its connection show it.
pub(crate) fn who<B>(request: &Request<B>, caller: Arc<str>) -> Who {
    let peer = request.extensions().get::<Peer>();
    let names = peer.map(|peer| peer.named().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    Who {
        caller,
        peer: peer.map(|peer| peer.origin.to_string()).unwrap_or_default(),
        certificate: bounded(names.unwrap_or_default()),
        request_id: request::current().unwrap_or_else(|| RequestId::of(request.headers()).to_string()),
    }
}

fn bounded(mut names: String) -> String {
    names.truncate(names.floor_char_boundary(MAX_NAMES_BYTES));
    names
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::{domain::Error, proto::DESCRIPTORS};

    /// What only reads, by the first word of its name.
    const READS: [&str; 6] = ["Authenticate", "Batch", "Get", "Inspect", "List", "Watch"];

    #[test]
    fn every_method_that_changes_something_is_recorded_under_its_name() {
        let pool = DescriptorPool::decode(DESCRIPTORS).expect("build.rs wrote the descriptor set");
        let mut recorded = 0;
        for service in pool.services().filter(|service| service.package_name() == "tokenward.v1") {
            for method in service.methods() {
                let event = event(&format!("/{}/{}", service.full_name(), method.name())).map(AuditEvent::name);
                let reads = READS.iter().any(|read| method.name().starts_with(read));
                assert_eq!(event, (!reads).then_some(method.name()), "{}", method.full_name());
                recorded += usize::from(!reads);
            }
        }
        assert!(recorded >= 8, "{recorded}");
        for path in ["/tokenward.v1.TokenService/Revoke/", "/x.v1.TokenService/Revoke", ""] {
            assert_eq!(event(path), None, "{path}");
        }
    }

    #[test]
    fn an_outcome_is_the_status_and_the_reason() {
        let of = |answer: Response<Body>| outcome(&Ok::<_, std::convert::Infallible>(answer));
        assert_eq!(of(Response::new(Body::empty())), Outcome::ok());
        let refused = Outcome { code: "FAILED_PRECONDITION", reason: "USER_DISABLED".to_owned() };
        assert_eq!(of(Status::from(Error::UserDisabled).into_http()), refused);
        let bare = Outcome { code: "CANCELLED", reason: String::new() };
        let by_tonic = Response::builder().header("grpc-status", "1").body(Body::empty()).expect("it is well-formed");
        assert_eq!(of(by_tonic), bare);
    }

    #[test]
    fn the_names_of_a_certificate_are_bounded() {
        assert_eq!(bounded("gw.example.org".to_owned()), "gw.example.org");
        assert_eq!(bounded("é".repeat(MAX_NAMES_BYTES)).len(), MAX_NAMES_BYTES);
    }
}
