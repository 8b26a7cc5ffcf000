//! What Envoy asks: the token out of the request's header, the scopes out of the route's configuration.

use std::{collections::HashMap, sync::Arc};

use envoy_types::{
    ext_authz::v3::pb::CheckRequest,
    pb::envoy::service::auth::v3::{AttributeContext, attribute_context::HttpRequest},
};
use zeroize::Zeroize as _;

use super::answer::Denial;
use crate::{
    config,
    domain::{Error, Freshness, Presented, Quota, Token},
    transport::convert,
};

/// The one entry of `context_extensions` that there is: scopes with spaces between them, as OAuth writes them.
const REQUIRED_SCOPES: &str = "required_scopes";

/// Longest name of another entry that an error repeats, in bytes.
const LONGEST_NAME: usize = 32;

/// Reads questions.
#[derive(Debug)]
pub(super) struct Reader {
    /// In lower case, as Envoy sends names.
    header: String,
    schemes: Vec<String>,
    identity: Vec<String>,
}

/// One question.
pub(super) struct Question {
    /// What the core is asked, or what is answered without it.
    pub(super) presented: Result<Presented, Denial>,
    /// The scopes that are required, for a client that lacks one.
    pub(super) scope: String,
    /// Headers of the client whose names an upstream may take for those that tell it whose the request is: many
    /// programs (all that follow CGI, Django's WSGI among them) do not tell `_` from `-`.
    pub(super) disguised: Vec<String>,
}

// === impl Reader ===

impl Reader {
    pub(super) fn new(settings: &config::ExtAuthz) -> Self {
        Self {
            header: settings.header.to_ascii_lowercase(),
            schemes: settings.schemes.clone(),
            identity: settings.identity_headers().map(plain).collect(),
        }
    }

    /// # Errors
    /// When the route's configuration asks for what is not known: a misspelt `required_scopes` must not require none.
    pub(super) fn read(&self, request: CheckRequest, quota: Option<Arc<Quota>>) -> Result<Question, Error> {
        let AttributeContext { request, context_extensions, .. } = request.attributes.unwrap_or_default();
        let (scope, required_scopes) = required_scopes(context_extensions)?;
        let (values, disguised) = self.headers(request.and_then(|request| request.http).unwrap_or_default());
        let presented = self.token(values).map(|text| Presented {
            token: Token::parse(text).ok(),
            required_scopes,
            freshness: Freshness::Any,
            quota,
            min_revision: None,
        });
        Ok(Question { presented, scope, disguised })
    }

    /// The values of the token's header, and the names of those in disguise. Envoy has either form of headers; in the
    /// map it has joined those of one name with commas, which no token of ours survives.
    fn headers(&self, request: HttpRequest) -> (Vec<String>, Vec<String>) {
        let raw = request.header_map.unwrap_or_default().headers.into_iter();
        let raw = raw.map(|header| (header.key, text(header.value, header.raw_value)));
        let (mut values, mut disguised) = (Vec::new(), Vec::new());
        for (name, value) in request.headers.into_iter().chain(raw) {
            if name.eq_ignore_ascii_case(&self.header) {
                values.push(value);
            } else if name.contains('_') && self.identity.contains(&plain(&name)) {
                disguised.push(name);
            }
        }
        (values, disguised)
    }

    /// The token's text, in place of the value that it is a part of, so that no copy of it stays behind.
    fn token(&self, values: Vec<String>) -> Result<String, Denial> {
        let mut values = values.into_iter();
        let Some(mut value) = values.next() else { return Err(Denial::Missing) };
        if values.len() > 0 {
            std::iter::once(value).chain(values).for_each(|mut value| value.zeroize());
            return Err(Denial::Repeated);
        }
        let Some(start) = self.start(&value) else {
            value.zeroize();
            return Err(Denial::Missing);
        };
        value.drain(..start);
        Ok(value)
    }

    /// Where the token begins (RFC 9110, section 11.4); `None` when the scheme is another.
    fn start(&self, value: &str) -> Option<usize> {
        if self.schemes.is_empty() {
            return Some(0);
        }
        let (scheme, rest) = value.split_at(value.find(' ').unwrap_or(value.len()));
        let ours = self.schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme));
        ours.then(|| value.len() - rest.trim_start_matches(' ').len())
    }
}

fn required_scopes(extensions: HashMap<String, String>) -> Result<(String, Vec<String>), Error> {
    let mut required = String::new();
    for (key, value) in extensions {
        if key != REQUIRED_SCOPES {
            return Err(Error::invalid(unknown(&key), "it is not known; required_scopes is"));
        }
        required = value;
    }
    let scopes: Vec<_> = required.split_ascii_whitespace().map(str::to_owned).collect();
    let field = "attributes.context_extensions[\"required_scopes\"]";
    convert::scopes(&scopes).map_err(|fault| Error::invalid(field, fault))?;
    Ok((scopes.join(" "), scopes))
}

/// The field of an entry that is not known. A long name may be anything, a token too, and is not repeated.
fn unknown(name: &str) -> String {
    let field = "attributes.context_extensions";
    if name.len() > LONGEST_NAME { field.to_owned() } else { format!("{field}[{name:?}]") }
}

/// A header's value that Envoy sends as text or as bytes; bytes that are no text are in no token.
fn text(value: String, raw: Vec<u8>) -> String {
    if raw.is_empty() { value } else { String::from_utf8(raw).unwrap_or_else(|_| "\u{fffd}".to_owned()) }
}

/// The name as a program sees it that does not tell `_` from `-`.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests;
