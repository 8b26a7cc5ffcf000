//! What is said of a token, and why nothing is.

use std::time::Duration;

use axum::{
    Json,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

use crate::{
    callers::Refused,
    config,
    domain::{Error, Outcome, Propagation, TokenRecord},
};

/// What every answer says besides the token.
#[derive(Debug)]
pub(super) struct Terms {
    issuer: Option<String>,
    audience: Vec<String>,
    username: String,
}

/// RFC 7662, section 2.2.
#[derive(Debug, Serialize, PartialEq, Eq)]
#[serde(untagged)]
pub(super) enum Introspection {
    /// The token is good now.
    Active(Claims),
    /// It is not, for whatever reason.
    #[serde(serialize_with = "inactive")]
    Inactive,
}

/// The fields, as the RFC names them. Times are whole seconds since 1970.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Claims {
    active: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    sub: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aud: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    jti: String,
}

/// How far a revocation has spread. The RFC has clients ignore it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Revoked {
    /// How long an answer may still be the old one; absent when none can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_staleness_seconds: Option<f64>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No caller's credential, or a wrong one.
    Unauthenticated,
    /// The caller may not ask this.
    NotAllowed,
    /// It is no form with one token.
    Unreadable(StatusCode),
    /// Nobody can tell now.
    Unanswered {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The caller has asked too often for tokens that are not active.
    RateLimited {
        /// When to ask again.
        retry_after: Duration,
    },
}

// === impl Terms ===

impl Terms {
    pub(super) fn new(settings: &config::Introspection) -> Self {
        Self {
            issuer: Some(settings.issuer.clone()).filter(|issuer| !issuer.is_empty()),
            audience: settings.audience.clone(),
            username: settings.username_attribute.clone(),
        }
    }

    /// What is said of a token that is good.
    pub(super) fn active(&self, record: &TokenRecord) -> Introspection {
        Introspection::Active(Claims {
            active: true,
            scope: record.label.scopes.join(" "),
            username: record.user.attributes.get(&self.username).filter(|name| !name.is_empty()).cloned(),
            token_type: "Bearer",
            // Whole seconds are rounded down: who goes by them is early rather than late.
            exp: record.expiry.map(|expiry| expiry.timestamp()),
            iat: record.created.timestamp(),
            sub: record.user.id.as_str().to_owned(),
            aud: self.audience.clone(),
            iss: self.issuer.clone(),
            jti: record.digest.token_id().to_string(),
        })
    }
}

// === impl Introspection ===

fn inactive<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    json!({ "active": false }).serialize(serializer)
}

// === impl Revoked ===

impl From<Propagation> for Revoked {
    fn from(propagation: Propagation) -> Self {
        match propagation {
            Propagation::Complete => Self::default(),
            Propagation::Pending { max_staleness } => Self { max_staleness_seconds: Some(max_staleness.as_secs_f64()) },
        }
    }
}

// === impl Refusal ===

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => Self::Unauthenticated,
            Refused::NotAllowed(_) => Self::NotAllowed,
        }
    }
}

impl Refusal {
    /// As the audit trail records it.
    pub(super) fn outcome(&self) -> Outcome {
        let (code, reason) = match self {
            Self::Unauthenticated => ("UNAUTHENTICATED", "CALLER_UNAUTHENTICATED"),
            Self::NotAllowed => ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED"),
            Self::Unreadable(_) => ("INVALID_ARGUMENT", "INVALID_REQUEST"),
            Self::Unanswered { .. } => ("UNAVAILABLE", "STORE_UNAVAILABLE"),
            Self::RateLimited { .. } => ("RESOURCE_EXHAUSTED", "RATE_LIMITED"),
        };
        Outcome { code, reason: reason.to_owned() }
    }

    /// By the status that the form's reader gives: too large, of another type, or not one token.
    pub(super) fn unreadable(status: StatusCode) -> Self {
        // A form that does not decode is a bad request for OAuth (RFC 6749, section 5.2).
        Self::Unreadable(if status == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { status })
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        tracing::debug!(error = &error as &dyn std::error::Error, "the request has no answer");
        match error {
            Error::RateLimited { retry_after } => Self::RateLimited { retry_after },
            Error::Overloaded { retry_after } => Self::Unanswered { retry_after },
            Error::Unavailable(_) => Self::Unanswered { retry_after: Duration::from_secs(1) },
            // None of these is an answer to a question about a token by its secret.
            Error::Invalid(_)
            | Error::NotFound(_)
            | Error::UserDisabled
            | Error::TokenEnded
            | Error::LimitReached { .. }
            | Error::RequestIdReused
            | Error::Unsupported(_) => Self::Unreadable(StatusCode::BAD_REQUEST),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error, text) = match &self {
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "invalid_client", "a caller's name and key are needed"),
            Self::NotAllowed => (StatusCode::FORBIDDEN, "unauthorized_client", "this caller may not ask this"),
            Self::Unreadable(status) => {
                (*status, "invalid_request", "send a form (application/x-www-form-urlencoded) with one token")
            }
            Self::Unanswered { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", "nobody can tell now; try again")
            }
            Self::RateLimited { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many tokens were not active")
            }
        };
        let body = Json(json!({ "error": error, "error_description": text }));
        let mut response = (status, body).into_response();
        for (name, value) in self.headers() {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl Refusal {
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated => ["Basic realm=\"tokenward\"", "Bearer realm=\"tokenward\""]
                .map(|challenge| (WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))
                .to_vec(),
            Self::Unanswered { retry_after } | Self::RateLimited { retry_after } => {
                let seconds = (retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1);
                vec![(RETRY_AFTER, seconds.into())]
            }
            Self::NotAllowed | Self::Unreadable(_) => Vec::new(),
        }
    }
}
