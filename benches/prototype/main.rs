//! Bare servers of the same contract, to be measured beside the service: what the stack can do without any guarantee.
//!
//! ```sh
//! cargo build --profile dist --bins --example prototype
//! target/dist/tokenward bench --private --against 'target/dist/examples/prototype redis'
//! ```
//!
//! | argument | Authenticate |
//! | --- | --- |
//! | `echo` | answers with what it was asked about |
//! | `memory` | SHA-512, one look-up in a map of this process; without an entry a select |
//! | `redis` | SHA-512, one GET through fred, decode; without a value a select, and a SET |
//! | `database` | SHA-512, one sea-orm select by primary key |
//!
//! `BatchAuthenticate` does the same for all tokens at once: one MGET, or one select after the other. It has the
//! service's allocator, profile and kind of runtime, and takes its settings of Redis and the database.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    error::Error,
    io::Write as _,
    sync::RwLock,
    time::Duration,
};

use fred::{
    clients::{Client, WithOptions},
    interfaces::{ClientLike as _, KeysInterface as _},
    types::{
        Builder, Value,
        config::{Config, ConnectionConfig, Options, PerformanceConfig, TcpConfig, UnresponsiveConfig},
    },
};
use prost_types::Timestamp;
use sea_orm::{ConnectOptions, DatabaseConnection, EntityTrait as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};
use tokenward::proto::{
    AnswerSource, AuthenticateRequest, AuthenticateResponse, BatchAuthenticateRequest, BatchAuthenticateResponse,
    IssueTokenRequest, IssueTokenResponse, RevokeAllRequest, RevokeAllResponse, RevokeRequest, RevokeResponse, Token,
    TokenState, User,
    token_service_server::{TokenService, TokenServiceServer},
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

mod row;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Redis = WithOptions<Client>;

/// Who answers.
enum Prototype {
    Echo,
    Memory(RwLock<HashMap<String, Entry>>, DatabaseConnection),
    Redis(Redis, DatabaseConnection),
    Database(DatabaseConnection),
}

/// What a value in Redis holds: as much as the service keeps of a token, and no MAC.
#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    user: String,
    attributes: BTreeMap<String, String>,
    created: i64,
    expiry: Option<i64>,
    display_name: String,
    scopes: Vec<String>,
    metadata: BTreeMap<String, String>,
    hint: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let prototype = match env::args().nth(1).as_deref() {
        Some("echo") => Prototype::Echo,
        Some("memory") => Prototype::Memory(RwLock::default(), database().await?),
        Some("redis") => Prototype::Redis(redis().await?, database().await?),
        Some("database") => Prototype::Database(database().await?),
        _ => return Err("usage: prototype echo|memory|redis|database".into()),
    };
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let mut out = std::io::stdout().lock();
    writeln!(out, "tokenward listening on http://{}", incoming.local_addr()?)?;
    drop(out);
    let service = TokenServiceServer::new(prototype);
    Server::builder().max_concurrent_streams(256).add_service(service).serve_with_incoming(incoming).await?;
    Ok(())
}

/// A client with the service's settings.
async fn redis() -> Result<Redis, Box<dyn Error>> {
    let config = Config::from_url(&env::var("TOKENWARD_REDIS__URL")?)?;
    let deadline = Duration::from_millis(50);
    let mut builder = Builder::from_config(config);
    builder
        .set_performance_config(PerformanceConfig { default_command_timeout: deadline, ..PerformanceConfig::default() })
        .set_connection_config(ConnectionConfig {
            max_command_attempts: 1,
            unresponsive: UnresponsiveConfig {
                max_timeout: Some(Duration::from_millis(250)),
                interval: Duration::from_millis(62),
            },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        });
    let options = Options { max_attempts: Some(1), timeout: Some(deadline), fail_fast: true, ..Options::default() };
    let client = builder.build()?;
    client.init().await?;
    Ok(client.with_options(&options))
}

/// A pool with the service's settings.
async fn database() -> Result<DatabaseConnection, Box<dyn Error>> {
    let mut options = ConnectOptions::new(env::var("TOKENWARD_DATABASE__URL")?);
    options.max_connections(10).test_before_acquire(false).sqlx_logging(false).acquire_timeout(Duration::from_secs(5));
    Ok(sea_orm::Database::connect(options).await?)
}

// === impl Prototype ===

impl Prototype {
    async fn check(&self, token: String) -> Result<AuthenticateResponse, Status> {
        match self {
            Self::Echo => Ok(echo(token)),
            Self::Memory(entries, database) => {
                let digest = digest(&token);
                let known = entries.read().map_err(|_| absent())?.get(&digest).cloned();
                if let Some(entry) = known {
                    return Ok(active(entry, &digest, AnswerSource::LocalCache));
                }
                let Some(entry) = select(database, &digest).await? else { return Ok(AuthenticateResponse::default()) };
                entries.write().map_err(|_| absent())?.insert(digest.clone(), entry.clone());
                Ok(active(entry, &digest, AnswerSource::Database))
            }
            Self::Redis(redis, database) => {
                let digest = digest(&token);
                let value: Value = Box::pin(redis.get(key(&digest))).await.map_err(failed)?;
                answer(redis, database, digest, &value).await
            }
            Self::Database(database) => {
                let digest = digest(&token);
                let entry = select(database, &digest).await?;
                Ok(entry.map(|entry| active(entry, &digest, AnswerSource::Database)).unwrap_or_default())
            }
        }
    }

