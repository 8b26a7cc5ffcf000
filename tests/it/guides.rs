//! What the guides name exists: each setting, each command, each metric.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Whatever tells operators what to do.
const GUIDES: [&str; 7] = [
    "README.md",
    "docs/operations.md",
    "docs/coherence.md",
    "docs/django.md",
    "docs/metrics.md",
    "docs/performance.md",
    "deploy/README.md",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a text, and whether each is in a block.
fn lines(text: &str) -> impl Iterator<Item = (bool, &str)> {
    text.lines().scan(false, |in_block, line| {
        *in_block ^= line.trim_start().starts_with("```");
        Some((*in_block, line))
    })
}

/// The words between backticks, outside of blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = lines(text).filter_map(|(in_block, line)| (!in_block).then_some(line));
    prose.flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// `section.key` of the README's table, which another test compares with the program.
fn settings() -> BTreeSet<String> {
    let readme = read("README.md");
    let rows = readme.lines().filter(|line| line.contains("| `TOKENWARD_"));
    rows.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn each_setting_that_a_guide_names_exists() {
    let settings = settings();
    let sections: BTreeSet<_> = settings.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let mut seen = 0;
    for guide in GUIDES {
        for word in quoted(&read(guide)) {
            let name: String =
                word.chars().take_while(|c| c.is_ascii_lowercase() || "._0123456789".contains(*c)).collect();
            let Some((section, key)) = name.split_once('.') else { continue };
            // Not `tls_*`, which stands for several.
            let whole = !word[name.len()..].starts_with('*') && !key.contains('.') && !key.is_empty();
            if sections.contains(section) && whole && word.split_once(' ').is_none_or(|(_, rest)| rest.starts_with('='))
            {
                assert!(settings.contains(&name), "{guide}: there is no setting {name} (`{word}`)");
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen} were looked at");
}

/// `tokenward VERB NOUN` in prose, or at the beginning of a line of a block.
fn commands(text: &str) -> BTreeSet<Vec<String>> {
    let blocks = lines(text).filter_map(|(in_block, line)| in_block.then_some(line));
    let blocks = blocks.map(|line| line.trim_start().trim_start_matches("$ "));
    let calls = blocks.chain(quoted(text)).filter_map(|text| text.strip_prefix("tokenward "));
    // What it says of itself at the start.
    let calls = calls.filter(|call| !call.starts_with("listening on "));
    let is_verb = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
    let verbs = calls.map(|call| call.split(' ').take_while(is_verb).map(str::to_owned).collect::<Vec<_>>());
    verbs.filter(|verbs| !verbs.is_empty() && verbs.len() < 3).collect()
}

#[test]
fn each_command_that_a_guide_names_exists() {
    let all: BTreeSet<_> = GUIDES.iter().flat_map(|guide| commands(&read(guide))).collect();
    assert!(all.len() > 12, "{all:?}");
    for verbs in all {
        let of = verbs.iter().filter(|verb| *verb != "help");
        let output = Command::new(env!("CARGO_BIN_EXE_tokenward")).arg("help").args(of).output();
        let output = output.expect("the program starts");
        assert!(output.status.success(), "tokenward {}: {}", verbs.join(" "), String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn each_metric_that_a_guide_names_exists() {
    let listed = read("docs/metrics.md");
    for guide in GUIDES {
        let text = read(guide);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics = words.filter(|word| {
            let ours = word.starts_with("tokenward_") && word.ends_with("_total");
            ours || word.starts_with("grpc_server_") || word.starts_with("process_")
        });
        for metric in metrics.filter(|metric| !metric.ends_with('_')) {
            assert!(listed.contains(&format!("| `{metric}` |")), "{guide}: there is no metric {metric}");
        }
    }
}
