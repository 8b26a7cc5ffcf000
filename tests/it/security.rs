//! The threat table of SECURITY.md: whatever is said to show a mitigation is there.

use std::{fs, path::Path};

/// What the last column of each row names, and whose row it is.
fn shown_by() -> Vec<(String, String)> {
    let text = read("SECURITY.md");
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(2);
    let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect();
    assert!(rows.len() > 20, "{rows:?}");
    let mut names = Vec::new();
    for row in rows {
        let [threat, mitigation, tests] = row[..] else { panic!("three columns: {row:?}") };
        let those: Vec<_> =
            tests.split('`').skip(1).step_by(2).map(|name| (threat.to_owned(), name.to_owned())).collect();
        assert!(!those.is_empty() || mitigation.starts_with("Not "), "{threat}: nothing shows it");
        names.extend(those);
    }
    names
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of every source file.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).expect("a directory of ours").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            *text += &fs::read_to_string(&path).expect("a source is text");
        }
    }
}

/// Whether a name of a test, a file, a module with tests or a make target is one.
fn exists(name: &str, sources: &str, makefile: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(target) = name.strip_prefix("make ") {
        return makefile.lines().any(|line| line.starts_with(&format!("{target}:")));
    }
    if name.contains('/') {
        return root.join(name).exists();
    }
    if name.contains("::") {
        let file = root.join("src").join(name.replace("::", "/"));
        let own = fs::read_to_string(file.with_extension("rs")).unwrap_or_default();
        return own.contains("#[cfg(test)]") && (own.contains("#[test]") || file.join("tests.rs").exists());
    }
    // The word `fuzz` names the property tests by their module.
    name == "fuzz" && sources.contains("mod fuzz;") || is_test(name, sources)
}

/// A function under an attribute of a test, or a case of the store's suite, which runs on every database.
fn is_test(name: &str, sources: &str) -> bool {
    if sources.contains(&format!("_cases::{name},")) {
        return true;
    }
    sources.split_once(&format!("fn {name}(")).is_some_and(|(before, _)| {
        let head = before.rsplit("\n\n").next().unwrap_or_default();
        head.contains("#[test]") || head.contains("#[tokio::test")
    })
}

#[test]
fn every_test_that_the_threat_table_names_is_there() {
    let (mut text, makefile) = (String::new(), read("Makefile"));
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut text);
    let missing: Vec<_> = shown_by().into_iter().filter(|(_, name)| !exists(name, &text, &makefile)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(!exists("a_test_that_nobody_wrote", &text, &makefile) && !exists("domain::nothing", &text, &makefile));
}
