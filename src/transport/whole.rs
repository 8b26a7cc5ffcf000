//! Request bodies that hand on whole messages only.
//!
//! tonic makes room for a message as soon as its length is announced (0.14.9), so that a peer who announces many and
//! sends none would have the service hold them all. Here what has come is all that is held.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::FutureExt as _;
use hyper::body::{Body, Frame, SizeHint};
use prost::bytes::{Buf as _, Bytes, BytesMut};

/// Compressed-Flag and Message-Length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;

/// A body whose data frames end where messages end, except that of one which is too long. It holds a part of one
/// message at most.
#[derive(Debug)]
pub(super) struct Whole<B> {
    body: B,
    /// Longest message that is waited for, in bytes; tonic refuses a longer one by its prefix.
    longest: usize,
    held: BytesMut,
    /// What came before anybody asked for it.
    first: Option<Frame<Bytes>>,
    /// What came after the data.
    last: Option<Frame<Bytes>>,
}

// === impl Whole ===

impl<B> Whole<B> {
    pub(super) fn new(body: B, longest: usize) -> Self {
        Self { body, longest, held: BytesMut::new(), first: None, last: None }
    }

    /// What is yet to come, of a body that nobody wants.
    pub(super) fn into_rest(self) -> B {
        self.body
    }

    /// What to hand on, now that these bytes have come: all but a message at the end that is not whole yet.
    fn take(&mut self, mut data: Bytes) -> Option<Bytes> {
        if self.held.is_empty() {
            let whole = data.split_to(self.whole(&data));
            self.held.extend_from_slice(&data);
            return Some(whole).filter(|whole| !whole.is_empty());
        }
        self.held.extend_from_slice(&data);
        // What is held begins with a message; as long as that one is not whole, there is nothing to look at behind it.
        let end = self.whole(&self.held);
        (end > 0).then(|| self.held.split_to(end).freeze())
    }

    /// A message that ends before its length is tonic's to refuse.
    fn broken_off(&mut self) -> Option<Bytes> {
        (!self.held.is_empty()).then(|| self.held.split().freeze())
    }

    /// Up to where messages are whole. One that is too long is not waited for.
    fn whole(&self, bytes: &[u8]) -> usize {
        let mut end = 0;
        while let Some(prefix) = bytes.get(end..end + PREFIX_BYTES) {
            let length = (&prefix[1..]).get_u32() as usize;
            if length > self.longest {
                return bytes.len();
            }
            let Some(next) = Some(end + PREFIX_BYTES + length).filter(|next| *next <= bytes.len()) else { break };
            end = next;
        }
        end
    }
}

impl<B: Body<Data = Bytes> + Unpin> Whole<B> {
    /// Waits until there is a message to hand on, or it is known that there will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn begun(&mut self) {
        poll_fn(|cx| {
            if self.first.is_none()
                && let Some(Ok(frame)) = ready!(Pin::new(&mut *self).poll_frame(cx))
            {
                self.first = Some(frame);
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Whether [`Self::begun`] has nothing to wait for.
    pub(super) fn has_begun(&mut self) -> bool {
        self.begun().now_or_never().is_some()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Whole<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            if let Some(last) = self.last.take() {
                return Poll::Ready(Some(Ok(last)));
            }
            let whole = match ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.take(data),
                Some(Err(trailers)) => {
                    self.last = Some(trailers);
                    self.broken_off()
                }
                None => match self.broken_off() {
                    Some(part) => Some(part),
                    None => return Poll::Ready(None),
                },
            };
            if let Some(whole) = whole {
                return Poll::Ready(Some(Ok(Frame::data(whole))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.held.is_empty() && self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, slice::from_ref};

    use http::HeaderMap;
    use http_body_util::BodyExt as _;

    use super::*;

    const LONGEST: usize = 100;

    /// What a peer sends, frame by frame.
    struct Sent(VecDeque<Frame<Bytes>>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }
    }

    fn message(length: u8) -> Vec<u8> {
        [&[0, 0, 0, 0, length][..], &vec![7; length.into()]].concat()
    }

    async fn handed_on(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut frames: VecDeque<_> = parts.iter().map(|part| Frame::data(Bytes::copy_from_slice(part))).collect();
        frames.push_back(Frame::trailers(HeaderMap::new()));
        let mut body = Whole::new(Sent(frames), LONGEST);
        let mut data = Vec::new();
        let mut trailers = 0;
        while let Some(frame) = body.frame().await {
            match frame.expect("nothing fails").into_data() {
                Ok(bytes) => data.push(bytes.to_vec()),
                Err(_) => trailers += 1,
            }
        }
        assert_eq!(trailers, 1);
        assert!(body.is_end_stream());
        data
    }

    #[tokio::test]
    async fn messages_are_handed_on_whole_in_whatever_parts_they_come() {
        let (one, two) = (message(40), message(0));
        let both = [one.clone(), two.clone()].concat();
        assert_eq!(handed_on(&[&one, &two]).await, [one.clone(), two.clone()], "as they came");
        assert_eq!(handed_on(&[&both]).await, from_ref(&both));
        for at in 1..one.len() {
            assert_eq!(handed_on(&[&one[..at], &one[at..]]).await, from_ref(&one), "in two parts: {at}");
        }
        let bytes: Vec<_> = both.chunks(1).collect();
        assert_eq!(handed_on(&bytes).await, [one, two], "byte by byte");
    }

    #[test]
    fn no_more_than_a_part_of_one_message_is_held() {
        let (mut body, mut handed_on) = (Whole::new((), LONGEST), 0);
        let stream = message(90).repeat(1_000);
        // Each part ends inside a message.
        for part in stream.chunks(97) {
            handed_on += body.take(Bytes::copy_from_slice(part)).map_or(0, |whole| whole.len());
            assert!(body.held.len() < LONGEST + PREFIX_BYTES, "{}", body.held.len());
        }
        assert_eq!(handed_on, stream.len());
    }

    #[tokio::test]
    async fn a_message_that_is_too_long_is_not_waited_for() {
        let prefix = [0, 0, 0, 0, 101];
        assert_eq!(handed_on(&[&prefix, b"part"]).await, [prefix.to_vec(), b"part".to_vec()]);
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_comes_last() {
        assert_eq!(handed_on(&[&message(40)[..9]]).await, [message(40)[..9].to_vec()]);
    }

    #[test]
    fn what_is_announced_is_not_made_room_for() {
        let mut body = Whole::new((), usize::MAX);
        assert_eq!(body.take(Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1])), None);
        assert!(body.held.capacity() < 1024);
    }
}
