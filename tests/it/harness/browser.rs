//! Debian's Chromium without a window: what it makes of a page, and what it asked for.

use std::{path::Path, process::Command};

use serde_json::Value;

use super::template::{self, directory};

/// What became of a page.
pub(crate) struct Visit {
    /// The document after its scripts have run.
    pub(crate) dom: String,
    /// What the console said, one message a line.
    pub(crate) console: Vec<String>,
    /// The addresses that the page asked for, itself included.
    pub(crate) requests: Vec<String>,
}

/// How a page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Opens a page, lets so many seconds of its time pass, and tells what there is then.
pub(crate) async fn visit(url: &str, seconds: u32) -> Visit {
    let dir = directory();
    let log = dir.path().join("net.json");
    let mut chromium = command(dir.path(), seconds);
    chromium.arg(format!("--log-net-log={}", log.display())).args(["--dump-dom", url]);
    let (dom, errors) = run(chromium).await;
    let console = errors.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    Visit { dom, console, requests: requests(&std::fs::read_to_string(log).expect("Chromium wrote its log")) }
}

/// Writes a picture of a page.
pub(crate) async fn picture(url: &str, scheme: Scheme, size: (u32, u32), file: &Path) {
    let dir = directory();
    let mut chromium = command(dir.path(), 3);
    let preferred = u8::from(scheme == Scheme::Light);
    chromium.arg(format!("--blink-settings=preferredColorScheme={preferred}")).arg("--hide-scrollbars");
    chromium.arg(format!("--window-size={},{}", size.0, size.1));
    chromium.arg(format!("--screenshot={}", file.display())).arg(url);
    run(chromium).await;
    assert!(file.exists(), "Chromium wrote no picture");
}

/// The colour of a picture's first pixel: red, green and blue. No filter of PNG changes that one.
pub(crate) fn corner(picture: &Path) -> [u8; 3] {
    let hex = template::run(Command::new("python3").arg("-c").arg(CORNER).arg(picture));
    let colour = u32::from_str_radix(hex.trim(), 16).expect("three bytes in hexadecimal");
    let [_, colour @ ..] = colour.to_be_bytes();
    colour
}

/// The chunks of a PNG, and what follows the filter of the first row in those of the image.
const CORNER: &str = r#"
import struct, sys, zlib
png, at, data = open(sys.argv[1], "rb").read(), 8, b""
while at < len(png):
    size, kind = struct.unpack_from(">I4s", png, at)
    data += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
    at += 12 + size
print(zlib.decompress(data)[1:4].hex())
"#;

fn command(home: &Path, seconds: u32) -> Command {
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--disable-dev-shm-usage", "--enable-logging=stderr"]);
    // Nothing but what is under test is reached.
    chromium.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
    chromium.arg(format!("--user-data-dir={}", home.join("profile").display()));
    chromium.arg(format!("--virtual-time-budget={}", seconds * 1000));
    chromium
}

async fn run(mut chromium: Command) -> (String, String) {
    let running = tokio::task::spawn_blocking(move || chromium.output());
    let output = running.await.expect("it does not panic").expect("chromium is installed: make deps");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// The addresses in the network log's beginnings of requests. What Chromium asks for itself, such as updates, is no
/// page's: it has another key of isolation.
fn requests(log: &str) -> Vec<String> {
    let log: Value = serde_json::from_str(log).expect("the log is JSON");
    let began = &log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"];
    let events = log["events"].as_array().expect("the log has events").iter();
    let of_page = |event: &&Value| {
        let key = event["params"]["network_isolation_key"].as_str();
        event["type"] == *began && key.is_some_and(|key| key.starts_with("http://127.0.0.1"))
    };
    events.filter(of_page).filter_map(|event| event["params"]["url"].as_str()).map(str::to_owned).collect()
}
