//! Whether a value fits its setting, and what a text means as one.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Config,
    fault::nearest,
    settings::{Kind, Setting},
};

/// The longest time that a setting may be, a hundred years: sums of such times are times still.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// Why a value does not fit. Says what was expected, never what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// What is wrong.
    pub(super) problem: String,
    /// What would be right.
    pub(super) remedy: String,
}

/// Reads the text of a variable or a flag; `None` when it is empty and the setting may
/// be left unset.
pub(super) fn from_text(setting: &Setting, text: &str) -> Result<Option<Value>, Misfit> {
    if text.is_empty() && setting.optional {
        return Ok(None);
    }
    let value = match &setting.kind {
        Kind::Bool => text.parse().map_or(Value::Null, Value::Bool),
        Kind::Integer { .. } => text.parse::<u64>().map_or(Value::Null, Value::from),
        Kind::Number => text.parse::<f64>().map_or(Value::Null, Value::from),
        Kind::List(_) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect(),
        Kind::Duration | Kind::Text | Kind::Choice(_) | Kind::Secret => Value::from(text),
    };
    check(setting, value).map(Some)
}

/// Hands back a value that fits its setting.
pub(super) fn check(setting: &Setting, value: Value) -> Result<Value, Misfit> {
    let fits = match &setting.kind {
        Kind::Bool => value.is_boolean(),
        Kind::Integer { max } => value.as_u64().is_some_and(|number| number <= *max),
        Kind::Number => value.is_number(),
        Kind::Duration => value.as_str().is_some_and(is_duration),
        Kind::Text | Kind::Secret => value.is_string(),
        Kind::Choice(words) => value.as_str().is_some_and(|word| words.iter().any(|known| known == word)),
        Kind::List(_) => value.as_array().is_some_and(|items| items.iter().all(Value::is_string)),
    };
    if fits && is_accepted(setting, &value) { Ok(value) } else { Err(misfit(&setting.kind, &value)) }
}

/// Asks the type itself, so that a tree of checked values always becomes a [`Config`].
fn is_accepted(setting: &Setting, value: &Value) -> bool {
    serde_json::from_value::<Config>(json!({ &setting.section: { &setting.name: value } })).is_ok()
}

/// humantime takes a bare `0`; here every duration has its unit.
fn is_duration(text: &str) -> bool {
    bare_number(text).is_none() && humantime::parse_duration(text).is_ok_and(|time| time <= LONGEST)
}

fn bare_number(text: &str) -> Option<&str> {
    let text = text.trim();
    text.parse::<f64>().is_ok_and(f64::is_finite).then_some(text)
}

