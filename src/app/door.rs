//! The front door: where the service listens, who is let through, TLS, and what is said about it.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use tokio::task::JoinSet;

use super::Error;
use crate::{
    callers::{self, Caller},
    config::{self, Config, Http},
    reload::{Counters, Files, Live, Reload},
    transport::{
        Address, Exposure, Gate, Listener,
        tls::{self, Pem},
    },
};

/// Reads the callers and the files for TLS, as [`guard`] does first.
///
/// # Errors
/// Everything that is wrong with the callers, or what is wrong with the files for TLS.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    let mut files = Files::default();
    if let Some(path) = &config.callers.file {
        callers::load(path, &config.callers, &config.server, &mut files)?;
    }
    if let Some(pem) = Pem::new(&config.server) {
        pem.load(&mut files)?;
    }
    Ok(())
}

/// Who is let through, and TLS; both follow their files.
pub(super) fn guard(
    config: &Config,
    reloads: &Counters,
    background: &mut JoinSet<()>,
) -> Result<(Gate, Option<Live<tls::Config>>), Error> {
    let limit = NonZeroU32::new(config.callers.max_inactive_per_second);
    let mut gate = Gate::Open(Caller::anyone(limit));
    if let Some(path) = config.callers.file.clone() {
        let (settings, server) = (config.callers.clone(), config.server.clone());
        let known = Mutex::new(BTreeMap::new());
        let load = move |files: &mut Files| {
            let mut callers = callers::load(&path, &settings, &server, files)?;
            callers.keep_debts(&mut known.lock().unwrap_or_else(PoisonError::into_inner));
            Ok::<_, config::Faults>(callers)
        };
        let (callers, reload) = Reload::start("callers", reloads, load)?;
        background.spawn(reload.run());
        gate = Gate::Callers(callers);
    }
    let Some(pem) = Pem::new(&config.server) else { return Ok((gate, None)) };
    let (tls, reload) = Reload::start("certificates", reloads, move |files: &mut Files| pem.load(files))?;
    background.spawn(reload.run());
    Ok((gate, Some(tls)))
}

pub(super) async fn bind(setting: &'static str, address: &str) -> Result<Listener, Error> {
    Listener::bind(address).await.map_err(|source| Error::Listen { setting, address: address.to_owned(), source })
}

/// Who can reach the listener; a warning when others can.
pub(super) fn exposure(config: &Config, address: &Address) -> Exposure {
    let exposure = exposed(config, address);
    if exposure == Exposure::Insecure {
        let what = match config.callers.file {
            Some(_) => "callers' keys are not encrypted: whoever is on their way may take them",
            None => "callers are not authenticated: whoever can reach this address may issue tokens",
        };
        tracing::warn!(%address, "{what}");
    }
    warn_of_http(&config.http);
    if config.introspection.is_exposed(&config.http) {
        let address = &config.http.listen;
        tracing::warn!(%address, "introspection is answered without TLS, on an address that other hosts can reach");
        return Exposure::Insecure;
    }
    exposure
}

/// Says what the second listener shows, where others can reach it. That is allowed, since Prometheus and probes come
/// from other hosts.
fn warn_of_http(settings: &Http) {
    if settings.listen.parse().is_ok_and(|address| !Address::Tcp(address).is_local()) {
        tracing::warn!(
            address = settings.listen,
            "whoever can reach http.listen reads /, /status.json and /metrics without a credential and without TLS: \
             versions, errors of components and callers' names, but no secret, token or user"
        );
    }
}

fn exposed(config: &Config, address: &Address) -> Exposure {
    let guarded = config.callers.file.is_some() && config.server.tls_cert.is_some();
    match (address.is_local(), guarded) {
        (true, _) => Exposure::Loopback,
        (false, true) => Exposure::Guarded,
        (false, false) => Exposure::Insecure,
    }
}

/// Says where the service listens, and what to try next.
pub(super) fn announce(
    address: &Address,
    tls: Option<&Live<tls::Config>>,
    configured: &str,
    second: Option<&Address>,
) -> io::Result<()> {
    tracing::info!(%address, "listening");
    let program = std::env::args().next().unwrap_or_else(|| "tokenward".to_owned());
    let url = match address {
        Address::Tcp(address) if tls.is_some() => format!("https://{address}"),
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(_) => address.to_string(),
    };
    let at = if configured == config::Server::default().listen && tls.is_none() {
        String::new()
    } else {
        format!(" --address {url}")
    };
    let mut out = io::stdout().lock();
    writeln!(out, "tokenward listening on {url}")?;
    match second {
        Some(Address::Tcp(address)) => writeln!(out, "probes, metrics and status on http://{address}")?,
        Some(unix) => writeln!(out, "probes, metrics and status on {unix}")?,
        None => {}
    }
    writeln!(out, "\nTry, in another terminal:")?;
    for (verb, remark) in [
        ("token issue --user alice", ""),
        ("token authenticate", "   # asks for the token"),
        ("token revoke", "   # likewise"),
        ("status", ""),
    ] {
        writeln!(out, "  {program} {verb}{at}{remark}")?;
    }
    out.flush()
}
