//! The list of settings, read from the schema of [`Config`]: names, types, meanings and
//! defaults stand in one place only, the fields themselves.

use std::{borrow::Cow, sync::LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Map, Value};

use super::{Config, SecretText};

/// Stands for a `Duration` in the schema: text such as `50ms`, `1s`, `72h`.
pub(super) struct DurationText;

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its table in the file: `database`.
    pub(super) section: String,
    /// Its name there: `max_connections`.
    pub(super) name: String,
    /// What may stand there.
    pub(super) kind: Kind,
    /// Whether it may be left unset.
    pub(super) optional: bool,
    /// Its doc comment.
    pub(super) meaning: String,
    /// Its value when nobody sets it; `Null` for none. Not secret, secrets' defaults neither.
    pub(super) default: Value,
}

/// What may stand in a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number from 0 to `max`.
    Integer {
        /// The largest.
        max: u64,
    },
    /// A number.
    Number,
    /// A number with a unit.
    Duration,
    /// Any text.
    Text,
    /// One of these words.
    Choice(Vec<String>),
    /// Several texts; of these words, where there are any.
    List(Vec<String>),
    /// Text that is shown nowhere.
    Secret,
}

/// All settings, in the order of the fields.
pub(super) fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(read_schema);
    &SETTINGS
}

/// The setting of a key such as `database.url`.
pub(super) fn setting(key: &str) -> Option<&'static Setting> {
    settings().iter().find(|setting| setting.key() == key)
}

/// The sections and what each is for.
pub(super) fn sections() -> Vec<(String, String)> {
    let schema = schema();
    let sections = properties(schema.as_value());
    sections.iter().map(|(name, section)| (name.clone(), description(section))).collect()
}

/// The secrets of a configuration, by key.
pub(super) fn secrets(config: &Config) -> [(&'static str, &SecretText); 7] {
    [
        ("database.url", &config.database.url),
        ("redis.url", &config.redis.url),
        ("redis.password", &config.redis.password),
        ("cache.mac_key", &config.cache.mac_key),
        ("cache.mac_key_previous", &config.cache.mac_key_previous),
        ("knox_redis.url", &config.knox_redis.url),
        ("knox_redis.password", &config.knox_redis.password),
    ]
}

fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Config>()
}

fn read_schema() -> Vec<Setting> {
    let (schema, defaults) = (schema(), defaults());
    let sections = properties(schema.as_value()).iter();
    sections
        .flat_map(|(section, fields)| properties(fields).iter().map(move |(name, field)| (section, name, field)))
        .map(|(section, name, field)| Setting {
            section: section.clone(),
            name: name.clone(),
            kind: kind(field),
            optional: is_optional(field),
            meaning: description(field),
            default: defaults[section][name].clone(),
        })
        .collect()
}

/// The defaults as a tree; those of secrets are no secrets and stand there in clear.
fn defaults() -> Value {
    let config = Config::default();
    let mut tree = serde_json::to_value(&config).expect("settings are plain values");
    for (key, secret) in secrets(&config) {
        let (section, name) = key.split_once('.').expect("a key is SECTION.NAME");
        tree[section][name] = secret.expose().into();
    }
    tree
}

fn properties(schema: &Value) -> &Map<String, Value> {
    schema["properties"].as_object().expect("a section is an object")
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().expect("every field has a doc comment").to_owned()
}

fn is_optional(schema: &Value) -> bool {
    let null = Value::from("null");
    schema["type"].as_array().is_some_and(|types| types.contains(&null))
        || schema["anyOf"].as_array().is_some_and(|forms| forms.iter().any(|form| form["type"] == null))
}

fn kind(schema: &Value) -> Kind {
    if let Some(forms) = schema["anyOf"].as_array() {
        return kind(forms.first().expect("an optional choice has two forms"));
    }
    if schema["oneOf"].is_array() {
        return Kind::Choice(words(schema));
    }
    let types = schema["type"].as_array().and_then(|types| types.first()).unwrap_or(&schema["type"]);
    match types.as_str().expect("a field has a type") {
        "boolean" => Kind::Bool,
        "integer" => Kind::Integer { max: largest(&schema["format"]) },
        "number" => Kind::Number,
        "array" => Kind::List(words(&schema["items"])),
        "string" if schema["writeOnly"] == true => Kind::Secret,
        "string" if schema["format"] == DurationText::FORMAT => Kind::Duration,
        "string" => Kind::Text,
        other => panic!("no setting is of type {other}"),
    }
}

fn words(schema: &Value) -> Vec<String> {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.filter_map(|choice| choice["const"].as_str()).map(str::to_owned).collect()
}

fn largest(format: &Value) -> u64 {
    match format.as_str() {
        Some("uint8") => u8::MAX.into(),
        Some("uint16") => u16::MAX.into(),
        Some("uint32") => u32::MAX.into(),
        _ => u64::MAX,
    }
}

// === impl Setting ===

impl Setting {
    /// `database.max_connections`
    pub(super) fn key(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `TOKENWARD_DATABASE__MAX_CONNECTIONS`
    pub(super) fn variable(&self) -> String {
        format!("TOKENWARD_{}__{}", self.section.to_uppercase(), self.name.to_uppercase())
    }
}

// === impl DurationText ===

impl DurationText {
    const FORMAT: &str = "humantime";
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(key: &str) -> &Kind {
        &setting(key).expect("a setting").kind
    }

    #[test]
    fn the_schema_tells_each_kind() {
        assert_eq!(kind_of("server.insecure"), &Kind::Bool);
        assert_eq!(kind_of("database.max_connections"), &Kind::Integer { max: u32::MAX.into() });
        assert_eq!(kind_of("breaker.failure_ratio"), &Kind::Number);
        assert_eq!(kind_of("tokens.ttl"), &Kind::Duration);
        assert_eq!(kind_of("redis.key_prefix"), &Kind::Text);
        assert_eq!(kind_of("database.url_file"), &Kind::Text);
        assert_eq!(kind_of("schema.user_attributes"), &Kind::List(vec![]));
        assert_eq!(kind_of("tokens.accept_digests"), &Kind::List(vec!["knox5".to_owned(), "knox4".to_owned()]));
        assert_eq!(kind_of("database.schema"), &Kind::Choice(vec!["native".to_owned(), "knox".to_owned()]));
        assert!(matches!(kind_of("schema.user_id_type"), Kind::Choice(words) if words.len() == 5));
    }

    #[test]
    fn a_setting_is_optional_when_its_field_is() {
        let optional: Vec<_> = settings().iter().filter(|setting| setting.optional).map(Setting::key).collect();
        assert_eq!(optional.len(), 31, "{optional:?}");
        assert!(optional.iter().all(|key| setting(key).is_some_and(|setting| setting.default.is_null())));
        assert!(settings().iter().filter(|setting| !setting.optional).all(|setting| !setting.default.is_null()));
    }

    #[test]
    fn every_setting_has_a_meaning_and_a_variable_of_its_own() {
        let mut variables: Vec<_> = settings().iter().map(Setting::variable).collect();
        assert!(variables.contains(&"TOKENWARD_DATABASE__MAX_CONNECTIONS".to_owned()));
        assert!(settings().iter().all(|setting| setting.meaning.ends_with('.')));
        assert!(variables.len() > 60);
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), settings().len());
    }

    #[test]
    fn every_secret_of_the_schema_can_be_reached_by_key() {
        let marked = settings().iter().filter(|setting| setting.kind == Kind::Secret).map(Setting::key);
        let config = Config::default();
        assert_eq!(marked.collect::<Vec<_>>(), secrets(&config).map(|(key, _)| key));
    }
}
