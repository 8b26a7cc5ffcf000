//! What is written is admitted, and nothing that differs a little from it.

use proptest::prelude::*;

use super::*;

const PREFIX: &str = "tw_";
/// 2^256 - 1 in base 62, as Python's integers have it.
const LARGEST: &str = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1";

fn form(prefix: &str) -> TokenForm {
    TokenForm::new(prefix.parse().expect("a prefix"), TokenFormat::Checksummed).expect("not ambiguous")
}

fn admits(text: &str) -> bool {
    form(PREFIX).admits(&Token::parse(text.to_owned()).expect("visible ASCII"))
}

fn issued(bytes: [u8; 32]) -> String {
    form(PREFIX).write(&Secret::from_bytes(bytes)).expose().to_owned()
}

#[test]
fn a_token_is_its_prefix_43_digits_of_base_62_and_their_crc32() {
    let smallest = issued([0; 32]);
    assert_eq!(&smallest[..46], format!("tw_{}", "0".repeat(43)));
    let largest = issued([0xff; 32]);
    assert_eq!(&largest[3..46], LARGEST);
    for token in [smallest, largest] {
        assert_eq!(token.len(), 52);
        let sum = token[46..].bytes().fold(0_u64, |sum, byte| {
            sum * 62 + DIGITS.iter().position(|digit| *digit == byte).expect("a digit") as u64
        });
        assert_eq!(sum, u64::from(crc32fast::hash(&token.as_bytes()[3..46])));
    }
    let token = form(PREFIX).write(&Secret::random());
    assert_eq!(form(PREFIX).hint(&token), token.expose()[..7]);
    assert_ne!(token.expose(), form(PREFIX).write(&Secret::random()).expose());
}

#[test]
fn tokens_of_other_formats_and_other_issuers_are_left_to_the_look_up() {
    let hex = "0123456789abcdef".repeat(4);
    for text in [hex.clone(), format!("tw_{hex}"), format!("tw_{}", &hex[..32]), "gh_anything".to_owned()] {
        assert!(admits(&text), "{text}");
    }
    let knox = TokenForm::new(PREFIX.parse().expect("a prefix"), TokenFormat::Knox).expect("never ambiguous");
    assert!(knox.admits(&Token::parse("tw_anything".to_owned()).expect("visible ASCII")), "nothing to tell it by");
}

#[test]
fn what_begins_with_our_prefix_and_has_neither_form_is_refused() {
    let (hex, token) = ("0123456789abcdef".repeat(4), issued([7; 32]));
    for text in [
        PREFIX.to_owned(),
        format!("tw_{}", &hex[1..]),
        format!("tw_{}", hex.to_uppercase()),
        format!("tw_{}", &hex[..30]),
        token[..51].to_owned(),
        format!("{token}0"),
        format!("tw_{token}"),
        format!("tw_{}", "A".repeat(49)),
        format!("tw_{}", "-".repeat(49)),
    ] {
        assert!(!admits(&text), "{text}");
    }
}

#[test]
fn a_checksum_needs_a_prefix_that_no_hexadecimal_token_begins_with() {
    let of = |prefix: &str, format| TokenForm::new(prefix.parse().expect("a prefix"), format);
    for prefix in ["", "a", "ff00", "tw_a", "tw_9"] {
        assert_eq!(of(prefix, TokenFormat::Checksummed), Err(AmbiguousPrefix), "{prefix}");
        assert!(of(prefix, TokenFormat::Knox).is_ok());
    }
    for prefix in ["tw_", "g", "A", "a-"] {
        assert!(of(prefix, TokenFormat::Checksummed).is_ok(), "{prefix}");
    }
}

#[test]
fn each_format_of_a_secret_is_spelt_and_the_deployments_comes_first() {
    let secret = Secret::from_bytes([3; 32]);
    let [first, second] = form(PREFIX).spellings(&secret).map(|token| token.expose().to_owned());
    assert_eq!(first, issued([3; 32]));
    assert_eq!(second, format!("tw_{}", "03".repeat(32)));
}

proptest! {
    // Each case is some thousand checks.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_issued_token_is_admitted_and_with_any_wrong_character_it_is_not(bytes: [u8; 32]) {
        let token = issued(bytes);
        prop_assert!(admits(&token));
        for (at, letter) in (PREFIX.len()..token.len()).flat_map(|at| (0x21..0x7f_u8).map(move |letter| (at, letter))) {
            let mut text = token.clone().into_bytes();
            text[at] = letter;
            let text = String::from_utf8(text).expect("ASCII");
            prop_assert_eq!(admits(&text), text == token, "{}", text);
        }
    }

    #[test]
    fn two_characters_that_changed_places_are_noticed(bytes: [u8; 32]) {
        let token = issued(bytes);
        for at in PREFIX.len()..token.len() - 1 {
            let mut text = token.clone().into_bytes();
            text.swap(at, at + 1);
            let text = String::from_utf8(text).expect("ASCII");
            prop_assert_eq!(admits(&text), text == token, "{}", text);
        }
    }

    #[test]
    fn a_character_left_out_or_put_in_is_noticed(bytes: [u8; 32], letter in "[0-9A-Za-z]") {
        let token = issued(bytes);
        for at in PREFIX.len()..token.len() {
            let (head, tail) = token.split_at(at);
            let (short, long) = ([head, &tail[1..]].concat(), [head, &letter, tail].concat());
            prop_assert!(!admits(&short), "{}", short);
            prop_assert!(!admits(&long), "{}", long);
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_judged(text in "tw_[!-~]{0,509}") {
        admits(&text);
    }
}
