//! Callers: the file that names them, their keys beside it, and calls with a key.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{
    canary,
    server::{Settings, directory, setting},
};

/// A key of the caller that may do everything.
pub(crate) const ADMIN: &str = "admin-key-0123456789abcdef0123456789abcdef";
/// A key of the caller that may only authenticate.
pub(crate) const GATEWAY: &str = "gateway-key-0123456789abcdef0123456789abcdef";

/// The callers of most tests, with files beside the callers file.
pub(crate) const CALLERS: &str = r#"
    [[caller]]
    name = "admin"
    keys_file = "admin.keys"
    methods = ["*"]

    [[caller]]
    name = "gateway"
    keys_file = "gateway.keys"
    methods = ["TokenService/Authenticate", "TokenService/BatchAuthenticate"]
"#;

/// A directory with the callers of most tests and their keys, and the setting that names the file.
pub(crate) fn known() -> (TempDir, Settings) {
    written(CALLERS, &[("admin.keys", ADMIN), ("gateway.keys", GATEWAY)])
}

/// The same with other callers, and the files of keys that they name.
pub(crate) fn written(callers: &str, keys: &[(&str, &str)]) -> (TempDir, Settings) {
    let dir = directory();
    for (file, key) in keys {
        canary::know(key);
        fs::write(dir.path().join(file), key).expect("a test's directory is writable");
    }
    let settings = name_callers(dir.path(), callers);
    (dir, settings)
}

/// Writes the callers file, and gives the setting that names it.
pub(crate) fn name_callers(dir: &Path, callers: &str) -> Settings {
    let file = dir.join("callers.toml");
    fs::write(&file, callers).expect("a test's directory is writable");
    vec![setting("TOKENWARD_CALLERS__FILE", file.to_str().expect("a test's path is text"))]
}

/// The header of a key.
pub(crate) fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// A request with a key.
pub(crate) fn with_key<T>(message: T, key: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", bearer(key).parse().expect("a test's key is visible ASCII"));
    request
}
