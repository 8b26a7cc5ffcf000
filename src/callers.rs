//! Who may call: names, credentials, and the methods that each may use.
//!
//! A caller proves its name by a preshared key or by a certificate that the TLS layer has verified. Keys are held as
//! SHA-256 digests only. What is decided here is decided for each call, so that a changed file counts at once, also
//! on connections that are open.

mod directory;
mod file;
mod method;

pub use directory::{Caller, Credential, Directory, Refused, San};
pub use file::load;
pub use method::{Methods, method};
