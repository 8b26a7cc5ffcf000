use std::{fs, os::unix::fs::PermissionsExt as _, sync::Barrier, thread::scope};

use super::{file::path, *};

const PARTS: [&[u8]; 3] = [b"head", b"digest", b"body"];

fn config(current: &str, previous: &str) -> config::Cache {
    config::Cache {
        mac_key: SecretText::new(current),
        mac_key_previous: SecretText::new(previous),
        ..config::Cache::default()
    }
}

fn text(fill: char) -> String {
    String::from(fill).repeat(32)
}

fn keys(current: char, previous: &str) -> MacKeys {
    MacKeys::load(&config(&text(current), previous), None).expect("a key")
}

#[test]
fn the_previous_key_is_found_by_its_name_and_writes_nothing() {
    let (old, both, new) = (keys('a', ""), keys('b', &text('a')), keys('b', ""));
    let mac = old.current().mac(PARTS);
    assert_eq!(both.current().id(), new.current().id(), "the current one writes");
    assert!(both.named(old.current().id()).is_some_and(|key| key.verifies(PARTS, &mac)));
    assert!(new.named(old.current().id()).is_none(), "it is forgotten with the setting");
    assert!(!new.current().verifies(PARTS, &mac));
}

#[test]
fn white_space_around_a_key_is_not_part_of_it() {
    let padded = MacKeys::load(&config(&format!(" {}\r\n", text('a')), ""), None).expect("a key");
    assert_eq!(padded.current().mac(PARTS), keys('a', "").current().mac(PARTS));
}

#[test]
fn a_mac_covers_each_part() {
    let keys = keys('a', "");
    let mac = keys.current().mac(PARTS);
    for changed in [[&b"Head"[..], PARTS[1], PARTS[2]], [PARTS[0], b"dIgest", PARTS[2]], [PARTS[0], PARTS[1], b"bOdy"]]
    {
        assert!(!keys.current().verifies(changed, &mac));
    }
    let mut other = mac;
    other[15] ^= 1;
    assert!(!keys.current().verifies(PARTS, &other), "the last bit counts");
}

#[test]
fn without_a_key_and_a_file_there_is_none() {
    assert!(matches!(MacKeys::load(&config("", ""), None), Err(MacKeyError::Missing)));
}

#[test]
fn debug_shows_no_key() {
    let key = "correct horse battery staple, at length";
    let keys = MacKeys::load(&config(key, key), None).expect("a key");
    assert_eq!(format!("{keys:?}"), "MacKeys(redacted)");
}

#[test]
fn the_key_of_a_sqlite_file_is_made_once_and_for_its_owner_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("t.db");
    let load = || MacKeys::load(&config("", ""), Some(&database)).expect("a key").current().mac(PARTS);
    let mac = load();
    let kept = path(&database);
    assert_eq!(kept, directory.path().join("t.db.mac-key"));
    assert_eq!(fs::metadata(&kept).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&kept).expect("text").len(), 64);
    assert_eq!(load(), mac, "the next start finds it");
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing else is left behind");
    let configured = MacKeys::load(&config(&text('a'), ""), Some(&database)).expect("a key");
    assert_eq!(configured.current().mac(PARTS), keys('a', "").current().mac(PARTS), "a configured key wins");
}

#[test]
fn processes_that_start_at_once_agree_on_the_key() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().expect("a directory");
        let (database, start) = (directory.path().join("t.db"), Barrier::new(8));
        let macs: Vec<_> = scope(|threads| {
            let load = || {
                start.wait();
                MacKeys::load(&config("", ""), Some(&database)).expect("a key").current().mac(PARTS)
            };
            let loading: Vec<_> = (0..8).map(|_| threads.spawn(load)).collect();
            loading.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(macs.iter().all(|mac| *mac == macs[0]));
    }
}

#[test]
fn a_file_that_holds_no_key_is_refused_and_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("t.db");
    fs::write(path(&database), "short").expect("writable");
    let refused = MacKeys::load(&config("", ""), Some(&database)).expect_err("no key");
    assert!(refused.to_string().contains("t.db.mac-key"), "{refused}");
    let nowhere = directory.path().join("missing").join("t.db");
    let refused = MacKeys::load(&config("", ""), Some(&nowhere));
    assert!(matches!(refused, Err(MacKeyError::File { .. })), "{refused:?}");
}
