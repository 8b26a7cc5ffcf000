//! The database: pool, timeouts, statements, schema.
