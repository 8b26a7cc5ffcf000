//! Who may call, and what whoever connects can do to the others.

use std::{fs, path::Path};

use crate::harness::{
    canary,
    server::{Settings, directory, setting},
};

mod counted;
mod exposure;
mod floods;
mod keys;
mod methods;
mod quota;
mod sockets;
pub(crate) mod tls;

/// A key of the caller that may do everything.
pub(crate) const ADMIN: &str = "admin-key-0123456789abcdef0123456789abcdef";
/// A key of the caller that may only authenticate.
pub(crate) const GATEWAY: &str = "gateway-key-0123456789abcdef0123456789abcdef";

/// The callers of most tests, with files beside the callers file.
const CALLERS: &str = r#"
    [[caller]]
    name = "admin"
    keys_file = "admin.keys"
    methods = ["*"]

    [[caller]]
    name = "gateway"
    keys_file = "gateway.keys"
    methods = ["TokenService/Authenticate", "TokenService/BatchAuthenticate"]
"#;

/// A directory with the callers file and the keys, and the setting that names the file.
pub(crate) fn known() -> (tempfile::TempDir, Settings) {
    [ADMIN, GATEWAY].into_iter().for_each(canary::know);
    let dir = directory();
    fs::write(dir.path().join("admin.keys"), ADMIN).expect("a test's directory is writable");
    fs::write(dir.path().join("gateway.keys"), GATEWAY).expect("a test's directory is writable");
    let settings = name_callers(dir.path(), CALLERS);
    (dir, settings)
}

/// Writes the callers file, and gives the setting that names it.
fn name_callers(dir: &Path, callers: &str) -> Settings {
    let file = dir.join("callers.toml");
    fs::write(&file, callers).expect("a test's directory is writable");
    vec![setting("TOKENWARD_CALLERS__FILE", file.to_str().expect("a test's path is text"))]
}

/// The header of a key.
fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// A request with a key.
pub(crate) fn with_key<T>(message: T, key: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", bearer(key).parse().expect("a test's key is visible ASCII"));
    request
}
