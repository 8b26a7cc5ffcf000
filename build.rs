//! Compiles `proto/` with protox, so that no `protoc` is needed, and writes the
//! descriptor set that server reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 7] = [
    "proto/grpc/health/v1/health.proto",
    "proto/tokenward/v1/cache_service.proto",
    "proto/tokenward/v1/status_service.proto",
    "proto/tokenward/v1/token.proto",
    "proto/tokenward/v1/token_admin_service.proto",
    "proto/tokenward/v1/token_service.proto",
    "proto/tokenward/v1/user_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    // tonic-health has these two messages and serves Check and Watch; List is ours.
    tonic_prost_build::configure()
        .extern_path(".grpc.health.v1.HealthCheckRequest", "::tonic_health::pb::HealthCheckRequest")
        .extern_path(".grpc.health.v1.HealthCheckResponse", "::tonic_health::pb::HealthCheckResponse")
        .codec_path("crate::proto::codec::Compact")
        .compile_fds(files)?;
    Ok(())
}
