//! Three replicas on one database and one Redis, each with its own way to either.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::sql::{Schema, Sql};
use crate::harness::{
    mariadb::MariaDb,
    postgres::Postgres,
    redis::{Redis, RedisCluster, Sentinel},
    relay::Relay,
    server::{Server, Settings, setting, tokenward},
    stack::{self, On, With},
    template,
};

/// How many replicas there are.
pub(super) const REPLICAS: usize = 3;

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) on: On,
    pub(super) with: With,
    pub(super) shape: Shape,
    pub(super) schema: Schema,
    /// Settings of the service.
    pub(super) settings: Vec<(&'static str, String)>,
}

/// How many servers Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One, behind a relay of each replica.
    Alone,
    Sentinel,
    Cluster,
}

/// Redis on several servers, which the replicas reach without a relay: its servers tell them where to go.
pub(super) enum Topology {
    Sentinel(Sentinel),
    Cluster(RedisCluster),
}

/// Servers, relays, replicas.
pub(super) struct Cluster {
    // Dropped first, so that they do not log the loss of their servers.
    pub(super) replicas: Vec<Replica>,
    pub(super) redis: Option<Redis>,
    pub(super) topology: Option<Topology>,
    pub(super) database: Database,
    pub(super) schema: Schema,
    /// What a fault needs until it is healed.
    pub(super) spare: Spare,
    /// Where processes without a directory of their own run.
    dir: TempDir,
}

/// A process and its ways.
pub(super) struct Replica {
    pub(super) server: Server,
    pub(super) to_redis: Option<Relay>,
    pub(super) to_database: Option<Relay>,
    settings: Settings,
}

/// Which database runs.
pub(super) enum Database {
    Sqlite(PathBuf),
    Postgres(Postgres),
    MariaDb(MariaDb),
}

/// A second server, or what holds one's resources.
#[derive(Default)]
pub(super) struct Spare {
    pub(super) redis: Option<Redis>,
    pub(super) postgres: Option<Postgres>,
    pub(super) connections: Vec<sea_orm::DatabaseConnection>,
}

// === impl Cluster ===

impl Cluster {
    /// Starts everything.
    pub(super) async fn start(setup: &Setup) -> Self {
        let dir = template::directory();
        let (redis, topology) = match (setup.with, setup.shape) {
            (With::Memory, _) => (None, None),
            (With::Redis, Shape::Alone) => (Some(Redis::start().await), None),
            (With::Redis, Shape::Sentinel) => (None, Some(Topology::Sentinel(Sentinel::start().await))),
            (With::Redis, Shape::Cluster) => (None, Some(Topology::Cluster(RedisCluster::start().await))),
        };
        let database = match setup.on {
            On::Sqlite => Database::Sqlite(dir.path().join("tokenward.db")),
            On::Postgres => Database::Postgres(Postgres::start().await),
            On::MariaDb => Database::MariaDb(MariaDb::start().await),
        };
        let mut cluster =
            Self { replicas: vec![], redis, topology, database, schema: setup.schema, spare: Spare::default(), dir };
        cluster.sql().prepare_schema().await;
        for number in 0..REPLICAS {
            let ways = cluster.ways(&setup.settings).await;
            if number == 0 && setup.on != On::Sqlite {
                let dir = template::directory();
                template::run(tokenward(dir.path(), &ways.settings).args(["migrate", "up"]));
                cluster.sql().finish_schema().await;
            }
            let server = Server::start(&ways.settings).await;
            cluster.replicas.push(Replica {
                server,
                to_redis: ways.to_redis,
                to_database: ways.to_database,
                settings: ways.settings,
            });
        }
        cluster
    }

    /// An administrator's way into the database.
    pub(super) fn sql(&self) -> Sql {
        let (on, url) = match &self.database {
            Database::Sqlite(path) => (On::Sqlite, format!("sqlite://{}", path.display())),
            Database::Postgres(postgres) => (On::Postgres, postgres.admin_url()),
            Database::MariaDb(mariadb) => (On::MariaDb, mariadb.admin_url()),
        };
        Sql::new(on, self.schema, url)
    }

    /// PostgreSQL.
    pub(super) fn postgres(&mut self) -> &mut Postgres {
        match &mut self.database {
            Database::Postgres(postgres) => postgres,
            Database::Sqlite(_) | Database::MariaDb(_) => panic!("the cluster has no PostgreSQL"),
        }
    }

