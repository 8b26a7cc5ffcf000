//! `/`: the status page. One document with everything in it, which asks for `/status.json` and nothing else.

use std::sync::LazyLock;

use axum::{
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    response::IntoResponse,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use super::status::Page;

const DOCUMENT: &str = include_str!("page.html");

/// Its own style and script and no others; connections to where it came from alone.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    let (style, script) = (between("<style>", "</style>"), between("<script>", "</script>"));
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(style),
        hash(script),
    )
});

fn between(begin: &str, end: &str) -> &'static str {
    let rest = DOCUMENT.split_once(begin).expect("the page has it").1;
    rest.split_once(end).expect("it ends").0
}

/// The page with what is known now in it, so that it says something before, and without, its script.
pub(super) fn html(page: &Page) -> impl IntoResponse + use<> {
    let reasons: Vec<_> = page.verdict.reasons.iter().map(|reason| format!("<li>{}</li>", escaped(reason))).collect();
    let reasons = reasons.concat();
    let level = serde_json::to_value(page.verdict.level).expect("a level is a word");
    let state = serde_json::to_string(page).expect("a page is plain data");
    let filled = fill(&[
        ("{{insecure}}", if page.insecure { "" } else { "hidden" }),
        ("{{level}}", level.as_str().unwrap_or_default()),
        ("{{headline}}", &escaped(&page.verdict.headline)),
        ("{{reasons}}", &reasons),
        ("{{text}}", &escaped(&page.text)),
        // Nothing in JSON needs this character outside texts, and there it may be written so.
        ("{{state}}", &state.replace('<', "\\u003c")),
    ]);
    let head = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (head, filled)
}

/// Each place is looked for in what is ours alone: what was filled in may hold anything.
fn fill(values: &[(&str, &str)]) -> String {
    let mut whole = String::with_capacity(2 * DOCUMENT.len());
    let mut rest = DOCUMENT;
    while let Some(at) = rest.find("{{") {
        let (before, after) = rest.split_at(at);
        whole.push_str(before);
        let (name, value) = values.iter().find(|(name, _)| after.starts_with(name)).expect("every place has a value");
        whole.push_str(value);
        rest = &after[name.len()..];
    }
    whole + rest
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_say_is_text_and_no_markup() {
        let filled = fill(&[
            ("{{insecure}}", ""),
            ("{{level}}", "ok"),
            ("{{headline}}", &escaped("<img src=x onerror=alert(1)> {{state}}")),
            ("{{reasons}}", ""),
            ("{{text}}", ""),
            ("{{state}}", "{}"),
        ]);
        assert!(filled.contains("&lt;img src=x onerror=alert(1)&gt; {{state}}"), "and no place is filled twice");
        assert_eq!(filled.matches("<script").count(), DOCUMENT.matches("<script").count());
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(!DOCUMENT.contains("src=") && !DOCUMENT.contains("url("), "no asset");
        // The namespace of SVG is a name, not an address.
        assert_eq!(DOCUMENT.matches("://").count(), 1);
        assert!(!DOCUMENT.contains(" style="), "the policy would refuse it");
        assert!(!POLICY.contains("unsafe"), "{}", *POLICY);
    }
}
