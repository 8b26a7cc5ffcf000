//! `tokenward health`, with the exit codes of `grpc_health_probe`.

use clap::Args;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

use super::{
    Ending, Failure, Remote, Target, print,
    show::{Format, FormatArgs, Table, json},
};
use crate::proto::health::{HealthListRequest, HealthListResponse};

/// The exit code of a command line that cannot be understood.
pub(super) const BAD_ARGUMENTS: u8 = 1;

const UNREACHABLE: u8 = 2;
const RPC: u8 = 3;

/// What `health` takes.
#[derive(Args)]
pub(super) struct Health {
    /// Which service, as `--list` names it; without, the server as a whole.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    service: String,
    /// Print the status and each change of it, until the server ends the stream.
    #[arg(long, conflicts_with = "list")]
    watch: bool,
    /// Print the status of every service.
    #[arg(long, conflicts_with = "service")]
    list: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// The exit code of a failure.
pub(super) fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::Unreachable { .. } => UNREACHABLE,
        Failure::Rpc(_) | Failure::Timeout => RPC,
        Failure::Usage(_)
        | Failure::Input(_)
        | Failure::Config(_)
        | Failure::App(_)
        | Failure::Output(_)
        | Failure::Runtime(_)
        | Failure::Bench(_)
        | Failure::Threshold(_)
        | Failure::Write { .. }
        | Failure::Declined => BAD_ARGUMENTS,
    }
}

// === impl Health ===

impl Health {
    pub(super) async fn run(self, target: &Target) -> Result<Ending, Failure> {
        let remote = target.connect().await?;
        match (self.list, self.watch) {
            (true, _) => self.list(&remote).await,
            (false, true) => self.watch(&remote).await,
            (false, false) => self.check(&remote).await,
        }
    }

    async fn check(&self, remote: &Remote) -> Result<Ending, Failure> {
        let response = remote.health().check(remote.request(self.request())).await?.into_inner();
        print(&self.text(response))?;
        Ok(ending(response.status()))
    }

    /// Has no deadline: it watches as long as the server serves.
    async fn watch(&self, remote: &Remote) -> Result<Ending, Failure> {
        let mut stream = remote.health().watch(remote.lasting(self.request())).await?.into_inner();
        let mut last = ServingStatus::Unknown;
        while let Some(response) = stream.message().await? {
            print(&self.text(response))?;
            last = response.status();
        }
        Ok(ending(last))
    }

    async fn list(&self, remote: &Remote) -> Result<Ending, Failure> {
        let response = remote.health().list(remote.request(HealthListRequest {})).await?.into_inner();
        print(&match self.format.format() {
            Format::Human => table(&response).to_string(),
            Format::Json => json("grpc.health.v1.HealthListResponse", &response),
        })
    }

    fn request(&self) -> HealthCheckRequest {
        HealthCheckRequest { service: self.service.clone() }
    }

    fn text(&self, response: HealthCheckResponse) -> String {
        match self.format.format() {
            Format::Human => format!("{}\n", response.status().as_str_name()),
            Format::Json => json("grpc.health.v1.HealthCheckResponse", &response),
        }
    }
}

fn ending(status: ServingStatus) -> Ending {
    match status {
        ServingStatus::Serving => Ending::Done,
        ServingStatus::Unknown | ServingStatus::NotServing | ServingStatus::ServiceUnknown => Ending::NotServing,
    }
}

fn table(response: &HealthListResponse) -> Table {
    let mut rows: Vec<_> = response.statuses.iter().collect();
    rows.sort_by_key(|(name, _)| *name);
    let mut table = Table::new(&["SERVICE", "STATUS"]);
    for (name, response) in rows {
        let name = if name.is_empty() { "(the server as a whole)" } else { name };
        table.push([name.to_owned(), response.status().as_str_name().to_owned()]);
    }
    table
}
