//! `tokenward completions SHELL`.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

/// What `completions` takes.
#[derive(Args)]
pub(super) struct Completions {
    /// For which shell.
    shell: Shell,
}

// === impl Completions ===

impl Completions {
    pub(super) fn script(&self, command: &mut Command) -> String {
        let mut script = Vec::new();
        generate(self.shell, command, "tokenward", &mut script);
        String::from_utf8(script).expect("scripts are made of text")
    }
}
