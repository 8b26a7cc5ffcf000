use envoy_types::pb::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::auth::v3::attribute_context::Request,
};

use super::*;

const TOKEN: &str = "0123456789abcdef";

fn read(settings: &config::ExtAuthz, headers: &[(&str, &str)], extensions: &[(&str, &str)]) -> Result<Question, Error> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let http = HttpRequest { headers: headers.iter().map(owned).collect(), ..HttpRequest::default() };
    Reader::new(settings).read(request(http, extensions.iter().map(owned).collect()), None)
}

fn request(http: HttpRequest, context_extensions: HashMap<String, String>) -> CheckRequest {
    let request = Some(Request { http: Some(http), ..Request::default() });
    CheckRequest { attributes: Some(AttributeContext { request, context_extensions, ..AttributeContext::default() }) }
}

/// The token that is asked for: `Err` without one, `Ok(None)` for one that nobody issued.
fn token(settings: &config::ExtAuthz, header: &str, value: &str) -> Result<Option<String>, String> {
    let question = read(settings, &[(header, value)], &[]).expect("no extension is unknown");
    let presented = question.presented.map_err(|denial| format!("{denial:?}"))?;
    Ok(presented.token.map(|token| token.expose().to_owned()))
}

#[test]
fn a_token_is_what_follows_a_known_scheme() {
    let settings = config::ExtAuthz::default();
    for value in ["Bearer 0123456789abcdef", "bEARER 0123456789abcdef", "Token  0123456789abcdef"] {
        assert_eq!(token(&settings, "authorization", value), Ok(Some(TOKEN.to_owned())), "{value}");
    }
    for value in ["Basic abc", "", TOKEN, "BearerX abc", "Bearer,Bearer abc", " Bearer abc", "Bearer\tabc"] {
        assert_eq!(token(&settings, "authorization", value), Err("Missing".to_owned()), "{value}");
    }
    for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,Bearer b", "Bearer \u{e9}", "Bearer a "] {
        assert_eq!(token(&settings, "authorization", value), Ok(None), "{value}");
    }
    assert_eq!(token(&settings, "x-api-key", "Bearer abc"), Err("Missing".to_owned()), "another header");
}

#[test]
fn without_schemes_the_value_is_the_token() {
    let settings =
        config::ExtAuthz { header: "X-Api-Key".to_owned(), schemes: Vec::new(), ..config::ExtAuthz::default() };
    assert_eq!(token(&settings, "x-api-key", TOKEN), Ok(Some(TOKEN.to_owned())));
    assert_eq!(token(&settings, "x-api-key", "Bearer 0"), Ok(None));
}

#[test]
fn a_header_that_is_there_twice_is_no_token() {
    let header = |value: &str| HeaderValue {
        key: "Authorization".to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..HeaderValue::default()
    };
    let reader = Reader::new(&config::ExtAuthz::default());
    let presented = |values: &[&str]| {
        let headers = values.iter().map(|value| header(value)).collect();
        let http = HttpRequest { header_map: Some(HeaderMap { headers }), ..HttpRequest::default() };
        reader.read(request(http, HashMap::new()), None).expect("no extension is unknown").presented
    };
    assert!(presented(&["Bearer abc"]).is_ok_and(|presented| presented.token.is_some()));
    assert!(matches!(presented(&["Bearer abc", "Bearer abc"]), Err(Denial::Repeated)));
    assert!(matches!(presented(&["Bearer abc", ""]), Err(Denial::Repeated)));
    assert!(matches!(presented(&[]), Err(Denial::Missing)));
}

#[test]
fn the_routes_scopes_are_required_and_nothing_is_guessed_of_its_other_words() {
    let settings = config::ExtAuthz::default();
    let read = |extensions: &[(&str, &str)]| read(&settings, &[("authorization", "Bearer abc")], extensions);
    let question = read(&[("required_scopes", " read  write ")]).expect("scopes");
    assert_eq!(question.scope, "read write");
    assert_eq!(question.presented.expect("a token").required_scopes, ["read", "write"]);
    for (key, value) in [("required_scope", "read"), ("Required_scopes", "read"), ("required_scopes", "a\"b")] {
        assert!(matches!(read(&[(key, value)]), Err(Error::Invalid(_))), "{key} {value}");
    }
}

#[test]
fn headers_that_an_upstream_may_take_for_ours_are_named() {
    let settings = config::ExtAuthz::default();
    let headers =
        [("x_user-id", "root"), ("X-Token_Id", "1"), ("x-user-id", "root"), ("x_other", "1"), ("xuserid", "1")];
    let mut disguised = read(&settings, &headers, &[]).expect("no extension is unknown").disguised;
    disguised.sort();
    assert_eq!(disguised, ["X-Token_Id", "x_user-id"]);
}
