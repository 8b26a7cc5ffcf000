//! Writes settings down: a file to start from, the effective values, the README's table.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{
    Loaded, Origin,
    settings::{Kind, Setting, sections, settings},
};

const INTRODUCTION: &str = "\
# All settings of tokenward with their defaults. Times read as `50ms`, `1s`, `72h`.
# Each is also an environment variable: `database.url` is TOKENWARD_DATABASE__URL.
";

/// A TOML file with every setting, what it is for, and its default.
#[must_use]
pub fn default_toml() -> String {
    let mut text = INTRODUCTION.to_owned();
    write_sections(&mut text, |setting| format!("{}{}", comment(&setting.meaning), line(setting, &setting.default)));
    text
}

/// The effective settings as TOML, secrets redacted; a comment tells where each value
/// that is no default comes from.
#[must_use]
pub fn print_toml(loaded: &Loaded) -> String {
    let (values, mut text) = (effective(loaded), String::new());
    write_sections(&mut text, |setting| {
        let line = line(setting, &values[&setting.section][&setting.name]);
        match loaded.origin(&setting.key()) {
            Origin::Default => line,
            origin => format!("{}{line}", comment(&format!("from {origin}"))),
        }
    });
    text
}

/// The effective settings as one JSON object, secrets redacted: `settings` holds the
/// sections, `origins` where each value that is no default comes from.
#[must_use]
pub fn print_json(loaded: &Loaded) -> String {
    let origins: Map<_, _> =
        loaded.origins.iter().map(|(key, origin)| (key.clone(), origin.to_string().into())).collect();
    json!({ "settings": effective(loaded), "origins": origins }).to_string()
}

/// The settings as a Markdown table for the README.
#[must_use]
pub fn readme_table() -> String {
    let mut text = "| setting | environment variable | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in settings() {
        let default =
            if setting.default.is_null() { "not set".to_owned() } else { format!("`{}`", toml_text(&setting.default)) };
        let meaning = setting.meaning.replace('\n', " ").replace('|', "\\|");
        writeln!(text, "| `{}` | `{}` | {default} | {meaning} |", setting.key(), setting.variable())
            .expect("a String takes all text");
    }
    text
}

/// The settings as a tree in which a secret that somebody set reads `redacted`.
fn effective(loaded: &Loaded) -> Value {
    let mut tree = serde_json::to_value(&loaded.config).expect("settings are plain values");
    let secrets = settings().iter().filter(|setting| setting.kind == Kind::Secret);
    for setting in secrets.filter(|setting| loaded.origin(&setting.key()) == Origin::Default) {
        tree[&setting.section][&setting.name] = setting.default.clone();
    }
    tree
}

fn write_sections(text: &mut String, entry: impl Fn(&Setting) -> String) {
    for (section, meaning) in sections() {
        let separator = if text.is_empty() { "" } else { "\n" };
        writeln!(text, "{separator}{}[{section}]", comment(&meaning)).expect("a String takes all text");
        settings()
            .iter()
            .filter(|setting| setting.section == section)
            .for_each(|setting| text.push_str(&entry(setting)));
    }
}

fn comment(text: &str) -> String {
    text.lines().fold(String::new(), |comment, line| comment + "# " + line + "\n")
}

/// A setting without a value stands as a comment, so that it can be found.
fn line(setting: &Setting, value: &Value) -> String {
    match value {
        Value::Null => {
            format!("# {} = {}\n", setting.name, if matches!(setting.kind, Kind::List(_)) { "[]" } else { "\"\"" })
        }
        value => format!("{} = {}\n", setting.name, toml_text(value)),
    }
}

fn toml_text(value: &Value) -> String {
    toml::Value::try_from(value).expect("settings hold texts, numbers and lists of texts").to_string()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{
        super::{Config, Flag, Purpose, SecretText, Sources, load},
        *,
    };

    const BEGIN: &str = "<!-- settings:begin -->\n";
    const END: &str = "<!-- settings:end -->";

    fn from_file(text: &str, flags: Vec<Flag>) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenward.toml");
        fs::write(&path, text).unwrap();
        load(Sources { purpose: Purpose::Serve, file: Some(path), env: [], flags }).unwrap()
    }

    /// Compares secrets too, which are equal in any serialized form.
    fn assert_same(left: &Config, right: &Config) {
        assert_eq!(serde_json::to_value(left).unwrap(), serde_json::to_value(right).unwrap());
        let exposed = |config| super::super::settings::secrets(config).map(|(_, secret)| secret.expose().to_owned());
        assert_eq!(exposed(left), exposed(right));
    }

    #[test]
    fn the_default_file_loads_without_fault_as_the_defaults() {
        let loaded = from_file(&default_toml(), Vec::new());
        assert_same(&loaded.config, &Config::default());
        let set = settings().iter().filter(|setting| !setting.default.is_null()).count();
        assert_eq!(loaded.origins.len(), set, "each default is written out");
    }

    #[test]
    fn the_default_file_names_every_setting_under_its_meaning() {
        let text = default_toml();
        for setting in settings() {
            let meaning = comment(&setting.meaning);
            let found = [format!("{meaning}{} = ", setting.name), format!("{meaning}# {} = ", setting.name)];
            assert!(found.iter().any(|line| text.contains(line)), "{}", setting.key());
        }
    }

    #[test]
    fn print_shows_what_is_in_effect_and_where_it_comes_from_but_no_secret() {
        let flag = Flag { spelling: "--redis-url", key: "redis.url", text: SecretText::new("redis://:s3cret@cache") };
        let loaded = from_file("[tokens]\nttl = \"72h\"\n[redis]\npassword = \"s3cret\"", vec![flag]);
        let text = print_toml(&loaded);
        assert!(text.contains("tokenward.toml\nttl = \"3days\"\n"), "{text}");
        assert!(text.contains("# from flag --redis-url\nurl = \"redacted\"\n"), "{text}");
        assert!(text.contains("\nurl = \"sqlite://tokenward.db\"\n"), "{text}");
        let json: Value = serde_json::from_str(&print_json(&loaded)).unwrap();
        assert_eq!(json["settings"]["tokens"]["ttl"], "3days");
        assert_eq!(json["settings"]["redis"]["password"], "redacted");
        assert_eq!(json["origins"]["redis.url"], "flag --redis-url");
        assert!(!format!("{text}{json}{loaded:?}").contains("s3cret"));
    }

    #[test]
    fn print_of_the_defaults_can_be_loaded_again() {
        assert_same(&from_file(&print_toml(&Loaded::default()), Vec::new()).config, &Config::default());
    }

    /// `UPDATE_README=1` writes the table instead.
    #[test]
    fn the_readme_lists_every_setting() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = fs::read_to_string(&path).unwrap();
        let (head, rest) = readme.split_once(BEGIN).expect("README.md has the begin marker");
        let (table, tail) = rest.split_once(END).expect("README.md has the end marker");
        if std::env::var_os("UPDATE_README").is_some() {
            fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", readme_table())).unwrap();
        } else {
            assert_eq!(table, readme_table(), "run the tests once with UPDATE_README=1");
        }
    }
}
