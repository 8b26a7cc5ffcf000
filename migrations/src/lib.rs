//! The schema's history: one dated file per change, expand first, contract a version later.
