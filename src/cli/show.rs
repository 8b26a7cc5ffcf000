//! What verbs print: JSON as the contract names things, or aligned text for people.

use std::fmt;

use clap::Args;
use prost::Message;
use prost_types::{Duration, Timestamp};

use crate::proto::json::value;

/// For whom a verb prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Human,
    Json,
}

/// The flag of every verb that can print JSON.
#[derive(Args)]
pub(super) struct FormatArgs {
    /// Print one JSON object, with the contract's field names.
    #[arg(long, global = true)]
    json: bool,
}

/// Names and values, one pair a line, values aligned.
#[derive(Default)]
pub(super) struct Block(Vec<(&'static str, String)>);

/// Rows under a head, columns aligned.
pub(super) struct Table(Vec<Vec<String>>);

/// A message as JSON, on a line of its own. `name` is the message's full name.
pub(super) fn json(name: &str, message: &impl Message) -> String {
    format!("{}\n", value(name, message))
}

/// Text from elsewhere, without anything a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// An enum's value without the prefix that its type repeats.
pub(super) fn bare(name: &'static str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// An instant, or what its absence means.
pub(super) fn instant(time: Option<&Timestamp>, absent: &str) -> String {
    time.map_or_else(|| absent.to_owned(), ToString::to_string)
}

/// An instant without what is finer than a second, or what its absence means.
pub(super) fn second(time: Option<&Timestamp>, absent: &str) -> String {
    instant(time.map(|time| Timestamp { nanos: 0, ..*time }).as_ref(), absent)
}

/// A stretch of time; nothing when it is absent.
pub(super) fn stretch(time: Option<&Duration>) -> String {
    time.map(ToString::to_string).unwrap_or_default()
}

/// `a=1 b=2`, in the order of the names.
pub(super) fn pairs<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut pairs: Vec<_> = map.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.sort();
    pairs.join(" ")
}

// === impl FormatArgs ===

impl FormatArgs {
    pub(super) fn format(&self) -> Format {
        if self.json { Format::Json } else { Format::Human }
    }
}

// === impl Block ===

impl Block {
    /// Adds a line, unless its value is empty.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name, printable(&value)));
        }
        self
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name:width$}  {value}"))
    }
}

// === impl Table ===

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&name| name.to_owned()).collect()])
    }

    /// Adds a row with as many cells as the head.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = String>) {
        self.0.push(row.into_iter().map(|cell| printable(&cell)).collect());
    }

    fn width(&self, column: usize) -> usize {
        self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<_> = (0..self.0[0].len()).map(|column| self.width(column)).collect();
        self.0.iter().try_for_each(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}  "));
            writeln!(f, "{}", cells.collect::<String>().trim_end())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto as pb;

    #[test]
    fn json_has_the_contracts_names_and_says_what_is_false() {
        let response = pb::AuthenticateResponse {
            inactive_reason: pb::InactiveReason::Unknown.into(),
            age: Some(Duration { seconds: 1, nanos: 500_000_000 }),
            ..Default::default()
        };
        let text = json("tokenward.v1.AuthenticateResponse", &response);
        for part in [r#""active":false"#, r#""inactive_reason":"INACTIVE_REASON_UNKNOWN""#, r#""age":"1.500s""#] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn columns_are_aligned_and_controls_are_shown() {
        let mut table = Table::new(&["ID", "NAME"]);
        table.push(["long id".to_owned(), "a\u{1b}b".to_owned()]);
        assert_eq!(table.to_string(), "ID       NAME\nlong id  a\\u{1b}b\n");
        let block = Block::default().with("a", "1").with("none", "").with("long", "2");
        assert_eq!(block.to_string(), "a     1\nlong  2\n");
    }
}
