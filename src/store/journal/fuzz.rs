//! Any row in the journal: a record that cannot be read outdates everything, never nothing.

use proptest::prelude::*;

use super::*;

fn text() -> impl Strategy<Value = Option<String>> {
    let some = prop_oneof![
        any::<String>(),
        "[0-9a-f]{64}",
        "[0-9a-fA-F]{128}",
        "[0-9]{1,20}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    ];
    proptest::option::of(some)
}

proptest! {
    #[test]
    fn a_record_outdates_what_it_names_or_everything(digest in text(), user in text()) {
        for kind in [UserIdType::Int, UserIdType::Bigint, UserIdType::Uuid, UserIdType::Char32, UserIdType::Text] {
            match ended(kind, digest.clone(), user.clone()) {
                Ended::Token(token) => {
                    prop_assert!(user.is_none());
                    prop_assert!(digest.as_ref().is_some_and(|digest| digest.starts_with(&token.to_string())));
                }
                Ended::User(id) => {
                    prop_assert!(digest.is_none());
                    let same = |text: &String| text.replace('-', "").eq_ignore_ascii_case(&id.as_str().replace('-', ""));
                    prop_assert!(user.as_ref().is_some_and(|user| user == id.as_str() || same(user)), "{:?}", id);
                }
                Ended::Everything => {}
            }
        }
    }

    #[test]
    fn a_well_formed_record_outdates_no_more_than_it_names(digest in "[0-9a-f]{128}", user in "[a-z0-9]{1,20}") {
        let token = ended(UserIdType::Text, Some(digest.clone()), None);
        prop_assert_eq!(token, Ended::Token(Digest::from_hex(&digest).expect("a digest").token_id()));
        prop_assert_eq!(ended(UserIdType::Text, None, Some(user.clone())), Ended::User(user.parse().expect("a user id")));
    }

    #[test]
    fn a_number_below_zero_is_no_place(number: i64) {
        prop_assert_eq!(rows::place(number).ok(), u64::try_from(number).ok());
    }
}
