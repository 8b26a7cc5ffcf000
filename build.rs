//! Compiles `proto/` with protox, so that no `protoc` is needed, and writes the
//! descriptor set that server reflection serves.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 5] = [
    "proto/tokenward/v1/token.proto",
    "proto/tokenward/v1/token_service.proto",
    "proto/tokenward/v1/token_admin_service.proto",
    "proto/tokenward/v1/user_service.proto",
    "proto/tokenward/v1/status_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("tokenward.v1.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
