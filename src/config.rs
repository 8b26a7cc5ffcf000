//! Every setting, its unit, its default and what is refused.
//!
//! A setting is one field of its section, in `config/`: its doc comment is its line in the
//! README and in `tokenward config default`. Its default stands in `config/defaults.rs`, what
//! is refused in `config/validate.rs`. [`load`] (`config/layers.rs`) puts the sources
//! together: flags over environment over file over defaults.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod backends;
mod cache;
mod coerce;
mod defaults;
mod describe;
mod ext_authz;
mod fault;
mod form;
mod introspection;
mod layers;
mod listeners;
mod operation;
mod schema;
mod secret;
mod settings;
mod tiers;
mod tokens;
mod validate;

pub use backends::{Breaker, Database, KnoxRedis, Redis, SchemaPreset};
pub use cache::{Cache, CacheBackend, Coherence, MIN_MAC_KEY_BYTES, RevokeAck};
pub use describe::{default_toml, print_json, print_toml, readme_table};
pub use ext_authz::ExtAuthz;
pub use fault::{Fault, Faults, Origin};
pub use introspection::Introspection;
pub use layers::{Flag, Loaded, Purpose, Sources, load};
pub use listeners::{Callers, Http, Server};
pub use operation::{Audit, Health, Log, LogFormat, Prune, Traces};
pub use schema::{DigestForm, SchemaNames, TokenFormat, TokenHash, UserIdType};
pub use secret::SecretText;
pub use tokens::{Tokens, Users};

/// All settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The gRPC listener and its limits.
    pub server: Server,
    /// The second listener: probes, metrics and status over HTTP/1.1.
    pub http: Http,
    /// Who may call.
    pub callers: Callers,
    /// The database that holds the tokens.
    pub database: Database,
    /// Table and column names, where they differ from the preset that `database.schema` names.
    pub schema: SchemaNames,
    /// The shared cache's server.
    pub redis: Redis,
    /// What is kept in front of the database.
    pub cache: Cache,
    /// How soon a change takes effect that another program, or another replica, made in the database.
    pub coherence: Coherence,
    /// When Redis is left alone.
    pub breaker: Breaker,
    /// The tokens that are issued.
    pub tokens: Tokens,
    /// The owners of tokens.
    pub users: Users,
    /// The door for Envoy: `envoy.service.auth.v3.Authorization`, on the gRPC listener.
    pub ext_authz: ExtAuthz,
    /// The door for OAuth: `POST /introspect` (RFC 7662) and `POST /revoke` (RFC 7009), on the second listener.
    pub introspection: Introspection,
    /// What `grpc.health.v1` reports.
    pub health: Health,
    /// When rows of tokens that have long expired are deleted.
    pub prune: Prune,
    /// Records of who changed what.
    pub audit: Audit,
    /// A Redis that a Django project keeps tokens in with django-rest-knox-redis.
    pub knox_redis: KnoxRedis,
    /// What is logged.
    pub log: Log,
    /// Where calls are traced to.
    pub traces: Traces,
}
