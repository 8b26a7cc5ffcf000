//! `client [ADDRESS [CALLERS_KEY]]`: shows what a client does.
#![expect(clippy::print_stdout, reason = "a demonstration shows what it does")]

mod cache;
mod channel;
mod client;
mod demo;

use std::{env, error::Error};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    print!("{}", demo::run(address, arguments.next()).await?);
    Ok(())
}
