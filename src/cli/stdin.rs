//! What is read from standard input: tokens, since whoever can list processes reads their arguments, and
//! whether something is meant that cannot be taken back.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use clap::Args;
use rpassword::ConfigBuilder;
use zeroize::Zeroizing;

use super::Failure;
use crate::config::SecretText;

/// More than any token has; what is longer is refused by the server.
const LONGEST: u64 = 4096;

/// The place where others would take the token.
#[derive(Args)]
pub(super) struct Words {
    /// `-` or nothing: the token is read from standard input, one line; a terminal is asked without echo.
    #[arg(value_name = "-", id = "token")]
    words: Vec<SecretText>,
}

/// Reads a token: one line, without the white space around it.
pub(super) fn read() -> Result<SecretText, Failure> {
    let stdin = io::stdin();
    let line = if stdin.is_terminal() { prompt() } else { line(stdin.lock().take(LONGEST)) };
    let line = line.map_err(Failure::Input)?;
    match line.trim() {
        "" => Err(Failure::Usage("there is no token on standard input".to_owned())),
        token => Ok(SecretText::new(token)),
    }
}

/// Asks whoever sits at a terminal; a script is taken at its word.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    if io::stdin().is_terminal() { agreed(question, io::stdin().lock()) } else { Ok(()) }
}

fn agreed(question: &str, mut answers: impl BufRead) -> Result<(), Failure> {
    write!(io::stderr().lock(), "{question} [y/N] ").map_err(Failure::Output)?;
    let mut answer = String::new();
    answers.read_line(&mut answer).map_err(Failure::Input)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Declined),
    }
}

fn prompt() -> io::Result<Zeroizing<String>> {
    let config = ConfigBuilder::new().output_writer(io::stderr()).build();
    rpassword::prompt_password_with_config("token: ", config).map(Zeroizing::new)
}

fn line(mut input: impl BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    input.read_line(&mut line)?;
    Ok(line)
}

// === impl Words ===

impl Words {
    /// Reads the token, unless it stands where it must not; then it is not repeated.
    pub(super) fn read(&self) -> Result<SecretText, Failure> {
        if self.words.iter().any(|word| word.expose() != "-") {
            return Err(Failure::Usage(
                "a token is read from standard input, never from an argument, which other processes can read; \
                 treat the one you gave as exposed"
                    .to_owned(),
            ));
        }
        read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_taken_for_one() {
        for (answer, agrees) in [("y\n", true), ("YES\r\n", true), ("\n", false), ("", false), ("no\n", false)] {
            assert_eq!(agreed("sure?", answer.as_bytes()).is_ok(), agrees, "{answer:?}");
        }
    }

    #[test]
    fn only_the_first_line_is_read() {
        assert_eq!(line(&b"secret\r\nmore\n"[..]).unwrap().trim(), "secret");
    }
}
