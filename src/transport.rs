//! The tonic server.
