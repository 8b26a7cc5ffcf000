//! What is refused of the door for Envoy.

use std::collections::BTreeSet;

use super::{super::ExtAuthz, Judge};

/// What Envoy sends on in any case.
const NEEDED: [&str; 1] = ["host"];

impl Judge<'_> {
    pub(super) fn ext_authz(&mut self, settings: &ExtAuthz) {
        self.header("ext_authz.header", &settings.header);
        for (key, header) in [
            ("ext_authz.user_id_header", &settings.user_id_header),
            ("ext_authz.token_id_header", &settings.token_id_header),
            ("ext_authz.scopes_header", &settings.scopes_header),
        ] {
            if !header.is_empty() {
                self.header(key, header);
            }
        }
        let is_token = |text: &String| text.parse::<http::Method>().is_ok();
        if !settings.schemes.iter().all(is_token) {
            self.refuse(&["ext_authz.schemes"], "has what is no scheme", "give names such as Bearer, without spaces");
        }
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\');
        if settings.realm.is_empty() || !settings.realm.bytes().all(plain) {
            let remedy = "give visible ASCII characters without \" and \\";
            self.refuse(&["ext_authz.realm"], "is empty or has other characters", remedy);
        }
        self.attributes(settings);
        self.apart(settings);
    }

    fn attributes(&mut self, settings: &ExtAuthz) {
        let key = "ext_authz.attribute_headers";
        if settings.attributes().count() < settings.attribute_headers.len() {
            self.refuse(&[key], "has an entry without =", "give ATTRIBUTE=HEADER, such as username=x-user-name");
        }
        settings.attributes().for_each(|(_, header)| self.header(key, header));
    }

    /// Two facts under one name would be one fact, or none.
    fn apart(&mut self, settings: &ExtAuthz) {
        let mut seen = BTreeSet::new();
        let mut names = std::iter::once(settings.header.as_str()).chain(settings.identity_headers());
        if !names.all(|name| seen.insert(name.to_ascii_lowercase().replace('_', "-"))) {
            let keys = [
                "ext_authz.user_id_header",
                "ext_authz.token_id_header",
                "ext_authz.scopes_header",
                "ext_authz.attribute_headers",
                "ext_authz.header",
            ];
            self.refuse(&keys, "is the name of another header of this section", "give each its own");
        }
    }

    fn header(&mut self, key: &str, name: &str) {
        let is_name = name.parse::<http::HeaderName>().is_ok();
        if !is_name || NEEDED.contains(&name.to_ascii_lowercase().as_str()) {
            self.refuse(&[key], "is no header's name, or one that requests need", "give a name such as x-user-id");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::keys;

    #[test]
    fn headers_have_names_and_each_its_own() {
        for (line, refused) in [
            ("header = \"x-api-key\"\next_authz.schemes = []", None),
            ("header = \"\"", Some("header")),
            ("header = \"x key\"", Some("header")),
            ("user_id_header = \"\"", None),
            ("user_id_header = \"Host\"", Some("user_id_header")),
            ("scopes_header = \":path\"", Some("scopes_header")),
            ("token_id_header = \"X_User_Id\"", Some("user_id_header")),
            ("user_id_header = \"Authorization\"", Some("user_id_header")),
            ("schemes = [\"Bear er\"]", Some("schemes")),
            ("schemes = [\"\"]", Some("schemes")),
            ("realm = \"a \\\"b\\\"\"", Some("realm")),
            ("attribute_headers = [\"username=x-user-name\"]", None),
            ("attribute_headers = [\"username\"]", Some("attribute_headers")),
            ("attribute_headers = [\"username=x-user-id\"]", Some("user_id_header")),
        ] {
            let expected: Vec<_> = refused.map(|name| format!("ext_authz.{name}")).into_iter().collect();
            assert_eq!(keys(&format!("ext_authz.{line}")), expected, "{line}");
        }
    }
}
