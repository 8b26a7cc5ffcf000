//! Fills of a cache that reach Redis late, while everything else passes.
//!
//! A fill that is held back is taken out of its connection, which gets the answer of a
//! harmless command in its place, and is sent to Redis later on a connection of its own:
//! what a replica does that is not scheduled between its read and its write.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// What becomes of fills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fills {
    /// They pass.
    #[default]
    Pass,
    /// They are kept until they are let go.
    Hold,
    /// Every other one, by chance, is late by up to this.
    Late(Duration),
}

/// Those that are kept.
pub(super) type Held = Arc<Mutex<Vec<Vec<u8>>>>;

/// Longer than any argument of a command that is no fill: keys, hashes of scripts and tombstones.
const SHORTEST_FACT: usize = 64;
/// Its answer takes the place of a fill's.
const HARMLESS: &[u8] = b"*2\r\n$4\r\nECHO\r\n$2\r\nOK\r\n";

/// What a client sends, cut into commands.
#[derive(Default)]
pub(super) struct Sieve {
    buffer: Vec<u8>,
}

// === impl Sieve ===

impl Sieve {
    /// Takes bytes in, and gives those that may pass now.
    pub(super) fn sift(&mut self, bytes: &[u8], fills: Fills, held: &Held, upstream: &Path) -> Vec<u8> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.first().is_some_and(|first| *first != b'*') {
            return std::mem::take(&mut self.buffer);
        }
        let mut passing = Vec::new();
        while let Some((length, words)) = command(&self.buffer) {
            let fill = is_fill(&words);
            let command: Vec<u8> = self.buffer.drain(..length).collect();
            match fills {
                Fills::Hold if fill => held.lock().expect("nobody panics with it").push(command),
                Fills::Late(most) if fill && rand::random() => delay(command, most, upstream),
                Fills::Pass | Fills::Hold | Fills::Late(_) => {
                    passing.extend(command);
                    continue;
                }
            }
            passing.extend_from_slice(HARMLESS);
        }
        passing
    }
}

fn delay(command: Vec<u8>, most: Duration, upstream: &Path) {
    let upstream = upstream.to_owned();
    tokio::spawn(async move {
        tokio::time::sleep(most.mul_f64(rand::random())).await;
        deliver(&command, &upstream).await;
    });
}

/// Sends a command to Redis and waits for its answer, if there is one.
pub(super) async fn deliver(command: &[u8], upstream: &Path) {
    let Ok(mut stream) = UnixStream::connect(upstream).await else { return };
    if stream.write_all(command).await.is_ok() {
        // Redis answers what it has done; one that is gone has done nothing.
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await;
    }
}

fn is_fill(words: &[&[u8]]) -> bool {
    let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    let data = match name.as_slice() {
        b"EVAL" | b"EVALSHA" => 3,
        b"SET" => 2,
        _ => return false,
    };
    words.iter().skip(data).any(|word| word.len() > SHORTEST_FACT)
}

/// The first whole command: its length, and its words.
fn command(bytes: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (mut at, count) = header(bytes, 0, b'*')?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (start, length) = header(bytes, at, b'$')?;
        words.push(bytes.get(start..start + length)?);
        at = start + length + 2;
    }
    (at <= bytes.len()).then_some((at, words))
}

/// A count after `mark`, and where what it counts begins.
fn header(bytes: &[u8], at: usize, mark: u8) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?.strip_prefix(&[mark])?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let count = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    Some((at + 1 + end + 2, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resp(words: &[&str]) -> String {
        let head = format!("*{}\r\n", words.len());
        words.iter().fold(head, |command, word| format!("{command}${}\r\n{word}\r\n", word.len()))
    }

    #[test]
    fn a_fill_is_kept_and_its_neighbours_pass_however_they_are_cut() {
        let fact = "f".repeat(100);
        let (get, put) = (resp(&["GETRANGE", "k", "0", "9"]), resp(&["EVALSHA", "sha", "1", "k", &fact, "60000"]));
        let tombstone = resp(&["SET", "k", "0", "PX", "1000"]);
        let sent = format!("{get}{put}{tombstone}");
        let expected = format!("{get}{}{tombstone}", String::from_utf8_lossy(HARMLESS));
        for size in [1, 7, sent.len()] {
            let (mut sieve, held) = (Sieve::default(), Held::default());
            let mut passed = Vec::new();
            for bytes in sent.as_bytes().chunks(size) {
                passed.extend(sieve.sift(bytes, Fills::Hold, &held, Path::new("")));
            }
            assert_eq!(String::from_utf8_lossy(&passed), expected);
            assert_eq!(*held.lock().unwrap(), [put.clone().into_bytes()]);
        }
    }
}
