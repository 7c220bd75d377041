//! An answer that is always given.
//!
//! A request that travels through several actors can be lost with any of them: in a mailbox that is dropped, in a
//! state that is torn, in a task that is aborted. A [`Promise`] travels inside the request and answers by itself when
//! it is dropped unkept. So whoever waits needs no monitor on every actor in between, and no failure is without an
//! owner.

use std::fmt;

type Answer<T> = Box<dyn FnOnce(Option<T>) + Send>;

/// An answer that is given exactly once: by [`keep`](Promise::keep), or with `None` when it is dropped.
///
/// ```
/// use std::sync::mpsc;
/// use ergane_otp::Promise;
///
/// let (sender, receiver) = mpsc::channel();
/// let other = sender.clone();
/// Promise::new(move |answer| sender.send(answer).unwrap()).keep(7);
/// drop(Promise::<i32>::new(move |answer| other.send(answer).unwrap()));
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [Some(7), None]);
/// ```
pub struct Promise<T> {
    answer: Option<Answer<T>>,
}

impl<T> Promise<T> {
    /// A promise whose answer goes to `answer`, which must be quick and must not block: it runs where the promise is
    /// kept or dropped. `None` means that whoever held it died first.
    pub fn new(answer: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self { answer: Some(Box::new(answer)) }
    }

    /// Answers.
    pub fn keep(mut self, value: T) {
        if let Some(answer) = self.answer.take() {
            answer(Some(value));
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(None);
        }
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("kept", &self.answer.is_none()).finish()
    }
}
