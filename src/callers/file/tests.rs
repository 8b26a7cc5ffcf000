use std::fs;

use tempfile::TempDir;

use super::{
    super::{Credential, Refused},
    *,
};

const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";
const OLD: &str = "0123456789abcdef0123456789abcdef";
const NEW: &str = "fedcba9876543210fedcba9876543210";

/// A folder with these files, of which one is the callers file.
fn folder(callers: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("callers.toml"), callers).unwrap();
    fs::write(folder.path().join("one"), format!("# first\n{OLD}\n\n  {NEW}\r\n")).unwrap();
    fs::write(folder.path().join("other"), NEW).unwrap();
    fs::write(folder.path().join("weak"), "hunter2\n").unwrap();
    fs::write(folder.path().join("empty"), "\n# nothing\n").unwrap();
    folder
}

fn read(callers: &str, server: &Server) -> Result<Directory, Faults> {
    load(&folder(callers).path().join("callers.toml"), &Callers::default(), server, &mut Files::default())
}

fn with_ca() -> Server {
    Server { tls_client_ca: Some("ca.pem".into()), ..Server::default() }
}

fn faults(callers: &str) -> Vec<String> {
    let faults = read(callers, &with_ca()).expect_err("it is refused").0;
    faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect()
}

#[test]
fn a_caller_has_all_keys_of_its_file_and_all_its_names() {
    let text = r#"
        [[caller]]
        name = "gateway"
        keys_file = "one"
        sans = ["gw.example.org", "spiffe://example.org/gw"]
        methods = ["TokenService/Authenticate"]
    "#;
    let directory = read(text, &with_ca()).unwrap();
    let sans = [San::uri("spiffe://example.org/gw")];
    for credential in [Credential::Key(OLD), Credential::Key(NEW), Credential::Certificate(&sans)] {
        assert_eq!(&*directory.admit(Some(credential), AUTHENTICATE).unwrap().name, "gateway");
    }
    let comment = directory.admit(Some(Credential::Key("# first")), AUTHENTICATE);
    assert_eq!(comment, Err(Refused::Unauthenticated));
}

#[test]
fn a_caller_has_the_limit_of_its_entry_or_the_one_for_all() {
    let text = "[[caller]]\nname = \"g\"\nkeys_file = \"one\"\nmethods = [\"*\"]\n";
    let owes_after_two = |text: String| {
        let directory = read(&text, &with_ca()).unwrap();
        let caller = directory.admit(Some(Credential::Key(OLD)), AUTHENTICATE).unwrap();
        (0..2).for_each(|_| caller.quota.charge());
        caller.quota.exhausted().is_some()
    };
    assert!(!owes_after_two(text.to_owned()));
    assert!(owes_after_two(format!("{text}max_inactive_per_second = 1")));
    assert!(!owes_after_two(format!("{text}max_inactive_per_second = 0")));
}

#[test]
fn several_key_files_overlap() {
    let text = "[[caller]]\nname = \"g\"\nkeys_file = [\"one\", \"other\"]\nmethods = [\"*\"]";
    assert_eq!(read(text, &with_ca()).unwrap().len(), 1);
}

#[test]
fn every_fault_is_found_at_once_and_shows_no_key() {
    let text = r#"
        [[caller]]
        name = "a"
        keys_file = "one"
        sans = ["x.example.org", "*.example.org", "10.0.0.1"]
        methods = ["TokenService/Authentcate", "*"]

        [[caller]]
        name = "a"
        keys_file = ["other", "weak", "empty", "missing"]
        sans = ["X.example.org"]
        methods = []

        [[caller]]
        name = ""
        methods = ["*"]
    "#;
    let found = faults(text);
    let begins = [
        r#"caller[0].methods: "TokenService/Authentcate" is no method"#,
        r#"caller[0].methods: "*" is no method"#,
        r#"caller[0].sans: "*.example.org" is no exact name"#,
        r#"caller[0].sans: "10.0.0.1" is no exact name"#,
        "caller[1].name: a is the name of another caller",
        "caller[1].methods: is empty",
    ];
    for begin in begins {
        assert!(found.iter().any(|fault| fault.starts_with(begin)), "{begin}: {found:#?}");
    }
    for part in [
        "weak:1 is shorter than 32",
        "empty holds no key",
        "missing cannot be read",
        "caller[2].name",
        "caller[2]: has no",
    ] {
        assert!(found.iter().any(|fault| fault.contains(part)), "{part}: {found:#?}");
    }
    assert!(!format!("{found:?}").contains(NEW) && !format!("{found:?}").contains("hunter2"));
}

#[test]
fn a_credential_of_two_callers_is_refused() {
    let found = faults(
        "[[caller]]\nname = \"a\"\nkeys_file = \"one\"\nsans = [\"x.org\"]\nmethods = [\"*\"]\n\
         [[caller]]\nname = \"b\"\nkeys_file = \"other\"\nsans = [\"X.org\"]\nmethods = [\"*\"]",
    );
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("other:1 is a key of a too"), "{found:?}");
    assert!(found[1].contains("x.org is a name of a too"), "{found:?}");
}

#[test]
fn a_method_that_does_not_exist_is_answered_with_those_that_do() {
    let text = "[[caller]]\nname = \"a\"\nkeys_file = \"one\"\nmethods = [\"Authenticate\"]";
    let faults = read(text, &with_ca()).expect_err("it is refused");
    assert!(faults.0[0].remedy.contains("TokenService/Authenticate"), "{faults}");
}

#[test]
fn names_in_certificates_need_an_authority() {
    let text = "[[caller]]\nname = \"a\"\nsans = [\"x.org\"]\nmethods = [\"*\"]";
    let faults = read(text, &Server::default()).expect_err("it is refused");
    assert_eq!(faults.0[0].key, "caller[0].sans");
    assert!(faults.0[0].problem.contains("server.tls_client_ca"));
}

#[test]
fn what_is_no_list_of_callers_is_refused_by_its_line_and_not_repeated() {
    for text in
        ["", "callers = 1", "[[caller]]\nname = \"a\"\nmethods = [\"*\"]\nkey = \"hunter2\"", "[[caller]\nhunter2"]
    {
        let faults = read(text, &with_ca()).expect_err("it is refused");
        assert_eq!(faults.0[0].key, "callers.file");
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
}
