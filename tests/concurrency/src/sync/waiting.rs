//! tokio's asynchronous mutex, channels and cell that is set once, with a scheduling point before each
//! step that another task could notice.
//!
//! They are tokio's own: they work with wakers alone, and their inner locks are released before a waker is
//! called, so that shuttle may run them. By themselves they would run together with whatever precedes them,
//! as one step.

use super::{Arc, point};

/// `tokio::sync::Mutex`, as far as it is used.
#[derive(Default)]
pub(crate) struct AsyncMutex<T>(Arc<tokio::sync::Mutex<T>>);

pub(crate) struct OwnedMutexGuard<T> {
    _held: tokio::sync::OwnedMutexGuard<T>,
}

impl<T> AsyncMutex<T> {
    pub(crate) async fn lock_owned(self: Arc<Self>) -> OwnedMutexGuard<T> {
        point();
        OwnedMutexGuard { _held: Arc::clone(&self.0).lock_owned().await }
    }
}

impl<T> Drop for OwnedMutexGuard<T> {
    fn drop(&mut self) {
        point();
    }
}

/// `tokio::sync::SetOnce`, as far as it is used.
pub(crate) struct SetOnce<T>(tokio::sync::SetOnce<T>);

impl<T> Default for SetOnce<T> {
    fn default() -> Self {
        Self(tokio::sync::SetOnce::new())
    }
}

impl<T> SetOnce<T> {
    pub(crate) fn initialized(&self) -> bool {
        point();
        self.0.initialized()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), tokio::sync::SetOnceError<T>> {
        point();
        self.0.set(value)
    }

    pub(crate) async fn wait(&self) -> &T {
        point();
        self.0.wait().await
    }
}

/// `tokio::sync::watch`, as far as it is used.
pub(crate) mod watch {
    use tokio::sync::watch;

    use super::point;

    pub(crate) struct Sender<T>(watch::Sender<T>);

    #[derive(Clone)]
    pub(crate) struct Receiver<T>(watch::Receiver<T>);

    pub(crate) fn channel<T>(first: T) -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = watch::channel(first);
        (Sender(sender), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), watch::error::SendError<T>> {
            point();
            self.0.send(value)
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            // The next step closes the channel, if there is no other sender.
            point();
        }
    }

    impl<T> Receiver<T> {
        pub(crate) async fn wait_for(
            &mut self,
            done: impl FnMut(&T) -> bool,
        ) -> Result<watch::Ref<'_, T>, watch::error::RecvError> {
            point();
            self.0.wait_for(done).await
        }

        pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
            point();
            self.0.borrow()
        }
    }
}

/// `tokio::sync::oneshot`, as far as it is used.
pub(crate) mod oneshot {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::sync::oneshot;

    use super::point;

    /// The sender, until it has sent.
    pub(crate) struct Sender<T>(Option<oneshot::Sender<T>>);

    pub(crate) struct Receiver<T>(oneshot::Receiver<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(Some(sender)), Receiver(receiver))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(mut self, value: T) -> Result<(), T> {
            point();
            match self.0.take() {
                Some(sender) => sender.send(value),
                None => Err(value),
            }
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            // The next step closes the channel, if nothing was sent.
            point();
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, oneshot::error::RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            point();
            Pin::new(&mut self.0).poll(context)
        }
    }
}
