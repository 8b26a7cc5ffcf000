//! Who asks: a caller's name and key as `Basic` (RFC 6749, section 2.3.1), or its key as `Bearer`.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{
    callers::{Caller, Credential, Directory, Refused},
    transport::Gate,
};

/// What was shown.
struct Shown {
    /// The name, where one was given; the key must be its.
    name: Option<String>,
    key: Zeroizing<String>,
}

/// The caller, when it may use the method at `path`.
///
/// # Errors
/// Why it is not let through.
pub(super) fn admit(gate: &Gate, headers: &HeaderMap, path: &str) -> Result<Caller, Refused> {
    match gate {
        Gate::Open(anyone) => Ok(anyone.clone()),
        Gate::Callers(directory) => known(&directory.get(), headers, path),
    }
}

fn known(directory: &Directory, headers: &HeaderMap, path: &str) -> Result<Caller, Refused> {
    let shown = shown(headers).ok_or(Refused::Unauthenticated)?;
    // A client encodes its key as a form does, as the RFC wants, or does not, as many do.
    let decoded = decoded(shown.key.as_str());
    let admit = |key: &str| directory.admit(Some(Credential::Key(key)), path);
    let caller = match admit(shown.key.as_str()) {
        Err(Refused::Unauthenticated) => admit(decoded.as_str()),
        known => known,
    };
    let is_its = |caller: &Caller| {
        shown.name.as_ref().is_none_or(|name| **name == *caller.name || *self::decoded(name) == *caller.name)
    };
    match caller {
        Ok(caller) if is_its(&caller) => Ok(caller),
        Err(Refused::NotAllowed(caller)) if is_its(&caller) => {
            tracing::debug!(path, caller = &*caller.name, "a request is refused: the method is not among the caller's");
            Err(Refused::NotAllowed(caller))
        }
        Ok(_) | Err(Refused::NotAllowed(_) | Refused::Unauthenticated) => {
            tracing::debug!(path, "a request without a caller's credential is refused");
            Err(Refused::Unauthenticated)
        }
    }
}

/// The one credential of the header.
fn shown(headers: &HeaderMap) -> Option<Shown> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (scheme, text) = values.next()?.to_str().ok()?.split_once(' ')?;
    if values.next().is_some() {
        return None;
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Shown { name: None, key: text.to_owned().into() });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Zeroizing::new(BASE64_STANDARD.decode(text).ok()?);
    let (name, key) = str::from_utf8(&pair).ok()?.split_once(':')?;
    Some(Shown { name: Some(name.to_owned()), key: key.to_owned().into() })
}

/// The text that a form's value stands for; itself, when it stands for none.
fn decoded(text: &str) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = || {
            let mut byte = [0];
            hex::decode_to_slice(after.get(..2)?, &mut byte).ok().map(|()| byte)
        };
        let (byte, next) = match (first, hex()) {
            (b'%', Some([byte])) => (byte, &after[2..]),
            (b'+', _) => (b' ', after),
            (byte, _) => (*byte, after),
        };
        bytes.push(byte);
        rest = next;
    }
    str::from_utf8(&bytes).unwrap_or(text).to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(values: &[&str]) -> Option<(Option<String>, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().expect("a header"));
        }
        shown(&headers).map(|shown| (shown.name, shown.key.to_string()))
    }

    #[test]
    fn a_credential_is_a_name_and_its_key_or_a_key() {
        let basic = |text: &str| format!("basic {}", BASE64_STANDARD.encode(text));
        assert_eq!(pair(&[&basic("gw:a:b")]), Some((Some("gw".to_owned()), "a:b".to_owned())));
        assert_eq!(pair(&["Bearer abc"]), Some((None, "abc".to_owned())));
        for values in [
            &[][..],
            &["Basic"],
            &["Basic abc"],
            &[basic("no colon").as_str()],
            &["Token abc"],
            &["Bearer a", "Bearer a"],
        ] {
            assert_eq!(pair(values), None, "{values:?}");
        }
    }

    #[test]
    fn a_forms_value_is_decoded_and_any_other_left_alone() {
        for (text, meant) in
            [("a%3Ab+c", "a:b c"), ("100%", "100%"), ("%zz", "%zz"), ("%ff", "%ff"), ("%4", "%4"), ("%+f", "% f")]
        {
            assert_eq!(*decoded(text), meant, "{text}");
        }
    }
}