    async fn check_all(&self, tokens: Vec<String>) -> Result<Vec<AuthenticateResponse>, Status> {
        let mut answers = Vec::with_capacity(tokens.len());
        if let Self::Redis(redis, database) = self {
            let digests: Vec<_> = tokens.iter().map(|token| digest(token)).collect();
            let keys: Vec<_> = digests.iter().map(|digest| key(digest)).collect();
            let values: Vec<Value> = Box::pin(redis.mget(keys)).await.map_err(failed)?;
            for (digest, value) in digests.into_iter().zip(values) {
                answers.push(answer(redis, database, digest, &value).await?);
            }
            return Ok(answers);
        }
        for token in tokens {
            answers.push(self.check(token).await?);
        }
        Ok(answers)
    }
}

#[tonic::async_trait]
impl TokenService for Prototype {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.check(request.into_inner().token).await.map(Response::new)
    }

    async fn batch_authenticate(
        &self,
        request: Request<BatchAuthenticateRequest>,
    ) -> Result<Response<BatchAuthenticateResponse>, Status> {
        let tokens = request.into_inner().requests.into_iter().map(|request| request.token).collect();
        let responses = self.check_all(tokens).await?;
        Ok(Response::new(BatchAuthenticateResponse { responses }))
    }

    async fn issue_token(&self, _: Request<IssueTokenRequest>) -> Result<Response<IssueTokenResponse>, Status> {
        Err(absent())
    }

    async fn revoke(&self, _: Request<RevokeRequest>) -> Result<Response<RevokeResponse>, Status> {
        Err(absent())
    }

    async fn revoke_all(&self, _: Request<RevokeAllRequest>) -> Result<Response<RevokeAllResponse>, Status> {
        Err(absent())
    }
}

async fn answer(
    redis: &Redis,
    database: &DatabaseConnection,
    digest: String,
    value: &Value,
) -> Result<AuthenticateResponse, Status> {
    if let Some(bytes) = value.as_bytes() {
        let entry: Entry = postcard::from_bytes(bytes).map_err(failed)?;
        return Ok(active(entry, &digest, AnswerSource::SharedCache));
    }
    let Some(entry) = select(database, &digest).await? else { return Ok(AuthenticateResponse::default()) };
    let bytes = postcard::to_stdvec(&entry).map_err(failed)?;
    redis.set::<(), _, _>(key(&digest), Value::Bytes(bytes.into()), None, None, false).await.map_err(failed)?;
    Ok(active(entry, &digest, AnswerSource::Database))
}

async fn select(database: &DatabaseConnection, digest: &str) -> Result<Option<Entry>, Status> {
    let row = row::Entity::find_by_id(digest).one(database).await.map_err(failed)?;
    Ok(row.map(|row| Entry {
        user: row.user_id,
        attributes: BTreeMap::new(),
        created: row.created.timestamp(),
        expiry: row.expiry.map(|expiry| expiry.timestamp()),
        display_name: String::new(),
        scopes: Vec::new(),
        metadata: BTreeMap::new(),
        hint: row.token_key.chars().take(4).collect(),
    }))
}

fn digest(token: &str) -> String {
    hex::encode(Sha512::digest(token))
}

fn key(digest: &str) -> String {
    format!("prototype:token:{}", &digest[..32])
}

fn active(entry: Entry, digest: &str, source: AnswerSource) -> AuthenticateResponse {
    let time = |seconds| Timestamp { seconds, nanos: 0 };
    AuthenticateResponse {
        active: true,
        token: Some(Token {
            token_id: digest[..32].to_owned(),
            user_id: entry.user.clone(),
            display_name: entry.display_name,
            scopes: entry.scopes,
            metadata: entry.metadata.into_iter().collect(),
            state: TokenState::Active.into(),
            create_time: Some(time(entry.created)),
            expire_time: entry.expiry.map(time),
            hint: entry.hint,
            ..Token::default()
        }),
        user: Some(User { user_id: entry.user, active: true, attributes: entry.attributes.into_iter().collect() }),
        source: source.into(),
        age: Some(prost_types::Duration::default()),
        ..AuthenticateResponse::default()
    }
}

fn echo(token: String) -> AuthenticateResponse {
    AuthenticateResponse {
        active: true,
        token: Some(Token { token_id: token, ..Token::default() }),
        ..AuthenticateResponse::default()
    }
}

#[expect(clippy::disallowed_methods, reason = "not the service")]
fn failed(error: impl Error) -> Status {
    Status::unavailable(error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "not the service")]
fn absent() -> Status {
    Status::unimplemented("a prototype answers questions only")
}
