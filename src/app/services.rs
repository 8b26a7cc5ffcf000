//! The services of the gRPC listener, each with its part of the domain.

use std::sync::Arc;

use super::{
    Store,
    policy::{form, hashing, issue_policy, sliding},
};
use crate::{
    config::Config,
    domain::{Administrator, Authenticator, Clock as _, Issuer, Revoker, Users},
    journal::{self, DatabaseClock},
    transport::{Caches, Counts, ExtAuthz, Owners, Replica, Services, TokenAdmin, Tokens, Watchers, health},
};

pub(super) fn services<V>(
    config: &Config,
    store: &Arc<Store>,
    replica: Arc<Replica<DatabaseClock, V>>,
    probes: health::Probes,
    watchers: Watchers<journal::Handle>,
    clock: &DatabaseClock,
    counts: Counts,
) -> Services<Store, DatabaseClock, V, journal::Handle> {
    let clock = || clock.clone();
    let users = Arc::new(Users::new(Arc::clone(store), clock()));
    let administrator = Arc::new(Administrator::new(Arc::clone(store), clock(), issue_policy(config)));
    Services {
        tokens: Tokens::new(
            authenticator(config, store, clock()),
            Issuer::new(Arc::clone(store), clock(), issue_policy(config)),
            Revoker::new(Arc::clone(store), clock(), hashing(config), form(&config.tokens)),
            counts.clone(),
        ),
        admin: TokenAdmin::new(Arc::clone(&users), Arc::clone(&administrator), watchers, clock()),
        owners: Owners::new(users, administrator),
        caches: Caches::new(Arc::clone(store), hashing(config), clock().now()),
        replica,
        ext_authz: config
            .ext_authz
            .enabled
            .then(|| ExtAuthz::new(authenticator(config, store, clock()), counts, &config.ext_authz)),
        probes,
    }
}

pub(super) fn authenticator(
    config: &Config,
    store: &Arc<Store>,
    clock: DatabaseClock,
) -> Authenticator<Store, DatabaseClock> {
    let (form, sliding) = (form(&config.tokens), sliding(&config.tokens));
    Authenticator::new(Arc::clone(store), clock, hashing(config), form, sliding)
        .reusable_for(config.tokens.client_cache_ttl)
}
