//! What Envoy is told: headers for the upstream, or a denial for the client.

use std::fmt::Write as _;

use envoy_types::{
    ext_authz::v3::{
        DeniedHttpResponseBuilder, OkHttpResponseBuilder, ToHttpResponse,
        pb::{CheckResponse, HeaderAppendAction, HttpStatusCode},
    },
    pb::google::rpc,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    config,
    domain::{InactiveReason, TokenRecord},
};

/// How the upstream is told whose a request is.
#[derive(Debug)]
pub(super) struct Identity {
    user_id: String,
    token_id: String,
    scopes: String,
    /// Attributes of the user, and their headers.
    attributes: Vec<(String, String)>,
    /// The token's own header, where it does not go on.
    secret: Option<String>,
}

/// How a client is told what it lacks.
#[derive(Debug)]
pub(super) struct Challenge {
    scheme: String,
    realm: String,
}

/// Why a request does not pass.
#[derive(Debug)]
pub(super) enum Denial {
    /// It has no token, or something of another scheme.
    Missing,
    /// It has the header more than once.
    Repeated,
    /// Its token is not active.
    Inactive(InactiveReason),
    /// Nobody can tell; the status says why.
    Unanswered(Status),
}

// === impl Identity ===

impl Identity {
    pub(super) fn new(settings: &config::ExtAuthz) -> Self {
        let lower = str::to_ascii_lowercase;
        let attributes = settings.attributes().map(|(attribute, header)| (attribute.to_owned(), lower(header)));
        Self {
            user_id: lower(&settings.user_id_header),
            token_id: lower(&settings.token_id_header),
            scopes: lower(&settings.scopes_header),
            attributes: attributes.collect(),
            secret: Some(lower(&settings.header)).filter(|_| !settings.forward_token),
        }
    }

    /// The request passes, with the headers of its owner and without any that pretends to be one.
    pub(super) fn allowed(&self, record: &TokenRecord, disguised: Vec<String>) -> CheckResponse {
        let mut response = OkHttpResponseBuilder::new();
        for (header, value) in self.headers(record) {
            if header.is_empty() {
                continue;
            }
            // Envoy drops an empty value, and would leave the client's in place.
            if value.is_empty() {
                response.remove_header(header);
            } else {
                response.add_header(header, value, Some(HeaderAppendAction::OverwriteIfExistsOrAdd), false);
            }
        }
        for header in disguised.into_iter().chain(self.secret.clone()) {
            response.remove_header(header);
        }
        respond(Code::Ok, response)
    }

    fn headers<'a>(&'a self, record: &'a TokenRecord) -> impl Iterator<Item = (&'a str, String)> {
        let scopes: Vec<_> = record.label.scopes.iter().map(|scope| encoded(scope)).collect();
        let named = [
            (&*self.user_id, encoded(record.user.id.as_str())),
            (&*self.token_id, record.digest.token_id().to_string()),
            (&*self.scopes, scopes.join(" ")),
        ];
        let attributes = self.attributes.iter().map(|(attribute, header)| {
            (header.as_str(), record.user.attributes.get(attribute).map(|value| encoded(value)).unwrap_or_default())
        });
        named.into_iter().chain(attributes)
    }
}

// === impl Challenge ===

impl Challenge {
    /// Of the first scheme that is accepted. There is no registered one for a bare key in a header of its own.
    pub(super) fn new(settings: &config::ExtAuthz) -> Self {
        let scheme = settings.schemes.first().map_or("ApiKey", String::as_str);
        Self { scheme: scheme.to_owned(), realm: settings.realm.clone() }
    }

    /// The request does not pass; `scope` has the scopes that it would need.
    pub(super) fn denied(&self, denial: Denial, scope: &str) -> CheckResponse {
        let (code, status, error, text) = match &denial {
            // RFC 6750, section 3.1: who sent no credential is told no error.
            Denial::Missing => (Code::Unauthenticated, HttpStatusCode::Unauthorized, "", "a token is needed"),
            Denial::Repeated => (
                Code::InvalidArgument,
                HttpStatusCode::BadRequest,
                "invalid_request",
                "the header with the token is there more than once",
            ),
            Denial::Inactive(InactiveReason::ScopeMissing) => (
                Code::PermissionDenied,
                HttpStatusCode::Forbidden,
                "insufficient_scope",
                "the token lacks a scope that is needed here",
            ),
            // Whoever tries tokens is not told which of them were once good.
            Denial::Inactive(
                InactiveReason::Malformed
                | InactiveReason::Unknown
                | InactiveReason::Expired
                | InactiveReason::Revoked
                | InactiveReason::UserDisabled,
            ) => (Code::Unauthenticated, HttpStatusCode::Unauthorized, "invalid_token", "the token is not valid"),
            Denial::Unanswered(_) => {
                (Code::Unavailable, HttpStatusCode::ServiceUnavailable, "", "nobody can tell now; try again")
            }
        };
        let mut response = DeniedHttpResponseBuilder::new();
        response.set_http_status(status).set_body(format!("{text}\n"));
        let mut tell = |name: &str, value: String| {
            response.add_header(name, value, Some(HeaderAppendAction::OverwriteIfExistsOrAdd), false);
        };
        tell("content-type", "text/plain; charset=utf-8".to_owned());
        // The next answer to the same request may be another one.
        tell("cache-control", "no-store".to_owned());
        match denial {
            Denial::Unanswered(status) => tell("retry-after", retry_after(&status).to_string()),
            Denial::Missing | Denial::Repeated | Denial::Inactive(_) => {
                tell("www-authenticate", self.text(error, if code == Code::PermissionDenied { scope } else { "" }));
            }
        }
        respond(code, response)
    }

    /// RFC 6750, section 3. The realm and scopes have no character that would end the quotes.
    fn text(&self, error: &str, scope: &str) -> String {
        let mut text = format!("{} realm=\"{}\"", self.scheme, self.realm);
        for (name, value) in [("error", error), ("scope", scope)] {
            if !value.is_empty() {
                write!(text, ", {name}=\"{value}\"").expect("text can be appended to");
            }
        }
        text
    }
}

/// Whole seconds, at least one.
fn retry_after(status: &Status) -> u64 {
    let delay = status.get_error_details().retry_info().and_then(|retry| retry.retry_delay).unwrap_or_default();
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

fn respond(code: Code, response: impl ToHttpResponse) -> CheckResponse {
    let status = rpc::Status { code: code.into(), ..rpc::Status::default() };
    CheckResponse { status: Some(status), http_response: Some(response.to_http_response()), ..CheckResponse::default() }
}

/// The value as a header may have it: bytes other than visible ASCII, and `%`, as RFC 3986 encodes them. A line break
/// in a user's name would otherwise begin a header of its own.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("text can be appended to");
        }
    }
    text
}

#[cfg(test)]
mod tests;
