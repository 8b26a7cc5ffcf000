//! Reads the files that settings come from. What they hold never shows in a fault.

use std::{fs, io, path::Path};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::config::coerce::Misfit;

/// The sections of a TOML file.
pub(super) fn read_table(path: &Path) -> Result<Map<String, Value>, Misfit> {
    let remedy = "name a file that this user may read";
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| cannot_read(&error, remedy))?;
    // At once into what becomes the settings, so that no copy of a secret is left behind.
    toml::from_str(&text).map_err(|error| no_toml(&text, &error))
}

/// The parser's own `Display` quotes the line, which may hold a password.
fn no_toml(text: &str, error: &toml::de::Error) -> Misfit {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Misfit::new(
        format!("is not TOML at line {line}"),
        format!("the parser says: {}", error.message().replace('\n', ", ")),
    )
}

/// The text of a file, without the newline at its end.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<String>, Misfit> {
    let remedy = "name a file that this user may read";
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| cannot_read(&error, remedy))?;
    let trimmed = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if trimmed.is_empty() {
        return Err(Misfit::new("names an empty file", "write the secret into it, or unset this setting"));
    }
    Ok(Zeroizing::new(trimmed.to_owned()))
}

fn cannot_read(error: &io::Error, remedy: &str) -> Misfit {
    Misfit::new(format!("cannot be read: {error}"), remedy)
}
