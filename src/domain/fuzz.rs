//! Texts of any kind, where the domain reads one: a value that means what it says, or a refusal.

use proptest::prelude::*;

use super::{
    Digest, HashFunction, Hashing, Knox4, MAX_TOKEN_BYTES, MAX_USER_ID_BYTES, Position, Token, TokenForm, TokenFormat,
    TokenId, TokenPrefix, UserId,
};

/// Noise, and what is right or almost.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[!-~]{1,80}",
        "[ -~]{500,530}",
        "[0-9a-fA-F]{30,34}",
        "[0-9a-f]{62,66}",
        "[0-9a-f]{127,129}"
    ]
}

fn revision() -> impl Strategy<Value = String> {
    prop_oneof![text(), "[0-9a-fA-F]{31,33}-[0-9]{0,21}", "[+-]?[0-9a-f]{30,32}-[+-]?[0-9]{1,3}"]
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

proptest! {
    #[test]
    fn a_token_is_1_to_512_visible_ascii_characters_and_hashes_whatever_it_is(text in text(), prefix in "[!-~]{0,10}") {
        let fits = (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let parsed = Token::parse(text.clone());
        prop_assert_eq!(parsed.is_ok(), fits);
        if let Ok(token) = parsed {
            let prefix: TokenPrefix = prefix.parse().expect("at most 10 visible ASCII characters");
            prop_assert!(text.starts_with(token.key().as_str()));
            let form = TokenForm::new(prefix, TokenFormat::Knox).expect("without a checksum none is ambiguous");
            prop_assert!(text.starts_with(&form.hint(&token)));
            let shown = format!("{token:?}");
            prop_assert_eq!(shown, "Token(redacted)");
            for function in [HashFunction::Sha512, HashFunction::Sha256, HashFunction::Sha3, HashFunction::Blake2b] {
                let hashing = Hashing { function, knox4: Knox4::Accepted };
                let again = Token::parse(text.clone()).expect("it is one");
                prop_assert_eq!(hashing.digest(&token), hashing.digest(&again));
            }
        }
    }

    #[test]
    fn a_token_id_has_one_spelling(text in text()) {
        let parsed: Result<TokenId, _> = text.parse();
        prop_assert_eq!(parsed.is_ok(), text.len() == 32 && is_lower_hex(&text));
        if let Ok(id) = parsed {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn a_digest_has_one_spelling(text in text()) {
        let parsed = Digest::from_hex(&text);
        prop_assert_eq!(parsed.is_ok(), matches!(text.len(), 64 | 128) && is_lower_hex(&text));
        if let Ok(digest) = parsed {
            prop_assert!(text.starts_with(&digest.token_id().to_string()));
        }
    }

    #[test]
    fn a_revision_has_one_spelling(text in revision(), epoch: u128, seq: u64) {
        if let Ok(position) = text.parse::<Position>() {
            prop_assert_eq!(position.to_string(), text);
        }
        let position = Position { epoch, seq };
        prop_assert_eq!(position.to_string().parse::<Position>().ok(), Some(position));
    }

    #[test]
    fn a_user_id_is_short_and_has_no_control_characters(text in text()) {
        let fits = (1..=MAX_USER_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        prop_assert_eq!(text.parse::<UserId>().is_ok(), fits);
    }
}
