//! Any bytes in any parts: all of them are handed on, in order, and cut where messages end.

use proptest::{collection::vec, prelude::*};

use super::*;

const LONGEST: usize = 64;

/// Takes them in, and gives what is handed on; what is left comes last.
fn handed_on(parts: &[Vec<u8>]) -> (Vec<Bytes>, Option<Bytes>) {
    let mut body = Whole::new((), LONGEST);
    let whole = parts.iter().filter_map(|part| body.take(Bytes::copy_from_slice(part))).collect();
    (whole, body.broken_off())
}

fn message(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("short");
    [&[0], &length.to_be_bytes()[..], text].concat()
}

proptest! {
    #[test]
    fn any_bytes_are_handed_on_in_order(parts in vec(vec(any::<u8>(), 0..40), 0..12)) {
        let (whole, rest) = handed_on(&parts);
        prop_assert_eq!(whole.into_iter().chain(rest).collect::<Vec<_>>().concat(), parts.concat());
    }

    #[test]
    fn messages_are_handed_on_whole(texts in vec(vec(any::<u8>(), 0..=LONGEST), 1..6), cuts in vec(1..30_usize, 0..40)) {
        let bytes = texts.iter().map(|text| message(text)).collect::<Vec<_>>().concat();
        let (mut parts, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts {
            let (part, after) = rest.split_at(cut.min(rest.len()));
            parts.push(part.to_vec());
            rest = after;
        }
        parts.push(rest.to_vec());
        let (whole, rest) = handed_on(&parts);
        prop_assert_eq!(rest, None);
        prop_assert_eq!(whole.concat(), bytes);
        let body = Whole::new((), LONGEST);
        prop_assert!(whole.iter().all(|whole| body.whole(whole) == whole.len()));
    }
}
