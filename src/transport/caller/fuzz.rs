//! Any bytes in the `authorization` header.

use http::HeaderValue;
use proptest::{collection::vec, prelude::*};

use super::*;

proptest! {
    #[test]
    fn any_headers_are_one_key_or_none(values in vec(vec(any::<u8>(), 0..60), 0..3), bearer: bool) {
        let mut headers = HeaderMap::new();
        for value in &values {
            let value = if bearer { [b"Bearer ", &value[..]].concat() } else { value.clone() };
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(AUTHORIZATION, value);
            }
        }
        match key(&headers) {
            Ok(None) => prop_assert!(headers.is_empty()),
            Ok(Some(key)) => {
                prop_assert_eq!(headers.len(), 1);
                prop_assert!(!key.is_empty() && headers[AUTHORIZATION].as_bytes().ends_with(key.as_bytes()));
            }
            Err(Malformed) => prop_assert!(!headers.is_empty()),
        }
    }
}
