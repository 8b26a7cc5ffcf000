use super::*;
use crate::{
    cache::tests::fixture::{digest, mac_key, mac_keys, noon, record},
    config,
};

fn fact(name: &str) -> Fact {
    let mut record = record(name);
    record.expiry = Some(noon() + TimeDelta::hours(1));
    record.last_used = Some(noon() - TimeDelta::minutes(1));
    record.user.attributes.insert("email".to_owned(), "\u{fc}ser@example.com".to_owned());
    record.label.scopes = vec!["read".to_owned(), "write".to_owned()];
    record.label.metadata.insert("team".to_owned(), "payments".to_owned());
    let position = Position { epoch: u128::MAX - 7, seq: 42 };
    Fact { position, read_at: noon(), record: Arc::new(record) }
}

fn bytes(name: &str) -> Vec<u8> {
    fact(name).encode(&mac_keys("ours")).expect("small")
}

fn decode(value: &[u8], name: &str) -> Result<Fact, NoFact> {
    Fact::decode(value, digest(name), &mac_keys("ours"))
}

/// As somebody who has the key would write it.
fn authentic(head: &[u8], body: &[u8], name: &str) -> Vec<u8> {
    let mac = mac_keys("ours").current().mac([head, digest(name).as_bytes(), body]);
    [head, body, &mac].concat()
}

#[test]
fn a_fact_survives_the_round_trip() {
    assert_eq!(decode(&bytes("a"), "a"), Ok(fact("a")));
    let bare = Fact { record: Arc::new(record("b")), ..fact("b") };
    assert_eq!(decode(&bare.encode(&mac_keys("ours")).expect("small"), "b"), Ok(bare));
}

#[test]
fn every_truncation_and_extension_is_a_miss() {
    let mut bytes = bytes("a");
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length], "a").is_err(), "cut to {length} bytes");
    }
    bytes.push(0);
    assert!(decode(&bytes, "a").is_err(), "one byte too many");
}

#[test]
fn every_flipped_bit_is_a_miss() {
    let bytes = bytes("a");
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            assert!(decode(&damaged, "a").is_err(), "bit {bit} of byte {place}");
        }
    }
}

#[test]
fn a_body_that_is_authentic_but_damaged_never_panics() {
    let bytes = bytes("a");
    let (head, body) = bytes[..bytes.len() - MAC_BYTES].split_at(HEAD_BYTES);
    for place in 0..body.len() {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut damaged = body.to_vec();
            damaged[place] = value;
            if let Ok(fact) = decode(&authentic(head, &damaged, "a"), "a") {
                assert_eq!(fact.record.digest, digest("a"));
            }
        }
    }
}

/// The MAC covers version, key id, digest and body: what is changed in any of them is refused for it.
#[test]
fn what_is_no_fact_of_this_token_is_named() {
    let bytes = bytes("a");
    let (head, rest) = bytes.split_at(HEAD_BYTES);
    let body = &rest[..rest.len() - MAC_BYTES];
    let refused = |refusal| Err(NoFact::Refused(refusal));
    assert_eq!(decode(b"", "a"), Err(NoFact::Absent));
    assert_eq!(decode(&[TOMBSTONE], "a"), Err(NoFact::Tombstone));
    assert_eq!(decode(&bytes, "b"), refused(Refusal::Mac), "it stands under the key of another token");
    assert_eq!(decode(&[head, body, &[0; MAC_BYTES]].concat(), "a"), refused(Refusal::Mac), "forged");
    assert_eq!(decode(&authentic(head, &[body, &[0]].concat(), "a"), "a"), refused(Refusal::Body), "a longer body");
    assert_eq!(decode(&[VERSION], "a"), refused(Refusal::Short));
    assert_eq!(decode(br#"{"digest":"ad29"}"#, "a"), refused(Refusal::Version), "of another program");
    let mut old = head.to_vec();
    old[0] = VERSION - 1;
    assert_eq!(decode(&authentic(&old, body, "a"), "a"), refused(Refusal::Version), "of the version before");
    let huge = [&bytes[..], &[0; MAX_BYTES]].concat();
    assert_eq!(decode(&huge, "a"), refused(Refusal::Oversized));
}

#[test]
fn an_entry_of_another_key_is_refused_until_the_key_is_known() {
    let theirs = fact("a").encode(&mac_keys("theirs")).expect("small");
    assert_eq!(decode(&theirs, "a"), Err(NoFact::Refused(Refusal::Key)));
    let mut renamed = theirs.clone();
    renamed[1..HEAD_BYTES].copy_from_slice(&mac_keys("ours").current().id());
    assert_eq!(decode(&renamed, "a"), Err(NoFact::Refused(Refusal::Mac)), "a name is no key");
    let config =
        config::Cache { mac_key: mac_key("ours"), mac_key_previous: mac_key("theirs"), ..config::Cache::default() };
    let both = MacKeys::load(&config, None).expect("two keys");
    assert_eq!(Fact::decode(&theirs, digest("a"), &both), Ok(fact("a")), "the previous one is accepted");
    assert_eq!(fact("a").encode(&both), Some(bytes("a")), "and the current one writes");
}

#[test]
fn a_record_over_the_bound_is_not_written() {
    let sized = |bytes: usize| {
        let mut record = record("a");
        record.label.display_name = "x".repeat(bytes);
        Fact { record: Arc::new(record), ..fact("a") }.encode(&mac_keys("ours"))
    };
    assert!(sized(MAX_BYTES).is_none());
    let fits = sized(MAX_BYTES - 512).expect("fits");
    assert!(fits.len() <= MAX_BYTES);
    assert!(decode(&fits, "a").is_ok());
}

#[test]
fn a_fact_is_answered_from_until_its_age_or_its_token_ends_it() {
    let (fact, ttl) = (fact("a"), Duration::from_mins(1));
    let life = |fact: &Fact, seconds| fact.life(noon() + TimeDelta::seconds(seconds), ttl);
    assert_eq!(life(&fact, 0), Some(ttl));
    assert_eq!(life(&fact, 59), Some(Duration::from_secs(1)));
    assert_eq!(life(&fact, 60), None, "too old");
    assert_eq!(life(&fact, -5), Some(ttl), "a clock a little behind");
    assert_eq!(life(&fact, -6), None, "read in the future");

    let mut short = record("a");
    short.expiry = Some(noon() + TimeDelta::seconds(10));
    let short = Fact { record: Arc::new(short), ..fact.clone() };
    assert_eq!(life(&short, 0), Some(Duration::from_secs(10)));
    assert_eq!(life(&short, 11), None, "expired meanwhile");

    let mut disabled = record("a");
    disabled.user.active = false;
    assert_eq!(life(&Fact { record: Arc::new(disabled), ..fact }, 0), None, "user disabled");
}
