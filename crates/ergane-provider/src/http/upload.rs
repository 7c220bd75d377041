//! What is sent: pieces of a payload one after the other, their length told beforehand.
//!
//! A long history is handed over as it lies in memory, and not copied together for each request. Some servers refuse a body
//! whose length they are not told, so this one knows it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::wire::Payload;

/// The body of a request.
pub(super) fn body(payload: Payload) -> reqwest::Body {
    let length = payload.len() as u64;
    let mut pieces = payload.into_pieces();
    match pieces.pop() {
        None => Bytes::new().into(),
        Some(only) if pieces.is_empty() => only.into(),
        Some(last) => {
            pieces.push(last);
            reqwest::Body::wrap(Pieces { pieces: pieces.into_iter(), left: length })
        }
    }
}

/// Pieces, and how many bytes are left in them.
struct Pieces {
    pieces: vec::IntoIter<Bytes>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.next();
        self.left = self.left.saturating_sub(next.as_ref().map_or(0, |piece| piece.len() as u64));
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn the_length_is_known_before_the_first_piece_and_after_each() {
        let pieces = ["ab", "", "cde"].map(Bytes::from);
        let mut body = Pieces { pieces: Vec::from(pieces).into_iter(), left: 5 };
        let mut context = Context::from_waker(Waker::noop());
        let mut seen = Vec::new();
        for left in [5, 3, 3, 0] {
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(left), left == 0));
            match Pin::new(&mut body).poll_frame(&mut context) {
                Poll::Ready(Some(Ok(frame))) => seen.extend(frame.into_data().unwrap()),
                Poll::Ready(None) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, b"abcde");
    }
}