fn misfit(kind: &Kind, value: &Value) -> Misfit {
    let (problem, remedy) = match kind {
        Kind::Bool => ("is not a truth value".to_owned(), "give true or false".to_owned()),
        Kind::Integer { max } => (format!("is not a whole number from 0 to {max}"), "give digits only".to_owned()),
        Kind::Number => ("is not a number".to_owned(), "give a number such as 0.5".to_owned()),
        Kind::Duration => duration_misfit(value),
        Kind::Text | Kind::Secret => ("is not text".to_owned(), "give text, in quotes in the file".to_owned()),
        Kind::Choice(words) => choice_misfit(words, value),
        Kind::List(words) if !words.is_empty() => (
            format!("is not a list of {}", words.join(", ")),
            format!(r#"give ["{}"] in the file, {} in a variable"#, words.join(r#"", ""#), words.join(",")),
        ),
        Kind::List(_) => {
            ("is not a list of texts".to_owned(), r#"give ["a", "b"] in the file, a,b in a variable"#.to_owned())
        }
    };
    Misfit { problem, remedy }
}

fn duration_misfit(value: &Value) -> (String, String) {
    let number = match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => bare_number(text).map(str::to_owned),
        _ => None,
    };
    match number {
        Some(number) => ("is a time without a unit".to_owned(), format!("give \"{number}s\" or \"{number}ms\"")),
        None if value.as_str().is_some_and(|text| humantime::parse_duration(text).is_ok()) => {
            ("is longer than 100 years".to_owned(), "give a shorter time, such as \"72h\"".to_owned())
        }
        None => ("is not a time".to_owned(), "give a number and a unit, such as \"50ms\", \"1s\", \"72h\"".to_owned()),
    }
}

fn choice_misfit(words: &[String], value: &Value) -> (String, String) {
    let meant = nearest(value.as_str().unwrap_or_default(), words);
    let remedy = match meant {
        Some(word) => format!("did you mean {word}?"),
        None => "give one of these words".to_owned(),
    };
    (format!("is none of {}", words.join(", ")), remedy)
}

// === impl Misfit ===

impl Misfit {
    /// What is wrong, and what would be right.
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }

    /// Something that is not known; `meant` is what probably is.
    pub(super) fn unknown(problem: &str, meant: Option<String>) -> Self {
        let remedy = match meant {
            Some(meant) => format!("did you mean {meant}?"),
            None => "`tokenward config default` lists all of them".to_owned(),
        };
        Self::new(problem, remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::settings::setting, *};

    fn text(key: &str, text: &str) -> Result<Option<Value>, Misfit> {
        from_text(setting(key).expect("a setting"), text)
    }

    fn value(key: &str, value: Value) -> Result<Value, Misfit> {
        check(setting(key).expect("a setting"), value)
    }

    #[test]
    fn a_text_is_read_by_the_type_of_its_setting() {
        assert_eq!(text("tokens.prefix", "12345"), Ok(Some(json!("12345"))));
        assert_eq!(text("server.insecure", "true"), Ok(Some(json!(true))));
        assert_eq!(text("database.max_connections", "12"), Ok(Some(json!(12))));
        assert_eq!(text("breaker.failure_ratio", "1"), Ok(Some(json!(1.0))));
        assert_eq!(text("schema.user_attributes", "username, email,"), Ok(Some(json!(["username", "email"]))));
        assert_eq!(text("tokens.ttl", "1h 30m"), Ok(Some(json!("1h 30m"))));
        assert_eq!(text("schema.user_id_type", "uuid"), Ok(Some(json!("uuid"))));
    }

    #[test]
    fn a_time_is_at_most_a_hundred_years() {
        assert_eq!(text("tokens.ttl", "36500days"), Ok(Some(json!("36500days"))));
        for longer in ["36501days", "1000000years"] {
            let misfit = text("tokens.ttl", longer).expect_err(longer);
            assert_eq!(misfit.problem, "is longer than 100 years");
        }
    }

    #[test]
    fn an_empty_text_leaves_an_optional_setting_alone_and_is_a_value_or_a_misfit_elsewhere() {
        assert_eq!(text("schema.token_table", ""), Ok(None));
        assert_eq!(text("redis.url", ""), Ok(Some(json!(""))));
        assert!(text("database.max_connections", "").is_err());
        assert!(text("server.insecure", "").is_err());
        assert!(text("tokens.ttl", "").is_err());
    }

    #[test]
    fn a_time_without_its_unit_is_refused_and_the_remedy_shows_one() {
        for given in [
            value("tokens.ttl", json!(90)),
            value("tokens.ttl", json!("90")),
            text("tokens.ttl", "90").map(Value::from),
        ] {
            let misfit = given.expect_err("no unit");
            assert_eq!(misfit.problem, "is a time without a unit");
            assert_eq!(misfit.remedy, "give \"90s\" or \"90ms\"");
        }
        assert!(text("tokens.max_ttl", "0").is_err());
        assert!(text("tokens.max_ttl", "0s").is_ok());
        assert!(text("tokens.ttl", "-1s").is_err());
        assert!(text("tokens.ttl", "99999999999999999999h").is_err());
    }

    #[test]
    fn a_misfit_tells_what_is_expected_and_not_what_was_given() {
        for (key, given) in [
            ("database.schema", json!("s3cret")),
            ("database.max_connections", json!("s3cret")),
            ("server.insecure", json!("s3cret")),
            ("tokens.ttl", json!("s3cret")),
            ("breaker.failure_ratio", json!("s3cret")),
            ("schema.user_attributes", json!("s3cret")),
            ("redis.password", json!({ "s3cret": "s3cret" })),
        ] {
            let misfit = value(key, given).expect_err(key);
            assert!(!format!("{misfit:?}").contains("s3cret"), "{misfit:?}");
        }
        assert_eq!(text("database.schema", "knoxx").expect_err("misspelt").remedy, "did you mean knox?");
        assert!(value("database.max_connections", json!(u64::from(u32::MAX) + 1)).is_err());
        assert!(value("database.max_connections", json!(-1)).is_err());
        assert!(value("database.max_connections", json!(1.5)).is_err());
        assert!(text("breaker.failure_ratio", "NaN").is_err());
    }
}
