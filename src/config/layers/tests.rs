//! What a user may get wrong in any source, and what each source overrides.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;

/// A folder with a `tokenward.toml` and other files.
struct Setup {
    folder: TempDir,
    env: Vec<(String, String)>,
    flags: Vec<Flag>,
    purpose: Purpose,
}

impl Setup {
    fn new(toml: &str) -> Self {
        let setup =
            Self { folder: TempDir::new().unwrap(), env: Vec::new(), flags: Vec::new(), purpose: Purpose::Serve };
        setup.write("tokenward.toml", toml);
        setup
    }

    fn env(mut self, variable: &str, value: &str) -> Self {
        self.env.push((variable.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, spelling: &'static str, key: &'static str, text: &str) -> Self {
        self.flags.push(Flag { spelling, key, text: SecretText::new(text) });
        self
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn load(self) -> Result<Loaded, Faults> {
        let file = Some(self.folder.path().join("tokenward.toml"));
        load(Sources { purpose: self.purpose, file, env: self.env, flags: self.flags })
    }

    fn config(self) -> Config {
        self.load().unwrap().config
    }

    fn faults(self) -> Vec<Fault> {
        self.load().unwrap_err().0
    }
}

fn keys(faults: &[Fault]) -> Vec<&str> {
    faults.iter().map(|fault| fault.key.as_str()).collect()
}

#[test]
fn without_any_source_the_defaults_hold() {
    let loaded = load(Sources { purpose: Purpose::Serve, file: None, env: [], flags: Vec::new() }).unwrap();
    assert_eq!(loaded.config.server.listen, "127.0.0.1:50051");
    assert!(loaded.origins.is_empty());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"";
    let (env, flag) = ("TOKENWARD_SERVER__LISTEN", "--listen");
    assert_eq!(Setup::new(file).config().server.listen, "127.0.0.1:1");
    assert_eq!(Setup::new("").env(env, "127.0.0.1:2").config().server.listen, "127.0.0.1:2");
    assert_eq!(Setup::new(file).env(env, "127.0.0.1:2").config().server.listen, "127.0.0.1:2");
    assert_eq!(Setup::new(file).flag(flag, "server.listen", "127.0.0.1:3").config().server.listen, "127.0.0.1:3");
    let all = Setup::new(file).env(env, "127.0.0.1:2").flag(flag, "server.listen", "127.0.0.1:3").load().unwrap();
    assert_eq!(all.config.server.listen, "127.0.0.1:3");
    assert_eq!(all.origin("server.listen"), Origin::Flag("--listen"));
    assert_eq!(all.origin("server.insecure"), Origin::Default);
}

#[test]
fn a_lower_layer_keeps_what_a_higher_one_does_not_name() {
    let config = Setup::new("[tokens]\nttl = \"72h\"\nprefix = \"a_\"").env("TOKENWARD_TOKENS__PREFIX", "b_").config();
    assert_eq!(config.tokens.ttl.as_secs(), 72 * 3600);
    assert_eq!(config.tokens.prefix, "b_");
    assert!(!config.tokens.allow_never_expires);
}

#[test]
fn all_faults_of_all_sources_are_reported_at_once() {
    let faults = Setup::new(
        "colour = 1\n[databse]\nurl = \"x\"\n[database]\nmax_conections = 5\nmax_connections = \"many\"\n[cache]\nentry_ttl = \"25h\"",
    )
    .env("TOKENWARD_TOKENS__TTL", "90")
    .env("TOKENWARD_TOKENS__TTTL", "1h")
    .env("TOKENWARD_DATABASE_URL", "postgres://db")
    .flag("--listen", "server.listen", "0.0.0.0:50051")
    .faults();
    assert_eq!(
        keys(&faults),
        [
            "colour",
            "database.max_conections",
            "database.max_connections",
            "databse",
            "database.url",
            "tokens.ttl",
            "tokens.tttl",
            "server.listen",
            "cache.entry_ttl"
        ],
        "{faults:#?}"
    );
}

#[test]
fn what_is_unknown_is_refused_with_the_name_that_was_probably_meant() {
    let remedy = |setup: Setup| setup.faults().remove(0).remedy;
    assert_eq!(remedy(Setup::new("[server]\nlissten = 1")), "did you mean server.listen?");
    assert_eq!(remedy(Setup::new("[sever]\nlisten = 1")), "did you mean server?");
    assert_eq!(remedy(Setup::new("listen = \"127.0.0.1:1\"")), "did you mean server.listen?");
    assert_eq!(remedy(Setup::new("").env("TOKENWARD_REDIS__URI", "x")), "did you mean TOKENWARD_REDIS__URL?");
    assert_eq!(remedy(Setup::new("").env("TOKENWARD_REDIS_URL", "x")), "write TOKENWARD_REDIS__URL");
    assert_eq!(remedy(Setup::new("[wholly]\nunlike = 1")), "`tokenward config default` lists all of them");
    assert_eq!(remedy(Setup::new("server = 1")), "put its settings under [server]");
}

#[test]
fn variables_that_others_set_are_ignored() {
    let loaded = Setup::new("")
        .env("TOKENWARD_PORT", "tcp://10.0.0.1:50051")
        .env("TOKENWARD_SERVICE_HOST", "10.0.0.1")
        .env("TOKENWARD_PORT_50051_TCP_ADDR", "10.0.0.1")
        .env("TOKENWARD_REDIS_PORT", "tcp://10.0.0.1:6379")
        .env("TOKENWARD_CONFIG", "elsewhere.toml")
        .env("TOKENWARD_ADDRESS", "http://127.0.0.1:1")
        .env("DATABASE__URL", "x")
        .load()
        .unwrap();
    assert!(loaded.origins.is_empty());
}

#[test]
fn a_time_keeps_its_unit_and_a_bare_number_is_refused_in_every_source() {
    assert_eq!(
        Setup::new("").env("TOKENWARD_REDIS__COMMAND_TIMEOUT", "50ms").config().redis.command_timeout.as_millis(),
        50
    );
    for setup in [Setup::new("[tokens]\nttl = 90"), Setup::new("").env("TOKENWARD_TOKENS__TTL", "90")] {
        assert_eq!(setup.faults()[0].remedy, "give \"90s\" or \"90ms\"");
    }
}

#[test]
fn a_secret_is_read_from_its_file_without_the_newline_at_its_end() {
    for (text, secret) in [("pass word \n", "pass word "), ("line\r\n", "line"), ("bare", "bare"), ("two\n\n", "two\n")]
    {
        let setup = Setup::new("");
        let path = setup.write("password", text);
        let loaded = setup.env("TOKENWARD_REDIS__PASSWORD_FILE", path.to_str().unwrap()).load().unwrap();
        assert_eq!(loaded.config.redis.password.expose(), secret);
        assert_eq!(loaded.origin("redis.password"), Origin::SecretFile(path));
    }
}

#[test]
fn the_urls_are_read_from_files_too_and_judged_as_if_given() {
    let setup = Setup::new("");
    let (database, redis) = (setup.write("database", "postgres://u:p@db/t\n"), setup.write("redis", "redis//x\n"));
    let setup = setup
        .env("TOKENWARD_DATABASE__URL_FILE", database.to_str().unwrap())
        .env("TOKENWARD_REDIS__URL_FILE", redis.to_str().unwrap());
    let faults = setup.faults();
    assert_eq!(keys(&faults), ["redis.url", "cache.mac_key"]);
    assert_eq!(faults[0].from, Origin::SecretFile(redis));
}

#[test]
fn a_secret_and_its_file_in_one_source_contradict_each_other() {
    let both = "[redis]\npassword = \"p\"\npassword_file = \"/dev/null\"";
    assert_eq!(Setup::new(both).faults()[0].problem, "stands beside redis.password");
    let empty = "[redis]\npassword = \"\"\npassword_file = \"/nowhere\"";
    assert!(Setup::new(empty).faults()[0].problem.starts_with("cannot be read"));
}

#[test]
fn a_secret_or_its_file_in_a_higher_source_wins() {
    let loaded = Setup::new("[database]\nurl_file = \"/nowhere\"")
        .flag("--database-url", "database.url", "sqlite:x")
        .load()
        .unwrap();
    assert_eq!(loaded.config.database.url.expose(), "sqlite:x");
    assert_eq!(loaded.config.database.url_file, None);
    assert_eq!(loaded.origin("database.url_file"), Origin::Default);

    let setup = Setup::new("[database]\nurl = \"sqlite:x\"");
    let path = setup.write("url", "sqlite:y");
    let config = setup.env("TOKENWARD_DATABASE__URL_FILE", path.to_str().unwrap()).config();
    assert_eq!(config.database.url.expose(), "sqlite:y");
}

#[test]
fn a_file_that_cannot_be_read_or_is_empty_is_a_fault() {
    let faults = Setup::new(
        "[database]\nurl_file = \"/nowhere\"\n[redis]\nurl_file = \"/dev/null\"\n[cache]\nbackend = \"redis\"",
    )
    .faults();
    assert_eq!(keys(&faults), ["database.url_file", "redis.url_file"]);

    let missing = Sources { purpose: Purpose::Serve, file: Some("/nowhere.toml".into()), env: [], flags: Vec::new() };
    let faults = load(missing).unwrap_err().0;
    assert_eq!(keys(&faults), ["--config"]);
    assert_eq!(faults[0].from.to_string(), "/nowhere.toml");
}

#[test]
fn a_fault_of_toml_is_told_with_its_line_and_shows_nothing_of_it() {
    for line in [
        "password = s3cret",
        "password = \"s3cret",
        "s3cret",
        "password = \"\\s3cret\"",
        "[s3cret",
        "password = \"s3cret\" s3cret",
        "s3cret = 1\ns3cret = 2",
    ] {
        let faults = Setup::new(&format!("[redis]\n{line}")).faults();
        assert!(!format!("{faults:?}").contains("s3cret"), "{faults:?}");
        assert!(faults[0].problem.starts_with("is not TOML at line "), "{faults:?}");
    }
    assert_eq!(Setup::new("[redis]\nurl = \n").faults()[0].problem, "is not TOML at line 2");
}

#[test]
fn a_fault_shows_no_secret() {
    let faults = Setup::new("[database]\nurl = \"oracle://u:s3cret@db\"\n[redis]\npassword = 987654321\nkey_prefix = \"s3cret s3cret\"\n[log]\nlevel = \"s3cret=s3cret=\"")
        .env("TOKENWARD_DATABASE__SCHEMA", "s3cret")
        .env("TOKENWARD_SERVER__LISTEN", "s3cret")
        .env("TOKENWARD_TOKENS__PREFIX", "s3cret s3cret")
        .env("TOKENWARD_REDIS_USERNAME", "s3cret")
        .env("TOKENWARD_DATABASE__URI", "s3cret")
        .flag("--redis-url", "redis.url", "s3cret://")
        .faults();
    assert_eq!(faults.len(), 11, "{faults:#?}");
    let shown = format!("{} {faults:?}", Faults(faults.clone()));
    assert!(!shown.contains("s3cret") && !shown.contains("987654321"), "{shown}");
}
