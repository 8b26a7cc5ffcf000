//! Bytes of any kind where a fact should be: whoever has no key gets nothing in, and whoever has one no panic.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::cache::tests::fixture::{digest, mac_keys, noon, record};

/// A fact with any content.
fn fact() -> impl Strategy<Value = Fact> {
    let texts = vec(any::<String>(), 0..4);
    let pairs = proptest::collection::btree_map(any::<String>(), any::<String>(), 0..4);
    let times = (any::<i32>(), any::<Option<i32>>(), any::<Option<i32>>());
    ("[!-~]{1,64}", "\\PC{1,60}", any::<(u128, u64)>(), times, texts, pairs.clone(), pairs, any::<String>()).prop_map(
        |(token, user, (epoch, seq), (age, expiry, used), scopes, metadata, attributes, text)| {
            let at = |seconds: i32| noon() + TimeDelta::seconds(seconds.into());
            let id = user.parse().unwrap_or_else(|_| "7".parse().expect("a user id"));
            let label = Label { display_name: text.clone(), scopes, metadata, hint: text };
            let user = User { id, active: true, attributes };
            let record = TokenRecord { user, expiry: expiry.map(at), last_used: used.map(at), label, ..record(&token) };
            Fact { position: Position { epoch, seq }, read_at: at(age), record: Arc::new(record) }
        },
    )
}

proptest! {
    #[test]
    fn what_was_written_is_read_again_and_by_nobody_elses_key(fact in fact()) {
        let digest = fact.record.digest;
        if let Some(bytes) = fact.encode(&mac_keys("ours")) {
            prop_assert!(bytes.len() <= MAX_BYTES);
            prop_assert_eq!(Fact::decode(&bytes, digest, &mac_keys("theirs")), Err(NoFact::Refused(Refusal::Key)));
            prop_assert_eq!(Fact::decode(&bytes, digest, &mac_keys("ours")), Ok(fact));
        }
    }

    #[test]
    fn bytes_without_a_right_mac_are_never_a_fact(mut bytes in vec(any::<u8>(), 0..600), head: bool) {
        let keys = mac_keys("ours");
        if head && bytes.len() >= HEAD_BYTES {
            bytes[0] = VERSION;
            bytes[1..HEAD_BYTES].copy_from_slice(&keys.current().id());
        }
        prop_assert!(Fact::decode(&bytes, digest("a"), &keys).is_err());
    }

    #[test]
    fn an_authentic_body_of_any_bytes_is_a_fact_of_the_token_or_none(body in vec(any::<u8>(), 0..600)) {
        let keys = mac_keys("ours");
        let head = [&[VERSION], &keys.current().id()[..]].concat();
        let mac = keys.current().mac([&head, digest("a").as_bytes(), &body]);
        if let Ok(fact) = Fact::decode(&[&head[..], &body, &mac].concat(), digest("a"), &keys) {
            prop_assert_eq!(fact.record.digest, digest("a"));
            // Whatever its times are, judging it is safe.
            let _ = (fact.life(noon(), Duration::from_mins(15)), fact.reading(Source::SharedCache, noon()));
        }
    }

    #[test]
    fn an_altered_entry_is_never_a_fact(fact in fact(), place: prop::sample::Index, by in 1..=u8::MAX, cut: prop::sample::Index) {
        let digest = fact.record.digest;
        if let Some(mut bytes) = fact.encode(&mac_keys("ours")) {
            let length = cut.index(bytes.len());
            prop_assert!(Fact::decode(&bytes[..length], digest, &mac_keys("ours")).is_err());
            let place = place.index(bytes.len());
            bytes[place] ^= by;
            prop_assert!(Fact::decode(&bytes, digest, &mac_keys("ours")).is_err());
        }
    }
}
