//! Imports go one way: transport -> domain <- cache, journal, store; app -> everything;
//! component, metrics, mutant, `open_files`, reload, request and spans are leaves, and tls above reload; config knows the domain's
//! names, to refuse bad ones, and reads the files for TLS, to refuse them early.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What a module may import of the crate. A module that is not here may not exist.
const RULES: [(&str, &[&str]); 27] = [
    ("domain", &[]),
    ("config", &["domain", "reload", "tls"]),
    ("component", &[]),
    ("metrics", &[]),
    ("mutant", &[]),
    ("open_files", &[]),
    ("reload", &[]),
    ("threads", &[]),
    ("audit", &["domain", "request"]),
    ("tls", &["reload"]),
    ("callers", &["domain", "config", "proto", "reload"]),
    ("request", &[]),
    ("spans", &[]),
    ("telemetry", &["config", "request"]),
    ("shutdown", &["config"]),
    ("store", &["domain", "config", "component", "metrics", "mutant", "request", "spans"]),
    ("journal", &["domain", "config", "component", "metrics", "mutant"]),
    (
        "cache",
        &[
            "domain",
            "journal",
            "config",
            "component",
            "metrics",
            "mutant",
            "reload",
            "request",
            "spans",
            "threads",
            "tls",
        ],
    ),
    ("knox_redis", &["domain", "config"]),
    (
        "transport",
        &[
            "domain",
            "audit",
            "callers",
            "config",
            "component",
            "metrics",
            "open_files",
            "proto",
            "reload",
            "request",
            "spans",
            "threads",
        ],
    ),
    (
        "http",
        &["domain", "audit", "callers", "config", "component", "metrics", "proto", "reload", "threads", "transport"],
    ),
    // It measures the service from outside, and could measure another.
    ("bench", &["open_files", "proto"]),
    // The verbs speak gRPC to a running server, and start one.
    ("cli", &["app", "bench", "callers", "config", "proto", "store", "telemetry", "shutdown", "reload"]),
    ("app", &["*"]),
    ("lib", &["*"]),
    ("main", &["*"]),
    ("proto", &[]),
];

/// The modules of the crate that a source file names, with the line.
fn imports(text: &str) -> BTreeMap<String, String> {
    // What tests import does not shape the program.
    let program = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines: Vec<_> = program.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut found = BTreeMap::new();
    for (number, _) in lines.iter().enumerate() {
        let rest = lines[number..].join("\n");
        for (at, _) in lines[number].match_indices("crate::") {
            let named = &rest[at + "crate::".len()..];
            for module in names(named) {
                found.entry(module).or_insert_with(|| lines[number].trim().to_owned());
            }
        }
    }
    found
}

/// The first names of a path: one, or each at the top level of `{a::b, c::{d, e}}`.
fn names(path: &str) -> BTreeSet<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return BTreeSet::from([name(path)]) };
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth = if c == '{' { depth + 1 } else { depth - usize::from(c == '}') };
                parts.last_mut().expect("there is one").push(c);
            }
        }
    }
    parts.iter().map(|part| name(part)).filter(|name| !name.is_empty()).collect()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the sources are there").flatten().map(|entry| entry.path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let below = dirs.iter().flat_map(|dir| sources(dir));
    files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "rs")).chain(below).collect()
}

#[test]
fn imports_point_at_the_domain() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rules: BTreeMap<_, _> = RULES.into();
    let mut broken = Vec::new();
    let mut edges = 0;
    for path in sources(&root) {
        let place = path.strip_prefix(&root).expect("it is below").with_extension("");
        let module = place.components().next().expect("a file has a name").as_os_str().to_string_lossy().into_owned();
        let Some(allowed) = rules.get(module.as_str()) else {
            broken.push(format!("src/{}: the rule does not know the module {module}", place.display()));
            continue;
        };
        for (target, line) in imports(&fs::read_to_string(&path).expect("a source file can be read")) {
            edges += 1;
            let inside = target == module || allowed.contains(&"*") || allowed.contains(&target.as_str());
            if !inside {
                broken.push(format!("src/{}.rs: {module} may not import {target}: {line}", place.display()));
            }
        }
    }
    assert!(edges > 10, "the sources import something: {edges}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// What is decided by one machine's clock goes wrong with that clock, on that machine alone.
#[test]
fn only_the_databases_clock_falls_back_on_the_machines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let reads = |path: &PathBuf| {
        if path.components().any(|part| part.as_os_str() == "tests") {
            return false;
        }
        let text = fs::read_to_string(path).expect("a source file can be read");
        let program = text.split("#[cfg(test)]").next().unwrap_or_default();
        program.contains("SystemClock.now()") || program.contains("Utc::now") || program.contains("SystemTime::now")
    };
    let found: Vec<_> = sources(&root).into_iter().filter(reads).collect();
    let expected = ["domain/clock.rs", "journal/clock.rs"].map(|path| root.join(path));
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}

#[test]
fn the_rule_sees_every_way_to_write_an_import() {
    let text = "use crate::domain::{Token, Clock};\nuse crate::{\n    config::{self, Redis},\n    store,\n};\n\
        fn f() { crate::app::run() } // crate::comment\n#[cfg(test)]\nuse crate::cache::Memory;";
    let found: Vec<_> = imports(text).into_keys().collect();
    assert_eq!(found, ["app", "config", "domain", "store"]);
}
