//! Puts the sources together: flags over environment over file over defaults.
//!
//! Every value is held against its setting on its own, so that one fault hides no other.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    Config, Fault, Faults, Origin, SecretText,
    coerce::{Misfit, check, from_text},
    fault::nearest,
    settings::{Setting, sections, setting, settings},
    validate::validate,
};

mod files;

use files::{read_secret, read_table};

/// Where settings come from.
#[derive(Debug)]
pub struct Sources<E> {
    /// What the settings are for.
    pub purpose: Purpose,
    /// The TOML file; none is looked for.
    pub file: Option<PathBuf>,
    /// The environment, as name and value.
    pub env: E,
    /// What the command line sets.
    pub flags: Vec<Flag>,
}

/// What settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To listen: the address is judged too.
    Serve,
    /// To reach the database only: `server.listen` may be one that `serve` needs `--insecure` for.
    Migrate,
}

/// A flag that sets a setting.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As the user types it: `--listen`.
    pub spelling: &'static str,
    /// The setting: `server.listen`.
    pub key: &'static str,
    /// Its value.
    pub text: SecretText,
}

/// Settings without fault, and where each comes from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The settings; secrets that files hold have been read.
    pub config: Config,
    /// By key; what is not in here is a default.
    pub origins: BTreeMap<String, Origin>,
}

/// Reads all sources and judges the result.
///
/// # Errors
/// [`Faults`] with everything that is wrong in any source.
pub fn load<E: IntoIterator<Item = (String, String)>>(sources: Sources<E>) -> Result<Loaded, Faults> {
    let mut layers = Layers::default();
    if let Some(path) = &sources.file {
        layers.add_file(path);
    }
    layers.add_environment(sources.env);
    layers.add_flags(sources.flags);
    layers.read_secret_files();
    layers.finish(sources.purpose)
}

/// The values so far, by key.
#[derive(Default)]
struct Layers {
    values: BTreeMap<String, Given>,
    faults: Vec<Fault>,
    broken: BTreeSet<String>,
}

struct Given {
    value: Value,
    origin: Origin,
}

/// The settings that may stand in a file of their own, and those that name the file.
const SECRET_FILES: [(&str, &str); 7] = [
    ("database.url", "database.url_file"),
    ("redis.url", "redis.url_file"),
    ("redis.password", "redis.password_file"),
    ("cache.mac_key", "cache.mac_key_file"),
    ("cache.mac_key_previous", "cache.mac_key_previous_file"),
    ("knox_redis.url", "knox_redis.url_file"),
    ("knox_redis.password", "knox_redis.password_file"),
];

// === impl Loaded ===

impl Loaded {
    /// Where the value of a key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }
}

// === impl Layers ===

