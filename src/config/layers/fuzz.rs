//! Anything in a file, in variables and on the command line: settings, or faults that tell no secret.

use std::fs;

use proptest::{collection::vec, prelude::*, sample::select};
use tempfile::TempDir;

use super::*;
use crate::config::{print_json, print_toml};

/// What is written wherever a value is expected.
const CANARY: &str = "canary-3f9a-of-no-use-to-anybody";

/// What a setting may be given, in TOML.
fn value() -> impl Strategy<Value = String> {
    const EDGES: &[&str] = &[
        "true",
        "0",
        "1",
        "-1",
        "4294967295",
        "4294967296",
        "18446744073709551615",
        "9223372036854775807",
        "0.5",
        "nan",
        "inf",
        "-0.0",
        "1e308",
        "\"\"",
        "\"0s\"",
        "\"1ns\"",
        "\"50ms\"",
        "\"1s\"",
        "\"72h\"",
        "\"584554530872years\"",
        "\"18446744073709551615s\"",
        "\"-1s\"",
        "\"1 parsec\"",
        "[]",
        "[\"a\", \"b\"]",
        "{}",
        "{ a = 1 }",
        "1979-05-27",
        "\"redis\"",
        "\"memory\"",
        "\"auto\"",
        "\"knox\"",
        "\"json\"",
        "\"lease\"",
        "\"cache\"",
        "\"sha256\"",
        "\"redis://:p@127.0.0.1\"",
        "\"postgres://u:p@h/d\"",
        "\"sqlite::memory:\"",
        "\"mysql://\"",
        "\"0.0.0.0:1\"",
        "\"unix:/x\"",
        "\"/nonexistent\"",
        "\"trace\"",
        "\"info,x=[\"",
    ];
    prop_oneof![
        6 => select(EDGES).prop_map(str::to_owned),
        2 => Just(format!("{CANARY:?}")),
        1 => any::<String>().prop_map(|text| format!("{text:?}")),
        1 => any::<String>(),
    ]
}

fn key() -> impl Strategy<Value = String> {
    let known: Vec<String> = settings().iter().map(Setting::key).collect();
    prop_oneof![9 => select(known), 1 => "[a-z_.]{1,20}"]
}

fn variable() -> impl Strategy<Value = String> {
    let known: Vec<String> = settings().iter().map(Setting::variable).collect();
    prop_oneof![9 => select(known), 1 => "TOKENWARD_[A-Z_]{0,20}"]
}

/// Reads it, and holds the result against what must be true of any.
fn judge(toml: &str, env: &[(String, String)]) -> Result<(), TestCaseError> {
    let folder = TempDir::new().expect("a temporary directory");
    let file = folder.path().join("tokenward.toml");
    fs::write(&file, toml).expect("it is writable");
    for purpose in [Purpose::Serve, Purpose::Migrate] {
        match load(Sources { purpose, file: Some(file.clone()), env: env.to_vec(), flags: vec![] }) {
            Ok(loaded) => {
                let _ = (print_toml(&loaded), print_json(&loaded), format!("{:?}", loaded.config));
            }
            Err(faults) => {
                prop_assert!(!faults.0.is_empty());
                // The path of a file for TLS is no secret, and told.
                let told: Vec<_> = faults.0.into_iter().filter(|fault| !fault.key.contains(".tls_")).collect();
                let told = Faults(told);
                let shown = format!("{told} {told:?}");
                prop_assert!(!shown.contains(CANARY), "{}", shown);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_is_settings_or_faults(text: String, lines in vec("[a-z_.\\[\\]=\"' 0-9\n#]{0,30}", 0..6)) {
        judge(&text, &[])?;
        judge(&lines.join("\n"), &[])?;
    }

    #[test]
    fn any_values_in_a_file_are_settings_or_faults(lines in vec((key(), value()), 0..8)) {
        let toml: Vec<String> = lines.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        judge(&toml.join("\n"), &[])?;
    }

    #[test]
    fn any_values_in_variables_are_settings_or_faults(env in vec((variable(), value()), 0..8)) {
        let plain = |text: String| text.trim_matches('"').to_owned();
        let env: Vec<_> = env.into_iter().map(|(name, value)| (name, plain(value))).collect();
        judge("", &env)?;
    }
}