    /// Redis.
    pub(super) fn redis(&mut self) -> &mut Redis {
        self.redis.as_mut().expect("the cluster has Redis")
    }

    /// Redis behind Sentinels.
    pub(super) fn sentinel(&mut self) -> &mut Sentinel {
        match &mut self.topology {
            Some(Topology::Sentinel(sentinel)) => sentinel,
            Some(Topology::Cluster(_)) | None => panic!("there are no Sentinels"),
        }
    }

    /// Redis Cluster.
    pub(super) fn redis_cluster(&mut self) -> &mut RedisCluster {
        match &mut self.topology {
            Some(Topology::Cluster(cluster)) => cluster,
            Some(Topology::Sentinel(_)) | None => panic!("Redis is no cluster"),
        }
    }

    /// A place for files.
    pub(super) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Each replica's way to Redis.
    pub(super) fn ways_to_redis(&self) -> impl Iterator<Item = &Relay> {
        self.replicas.iter().filter_map(|replica| replica.to_redis.as_ref())
    }

    /// Each replica's way to the database.
    pub(super) fn ways_to_database(&self) -> impl Iterator<Item = &Relay> {
        self.replicas.iter().filter_map(|replica| replica.to_database.as_ref())
    }

    /// How many look-ups the database has answered so far.
    pub(super) fn lookups(&self) -> usize {
        let statements = match &self.database {
            Database::Sqlite(_) => vec![],
            Database::Postgres(postgres) => postgres.statements_since(0),
            Database::MariaDb(mariadb) => mariadb.statements_since(0),
        };
        statements.iter().filter(|statement| is_lookup(statement)).count()
    }

    async fn ways(&self, settings: &[(&str, String)]) -> Ways {
        let to_redis = match &self.redis {
            Some(redis) => Some(Relay::to_redis(redis.socket()).await),
            None => None,
        };
        let to_database = match &self.database {
            Database::Sqlite(_) => None,
            Database::Postgres(postgres) => Some(Relay::to(postgres.socket()).await),
            Database::MariaDb(mariadb) => Some(Relay::to(mariadb.socket()).await),
        };
        let mut all: Settings = settings.iter().map(|(key, value)| setting(key, value.as_str())).collect();
        let database = match (&self.database, &to_database) {
            (Database::Postgres(_), Some(relay)) => format!("postgres://tokenward@{}/tokenward", relay.address()),
            (Database::MariaDb(_), Some(relay)) => format!("mysql://root@{}/tokenward", relay.address()),
            (Database::Sqlite(path), _) => format!("sqlite://{}?mode=rwc", path.display()),
            (_, None) => unreachable!("a server has a relay"),
        };
        all.push(setting("TOKENWARD_DATABASE__URL", database));
        if self.schema == Schema::Knox {
            all.push(setting("TOKENWARD_DATABASE__SCHEMA", "knox"));
        }
        let redis = match (&to_redis, &self.topology) {
            (Some(relay), _) => Some(format!("redis://{}", relay.address())),
            (None, Some(Topology::Sentinel(sentinel))) => Some(sentinel.url("")),
            (None, Some(Topology::Cluster(cluster))) => Some(cluster.url("")),
            (None, None) => None,
        };
        let shared = redis.is_some() && !matches!(self.database, Database::Sqlite(_));
        all.extend(redis.map(|url| setting("TOKENWARD_REDIS__URL", url)));
        all.extend(shared.then(|| setting("TOKENWARD_CACHE__MAC_KEY", stack::MAC_KEY)));
        Ways { to_redis, to_database, settings: all }
    }
}

struct Ways {
    to_redis: Option<Relay>,
    to_database: Option<Relay>,
    settings: Settings,
}

// === impl Replica ===

impl Replica {
    /// Starts the process again after its death, on another port.
    pub(super) async fn restart(&mut self) {
        self.server = Server::start(&self.settings).await;
    }

    /// The same with more settings.
    pub(super) async fn restart_with(&mut self, more: &[(&str, &str)]) {
        self.settings.extend(more.iter().map(|(key, value)| setting(key, *value)));
        self.restart().await;
    }
}

/// The one statement of a miss.
fn is_lookup(statement: &str) -> bool {
    statement.starts_with("SELECT")
        && statement.contains("tokenward_clock c LEFT JOIN")
        && statement.contains(" t ON t.")
}
