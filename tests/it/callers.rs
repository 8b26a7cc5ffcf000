//! Who may call, and what whoever connects can do to the others.

use crate::harness::callers::{ADMIN, CALLERS, GATEWAY, bearer, known, name_callers, with_key};

mod counted;
mod exposure;
mod floods;
mod keys;
mod methods;
mod quota;
mod sockets;
pub(crate) mod tls;
