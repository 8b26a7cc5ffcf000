//! `tokenward version`.

pub(super) fn text() -> String {
    concat!("tokenward ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
}
