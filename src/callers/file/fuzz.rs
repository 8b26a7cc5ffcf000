//! Anything in a callers file: callers, or faults that tell no key.

use std::fs;

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const KEY: &str = "canary-0123456789abcdef0123456789abcdef";

fn value() -> impl Strategy<Value = String> {
    const EDGES: &[&str] = &[
        "\"\"",
        "\"gateway\"",
        "\"one\"",
        "\"weak\"",
        "\"missing\"",
        "\"..\"",
        "[]",
        "[\"*\"]",
        "[\"TokenService/Authenticate\"]",
        "[\"Nothing/AtAll\"]",
        "[1]",
        "[\"a.example.org\", \"spiffe://example.org/a\"]",
        "[\"*.example.org\"]",
        "0",
        "-1",
        "4294967295",
        "18446744073709551615",
        "true",
        "{}",
    ];
    prop_oneof![9 => select(EDGES).prop_map(str::to_owned), 1 => any::<String>().prop_map(|text| format!("{text:?}"))]
}

fn line() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &["name", "keys_file", "sans", "methods", "max_inactive_per_second", "key", "caller"];
    prop_oneof![
        1 => Just("[[caller]]".to_owned()),
        3 => (select(NAMES), value()).prop_map(|(name, value)| format!("{name} = {value}")),
    ]
}

fn judge(text: &str, keys: &[u8]) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("callers.toml"), text).expect("it is writable");
    fs::write(at("one"), [KEY.as_bytes(), b"\n", keys].concat()).expect("it is writable");
    fs::write(at("weak"), "canary\n").expect("it is writable");
    let server = Server { tls_client_ca: Some("ca.pem".into()), ..Server::default() };
    match load(&at("callers.toml"), &Callers::default(), &server, &mut Files::default()) {
        Ok(directory) => {
            let shown = format!("{directory:?}");
            prop_assert!(!shown.contains("canary"));
        }
        Err(faults) => {
            prop_assert!(!faults.0.is_empty());
            let shown = format!("{faults} {faults:?}");
            prop_assert!(!shown.contains("canary"), "{}", shown);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_callers_or_faults(text: String, keys in vec(any::<u8>(), 0..80)) {
        judge(&text, &keys)?;
        judge("[[caller]]\nname = \"a\"\nkeys_file = \"one\"\nmethods = [\"*\"]", &keys)?;
    }

    #[test]
    fn any_entries_are_callers_or_faults(lines in vec(line(), 0..14)) {
        judge(&lines.join("\n"), b"")?;
    }
}
