//! `deploy/`, judged by the programs that read it: Helm's library, Kubernetes' schemas, Envoy, redis-server, systemd,
//! hadolint, and this one.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::harness::{eventually::report, python::environment, server::directory};

const REQUIREMENTS: &str = include_str!("deploy/requirements.txt");
const ENVOY: &str = include_str!("deploy/envoy-requirements.txt");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The programs of the Python environment.
fn programs() -> PathBuf {
    environment("deploy", REQUIREMENTS)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = text(&output);
    report(&said);
    assert!(output.status.success(), "{command:?}\n{said}");
    said
}

/// Runs a script that says `ok: CLAIM` of each thing that it looked at, and counts them.
fn check(script: &str, variable: &str, program: &Path) -> usize {
    let mut python = Command::new(programs().join("python"));
    python.arg(root().join("tests/it/deploy").join(script)).env(variable, program);
    run(&mut python).lines().filter(|line| line.starts_with("ok: ")).count()
}

#[test]
fn the_chart_renders_what_kubernetes_and_the_program_accept() {
    let program = Path::new(env!("CARGO_BIN_EXE_tokenward"));
    assert_eq!(check("chart.py", "TOKENWARD", program), 2 + 5 * 4, "every claim was looked at");
}

#[test]
fn each_compose_overlay_names_what_exists_and_starts_with_settings_that_are_accepted() {
    let program = Path::new(env!("CARGO_BIN_EXE_tokenward"));
    assert_eq!(check("compose.py", "TOKENWARD", program), 1 + 3 * 4, "every claim was looked at");
}

#[test]
fn envoy_accepts_its_configurations_and_every_file_parses() {
    let envoy = environment("envoy", ENVOY).join("envoy");
    assert_eq!(check("proxy.py", "ENVOY", &envoy), 7, "every claim was looked at");
}

#[test]
fn each_query_of_the_dashboard_and_the_alerts_names_what_exists_and_alerts_fire() {
    assert_eq!(check("dashboard.py", "TOKENWARD", Path::new(env!("CARGO_BIN_EXE_tokenward"))), 4);
}

#[test]
fn the_image_copies_what_there_is_and_hadolint_finds_nothing() {
    run(Command::new(root().join("scripts/image-steps")).arg("--check"));
    run(Command::new(programs().join("hadolint")).arg(root().join("deploy/docker/Dockerfile")));
}

#[test]
fn the_program_accepts_the_images_settings_once_it_may_be_insecure() {
    let mut print = Command::new(env!("CARGO_BIN_EXE_tokenward"));
    print.env_clear().args(["config", "print", "--config"]).arg(root().join("deploy/docker/tokenward.toml"));
    let refused = text(&print.output().expect("the program starts"));
    assert!(refused.contains("--insecure"), "other hosts reach it: {refused}");
    let printed = run(print.env("TOKENWARD_SERVER__INSECURE", "true"));
    for listen in ["0.0.0.0:50051", "0.0.0.0:9464"] {
        assert!(printed.contains(listen), "{printed}");
    }
}

#[test]
#[ignore = "an optimized build takes a quarter of an hour: make image-steps"]
fn the_images_program_is_built_by_the_steps_of_its_recipe() {
    run(&mut Command::new(root().join("scripts/image-steps")));
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_hardened() {
    let dir = directory();
    let unit = root().join("deploy/systemd/tokenward.service");
    let here = fs::read_to_string(&unit).expect("the unit can be read");
    // It must be installed to be verified.
    let here = here.replace("/usr/bin/tokenward", env!("CARGO_BIN_EXE_tokenward"));
    let copy = dir.path().join("tokenward.service");
    fs::write(&copy, here).expect("a test's directory is writable");
    let said = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy));
    assert!(!said.contains("tokenward.service"), "{said}");
    // 2.0 of 10; the threshold is given in tenths.
    run(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20"]).arg(&copy));
}

/// The user first, who owns what comes then.
#[test]
fn systemd_makes_the_units_user_and_directories() {
    if !nix::unistd::geteuid().is_root() {
        report("only root can make files of other users; CI is root");
        return;
    }
    // Root's alone, which systemd-tmpfiles insists on.
    let dir = tempfile::tempdir().expect("there is a place for temporary files");
    fs::create_dir(dir.path().join("etc")).expect("a test's directory is writable");
    let apply = |program: &str, flags: &[&str], file: &str| {
        let file = root().join("deploy/systemd").join(file);
        run(Command::new(program).arg(format!("--root={}", dir.path().display())).args(flags).arg(file))
    };
    apply("systemd-sysusers", &[], "tokenward.sysusers.conf");
    apply("systemd-tmpfiles", &["--create"], "tokenward.tmpfiles.conf");
    let users = fs::read_to_string(dir.path().join("etc/passwd")).expect("there are users");
    assert!(users.starts_with("tokenward:"), "{users}");
    let mode = |path| fs::metadata(dir.path().join(path)).map(|found| found.permissions().mode() & 0o777).ok();
    assert_eq!((mode("etc/tokenward"), mode("etc/tokenward/credentials")), (Some(0o750), Some(0o700)));
}

#[test]
fn the_guide_migrates_the_tables_that_the_units_settings_name() {
    assert_eq!(check("systemd.py", "TOKENWARD", Path::new(env!("CARGO_BIN_EXE_tokenward"))), 1);
}

#[test]
fn the_units_settings_are_accepted() {
    let dir = directory();
    let unit = root().join("deploy/systemd");
    let unit_text = fs::read_to_string(unit.join("tokenward.service")).expect("the unit can be read");
    let settings = fs::read_to_string(unit.join("tokenward.toml")).expect("the settings can be read");
    let file = dir.path().join("tokenward.toml");
    fs::write(&file, settings).expect("a test's directory is writable");
    let mut print = Command::new(env!("CARGO_BIN_EXE_tokenward"));
    print.env_clear().args(["config", "print", "--config"]).arg(&file);
    let mut credentials = 0;
    for variable in unit_text.lines().filter_map(|line| line.strip_prefix("Environment=")) {
        let (name, value) = variable.split_once('=').expect("a variable has a value");
        let credential = value.strip_prefix("%d/").expect("each names a credential");
        assert!(unit_text.contains(&format!("LoadCredential={credential}:")), "{credential} is loaded");
        let secret =
            if credential == "database-url" { "postgres://db/tokenward" } else { "0123456789abcdef0123456789abcdef" };
        fs::write(dir.path().join(credential), secret).expect("a test's directory is writable");
        print.env(name, dir.path().join(credential));
        credentials += 1;
    }
    assert_eq!(credentials, 3);
    assert!(run(&mut print).contains("0.0.0.0:50051"));
}
