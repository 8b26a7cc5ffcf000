//! Any text where a page token should be.

use proptest::{collection::vec, prelude::*};

use super::*;

proptest! {
    #[test]
    fn any_text_is_a_page_token_of_this_listing_or_none(text: String, bytes in vec(any::<u8>(), 0..120), user: String) {
        for text in [text, URL_SAFE_NO_PAD.encode(&bytes)] {
            // A check of 64 bits is not met by chance.
            prop_assert_eq!(read(&text, &user, &[]), Err(InvalidPageToken));
        }
    }

    #[test]
    fn a_place_of_any_time_is_read_again_or_refused(micros: i64, digest in vec(any::<u8>(), 64), user: String) {
        let place = [&micros.to_be_bytes()[..], &digest].concat();
        let text = URL_SAFE_NO_PAD.encode([&place[..], &check(&place, &user, &[])].concat());
        if let Ok(cursor) = read(&text, &user, &[]) {
            prop_assert_eq!(cursor.created.timestamp_micros(), micros);
            prop_assert_eq!(write(cursor, &user, &[]), text);
        }
    }
}
