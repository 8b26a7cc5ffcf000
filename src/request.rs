//! The id that a request has in every line that is logged for it. A leaf: it imports nothing of the project.
//!
//! A span would do the same, but one that is on at log level info costs each check an allocation.

use std::fmt;

use http::{HeaderMap, HeaderValue};

/// Where clients and proxies give a request its id.
pub const HEADER: &str = "x-request-id";
/// Longest id that is taken over, in bytes.
const MAX_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// Names a request.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// By its client.
    Given(HeaderValue),
    /// By us.
    Made(u64),
}

/// The id of the request that the running task works for, shown.
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.try_with(RequestId::to_string).ok()
}

/// Has a task that is about to be spawned work for the same request.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = CURRENT.try_with(Clone::clone).ok();
    async move {
        match id {
            Some(id) => CURRENT.scope(id, work).await,
            None => work.await,
        }
    }
}

// === impl RequestId ===

impl RequestId {
    /// The one that the headers give, if it is short and plain; else one of our own.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).filter(|id| is_plain(id.as_bytes()));
        given.map_or_else(|| Self::Made(rand::random()), |id| Self::Given(id.clone()))
    }

    /// Runs work for this request.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// The same, of what does not wait.
    pub fn scope_now<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// The header that tells the client.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Made(_) => HeaderValue::try_from(self.to_string()).expect("it is hexadecimal"),
        }
    }
}

/// Nothing that a log or a header would have to escape.
fn is_plain(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    !id.is_empty() && id.len() <= MAX_BYTES && id.iter().all(plain)
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
            Self::Made(number) => write!(f, "{number:016x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plain_id_is_taken_over_and_carried_and_any_other_is_replaced() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(text.as_bytes()).expect("a header"));
            RequestId::of(&headers)
        };
        let id = of("7f3a-1");
        let seen = id.clone().scope(async { tokio::spawn(carried(async { current() })).await }).await;
        assert_eq!(seen.expect("it ends"), Some("7f3a-1".to_owned()));
        assert_eq!(id.scope_now(current), Some("7f3a-1".to_owned()));
        assert_eq!(current(), None);
        let long = "a".repeat(MAX_BYTES + 1);
        for odd in ["", "a b", "a\"b", "{}", &long] {
            let made = of(odd);
            assert!(matches!(made, RequestId::Made(_)), "{odd:?}");
            assert_eq!(made.to_string().len(), 16);
        }
    }
}