impl Layers {
    fn add_file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        match read_table(path) {
            Ok(table) => table.into_iter().for_each(|(name, section)| self.add_section(&name, section, &origin)),
            Err(misfit) => self.refuse("--config", origin, misfit),
        }
    }

    fn add_section(&mut self, section: &str, fields: Value, origin: &Origin) {
        let known = sections().iter().any(|(name, _)| name == section);
        match fields {
            Value::Object(fields) if known => {
                fields
                    .into_iter()
                    .for_each(|(name, value)| self.add_field(&format!("{section}.{name}"), value, origin));
            }
            _ if known => {
                self.refuse(
                    section,
                    origin.clone(),
                    Misfit::new("is a section", format!("put its settings under [{section}]")),
                );
            }
            _ => self.refuse(section, origin.clone(), unknown_section(section)),
        }
    }

    fn add_field(&mut self, key: &str, value: Value, origin: &Origin) {
        match setting(key) {
            Some(setting) => self.add(setting, check(setting, value), origin.clone()),
            None => self.refuse(key, origin.clone(), unknown_key(key)),
        }
    }

    fn add_environment(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        let sorted: BTreeMap<_, _> = env.into_iter().collect();
        for (variable, text) in sorted {
            if let Some(name) = variable.strip_prefix("TOKENWARD_") {
                self.add_variable(&variable, name, &Zeroizing::new(text));
            }
        }
    }

    /// Only names with a double underscore are ours: Kubernetes sets `TOKENWARD_PORT` and
    /// the like for a Service of our name.
    fn add_variable(&mut self, variable: &str, name: &str, text: &str) {
        let origin = Origin::Environment(variable.to_owned());
        if name.contains("__") {
            let key = name.replacen("__", ".", 1).to_lowercase();
            match setting(&key).filter(|setting| setting.variable() == variable) {
                Some(setting) => self.add_text(setting, text, origin),
                None => self.refuse(&key, origin, unknown_variable(variable)),
            }
        } else if let Some(meant) = setting(&name.replacen('_', ".", 1).to_lowercase()) {
            let misfit = Misfit::new("has one underscore after its section", format!("write {}", meant.variable()));
            self.refuse(&meant.key(), origin, misfit);
        }
    }

    fn add_flags(&mut self, flags: Vec<Flag>) {
        for Flag { spelling, key, text } in flags {
            match setting(key) {
                Some(setting) => self.add_text(setting, text.expose(), Origin::Flag(spelling)),
                None => self.refuse(key, Origin::Flag(spelling), unknown_key(key)),
            }
        }
    }

    fn add_text(&mut self, setting: &Setting, text: &str, origin: Origin) {
        if let Some(value) = from_text(setting, text).transpose() {
            self.add(setting, value, origin);
        }
    }

    fn add(&mut self, setting: &Setting, value: Result<Value, Misfit>, origin: Origin) {
        match value {
            Ok(value) => {
                self.values.insert(setting.key(), Given { value, origin });
            }
            Err(misfit) => self.refuse(&setting.key(), origin, misfit),
        }
    }

    fn refuse(&mut self, key: &str, from: Origin, Misfit { problem, remedy }: Misfit) {
        self.broken.insert(key.to_owned());
        self.faults.push(Fault { key: key.to_owned(), from, problem, remedy });
    }

    fn read_secret_files(&mut self) {
        for (key, file_key) in SECRET_FILES {
            self.read_secret_file(key, file_key);
        }
    }

    /// The higher layer wins; within one layer, a value and a file contradict each other.
    fn read_secret_file(&mut self, key: &str, file_key: &str) {
        let Some(named) = self.values.get(file_key) else { return };
        let value = self.values.get(key).filter(|given| given.value != "");
        let (from, value_layer) = (named.origin.clone(), value.map_or(0, |given| given.origin.layer()));
        match from.layer().cmp(&value_layer) {
            Ordering::Less => {
                self.values.remove(file_key);
            }
            Ordering::Equal => {
                self.refuse(file_key, from, Misfit::new(format!("stands beside {key}"), "remove one of the two"));
            }
            Ordering::Greater => self.take_secret(key, file_key, from),
        }
    }

    fn take_secret(&mut self, key: &str, file_key: &str, from: Origin) {
        let path = PathBuf::from(self.values[file_key].value.as_str().unwrap_or_default());
        match read_secret(&path) {
            Ok(text) => {
                let given = Given { value: Value::from(text.as_str()), origin: Origin::SecretFile(path) };
                self.values.insert(key.to_owned(), given);
            }
            Err(misfit) => {
                self.broken.insert(key.to_owned());
                self.refuse(file_key, from, misfit);
            }
        }
    }

    fn finish(mut self, purpose: Purpose) -> Result<Loaded, Faults> {
        let origins = self.values.iter().map(|(key, given)| (key.clone(), given.origin.clone())).collect();
        let loaded = Loaded { config: into_config(self.values), origins };
        // A file that could not be read makes everything that it would have said look wrong.
        if !self.broken.contains("--config") {
            self.faults.extend(validate(&loaded, purpose, &self.broken));
        }
        if self.faults.is_empty() { Ok(loaded) } else { Err(Faults(self.faults)) }
    }
}

fn into_config(values: BTreeMap<String, Given>) -> Config {
    let mut tree = Map::new();
    for (key, given) in values {
        let (section, name) = key.split_once('.').expect("a key is SECTION.NAME");
        tree.entry(section).or_insert_with(|| json!({}))[name] = given.value;
    }
    serde_json::from_value(Value::Object(tree)).expect("every value was accepted by its own field")
}

fn unknown_section(name: &str) -> Misfit {
    let names = sections().into_iter().map(|(section, _)| section).chain(settings().iter().map(Setting::key));
    Misfit::unknown("is no section", nearest(name, names))
}

fn unknown_key(key: &str) -> Misfit {
    Misfit::unknown("is no setting", nearest(key, settings().iter().map(Setting::key)))
}

fn unknown_variable(variable: &str) -> Misfit {
    Misfit::unknown("is no setting", nearest(variable, settings().iter().map(Setting::variable)))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
