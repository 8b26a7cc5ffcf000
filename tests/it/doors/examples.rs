//! The clients of `examples/`, as their READMEs have them run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::harness::{
    eventually::report,
    python::environment,
    stack::{On, Stack, With},
    template,
};

#[path = "../../../examples/rust"]
mod rust {
    mod cache;
    mod channel;
    mod client;
    pub(super) mod demo;
}

const REQUIREMENTS: &str = include_str!("../../../examples/python/requirements.txt");

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tmp(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).expect("cargo's directory for tests is writable");
    dir
}

/// Answers may be kept for longer than a demonstration waits for the end of one: what ends it is the stream.
async fn stack() -> Stack {
    Stack::start_with(On::Sqlite, With::Memory, &[("TOKENWARD_TOKENS__CLIENT_CACHE_TTL", "60s")]).await
}

/// Runs the demonstration, `command ADDRESS`, and looks at what it claims.
async fn demonstrates(mut command: Command) {
    let stack = stack().await;
    command.arg(stack.server.url().trim_start_matches("http://"));
    let shown = tokio::task::spawn_blocking(move || template::run(&mut command)).await.expect("it ends well");
    holds(&shown);
}

fn holds(shown: &str) {
    report(shown);
    assert!(shown.contains("active: alice read\n"), "{shown}");
    assert!(shown.contains("cached: yes\n"), "{shown}");
    assert!(shown.contains("refused after ") && shown.contains("could have been kept for 60 s"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_example_runs() {
    let python = environment("example", REQUIREMENTS).join("python");
    let example = tmp("example-python");
    let generated = example.join("gen");
    fs::create_dir_all(&generated).expect("cargo's directory for tests is writable");
    for file in ["demo.py", "tokenward_client.py"] {
        fs::copy(here().join("examples/python").join(file), example.join(file)).expect("the example is there");
    }
    let out = |option: &str| format!("{option}={}", generated.display());
    let contract = here().join("proto/tokenward/v1");
    let files = fs::read_dir(contract).expect("the contract is there").flatten().map(|entry| entry.path());
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(here().join("proto"));
    template::run(protoc.args([out("--python_out"), out("--grpc_python_out")]).args(files));
    let mut demo = Command::new(python);
    demo.arg(example.join("demo.py"));
    demonstrates(demo).await;
}

/// Debian has node and npm as packages of their own; the tests do not install them, since everything else works without.
fn node_is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let runs = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
        runs("node") && runs("npm")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_example_runs() {
    if !node_is_there() {
        report("SKIPPED: the Node example needs node and npm (Debian: apt-get install nodejs npm)");
        return;
    }
    let example = tmp("example-node");
    for file in ["package.json", "client.js", "demo.js"] {
        fs::copy(here().join("examples/node").join(file), example.join(file)).expect("the example is there");
    }
    let lock = fs::File::create(example.join("npm.lock")).expect("cargo's directory for tests is writable");
    lock.lock().expect("a file can be locked");
    if !example.join("node_modules/@grpc/grpc-js").exists() {
        let mut npm = Command::new("npm");
        template::run(npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&example));
    }
    drop(lock);
    let mut demo = Command::new("node");
    demo.arg(example.join("demo.js")).env("TOKENWARD_PROTO", here().join("proto"));
    demonstrates(demo).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_example_runs() {
    let stack = stack().await;
    let shown = rust::demo::run(stack.server.url().to_owned(), None).await.expect("it ends well");
    holds(&shown);
}
