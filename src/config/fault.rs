//! What is wrong with the settings, where it was said, and what to do about it.
//!
//! A fault never repeats the text that was given: it may be a password that landed in
//! the wrong place. Only values that parsed as a number, a time or an address are shown.

use std::{fmt, path::PathBuf};

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// The TOML file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// This flag, with its dashes.
    Flag(&'static str),
    /// The file that a `.._file` setting names.
    SecretFile(PathBuf),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The setting, as `SECTION.NAME`.
    pub key: String,
    /// Where it was set.
    pub from: Origin,
    /// What is wrong.
    pub problem: String,
    /// What would be right.
    pub remedy: String,
}

/// Everything that is wrong, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// The candidate that was probably meant: the same name elsewhere, or a slip of the pen.
pub(super) fn nearest<S: AsRef<str>>(wanted: &str, candidates: impl IntoIterator<Item = S>) -> Option<S> {
    let distance = |name: &str| match name.rsplit_once('.') {
        Some((_, leaf)) if leaf == wanted => 0,
        _ => strsim::damerau_levenshtein(wanted, name),
    };
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate.as_ref()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 1.max(wanted.len() / 4))
        .map(|(_, candidate)| candidate)
}

// === impl Origin ===

impl Origin {
    /// Which layer it belongs to; the higher wins.
    pub(super) fn layer(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
            Self::SecretFile(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "environment variable {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::SecretFile(path) => write!(f, "the contents of {}", path.display()),
        }
    }
}

// === impl Fault ===

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}\n    {}", self.key, self.from, self.problem, self.remedy)
    }
}

// === impl Faults ===

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 fault in the configuration:")?,
            count => write!(f, "{count} faults in the configuration:")?,
        }
        self.0.iter().try_for_each(|fault| write!(f, "\n  {}", fault.to_string().replace('\n', "\n  ")))
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_key_origin_problem_and_remedy() {
        let fault = Fault {
            key: "server.listen".to_owned(),
            from: Origin::Flag("--listen"),
            problem: "is not ADDRESS:PORT".to_owned(),
            remedy: "give 127.0.0.1:50051".to_owned(),
        };
        let shown = Faults(vec![fault.clone(), fault]).to_string();
        assert_eq!(
            shown,
            "2 faults in the configuration:\
             \n  server.listen (flag --listen): is not ADDRESS:PORT\n      give 127.0.0.1:50051\
             \n  server.listen (flag --listen): is not ADDRESS:PORT\n      give 127.0.0.1:50051"
        );
    }

    #[test]
    fn the_nearest_name_is_a_slip_away_or_the_same_in_another_section() {
        let names = ["server.listen", "database.max_connections", "redis.connections"];
        assert_eq!(nearest("database.max_connection", names), Some("database.max_connections"));
        assert_eq!(nearest("listen", names), Some("server.listen"));
        assert_eq!(nearest("server.colour", names), None);
    }
}
