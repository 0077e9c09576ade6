//! A queue between tasks that is bounded in bytes as well as in items, because items differ in size.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::{Semaphore, TryAcquireError};

/// What can wait in a byte queue.
pub trait Weighed {
    /// About how many bytes it holds on to.
    fn weight(&self) -> usize;
}

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Items at most.
    pub items: usize,
    /// Bytes at most; a single heavier item still passes, alone.
    pub bytes: usize,
}

/// Why an item was not put in; it is given back.
#[derive(Debug)]
pub enum TrySendError<T> {
    /// There is no room.
    Full(T),
    /// The other side is gone.
    Gone(T),
}

/// The other side is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side of the queue is gone")]
pub struct Gone;

/// The side that puts in.
#[derive(Debug)]
pub struct Sender<T> {
    items: mpsc::Sender<T>,
    room: Arc<Semaphore>,
    bounds: Bounds,
}

/// The side that takes out.
#[derive(Debug)]
pub struct Receiver<T> {
    items: mpsc::Receiver<T>,
    room: Arc<Semaphore>,
    bounds: Bounds,
}

/// Makes a queue.
pub fn byte_queue<T: Weighed>(bounds: Bounds) -> (Sender<T>, Receiver<T>) {
    // queue: byte queue (each use is a row of its own)
    let (sender, receiver) = mpsc::channel(bounds.items);
    // queue: byte queue (each use is a row of its own)
    let room = Arc::new(Semaphore::new(bounds.bytes));
    (Sender { items: sender, room: room.clone(), bounds }, Receiver { items: receiver, room, bounds })
}

impl Bounds {
    fn permits<T: Weighed>(self, item: &T) -> u32 {
        u32::try_from(item.weight().min(self.bytes)).unwrap_or(u32::MAX)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { items: self.items.clone(), room: self.room.clone(), bounds: self.bounds }
    }
}

impl<T> Sender<T> {
    /// How many bytes wait, about.
    pub fn waiting_bytes(&self) -> usize {
        self.bounds.bytes.saturating_sub(self.room.available_permits())
    }

    /// Whether half of what may wait, in bytes or in items, waits.
    pub fn is_half_full(&self) -> bool {
        self.waiting_bytes() > self.bounds.bytes / 2 || self.items.capacity() < self.bounds.items / 2
    }

    /// How much may wait.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }
}

impl<T: Weighed> Sender<T> {
    /// Puts an item in if there is room now.
    ///
    /// # Errors
    /// Gives the item back.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let permit = match self.room.try_acquire_many(self.bounds.permits(&item)) {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => return Err(TrySendError::Full(item)),
            Err(TryAcquireError::Closed) => return Err(TrySendError::Gone(item)),
        };
        match self.items.try_send(item) {
            Ok(()) => {
                permit.forget();
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(item)) => Err(TrySendError::Full(item)),
            Err(mpsc::error::TrySendError::Closed(item)) => Err(TrySendError::Gone(item)),
        }
    }

    /// Puts an item in, and waits for room if there is none.
    ///
    /// # Errors
    /// [`Gone`] if nobody will ever take it out.
    pub async fn send(&self, item: T) -> Result<(), Gone> {
        let permit = self.room.acquire_many(self.bounds.permits(&item)).await.map_err(|_| Gone)?;
        self.items.send(item).await.map_err(|_| Gone)?;
        permit.forget();
        Ok(())
    }
}

impl<T: Weighed> Receiver<T> {
    /// Takes the next item out; `None` when all senders are gone and nothing waits.
    pub async fn recv(&mut self) -> Option<T> {
        let item = self.items.recv().await?;
        self.give_back(&item);
        Some(item)
    }

    /// Takes the next item out if one waits.
    pub fn try_recv(&mut self) -> Option<T> {
        let item = self.items.try_recv().ok()?;
        self.give_back(&item);
        Some(item)
    }

    /// Takes the next item out, as a poll.
    pub fn poll_recv(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<T>> {
        let item = std::task::ready!(self.items.poll_recv(cx));
        if let Some(item) = &item {
            self.give_back(item);
        }
        std::task::Poll::Ready(item)
    }

    /// How many bytes wait, about.
    pub fn waiting_bytes(&self) -> usize {
        self.bounds.bytes.saturating_sub(self.room.available_permits())
    }

    fn give_back(&self, item: &T) {
        self.room.add_permits(self.bounds.permits(item) as usize);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Wakes those who wait for room that will never come.
        self.room.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for Vec<u8> {
        fn weight(&self) -> usize {
            self.len()
        }
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_come_back_when_taken_out() {
        let (sender, mut receiver) = byte_queue(Bounds { items: 10, bytes: 100 });
        sender.try_send(vec![0; 60]).unwrap();
        assert!(sender.try_send(vec![0; 60]).is_err());
        assert_eq!(receiver.waiting_bytes(), 60);
        assert!(sender.is_half_full());
        assert_eq!(receiver.recv().await.unwrap().len(), 60);
        sender.try_send(vec![0; 60]).unwrap();
    }

    #[tokio::test]
    async fn items_are_bounded() {
        let (sender, mut receiver) = byte_queue(Bounds { items: 1, bytes: 100 });
        sender.try_send(vec![0; 1]).unwrap();
        assert!(sender.try_send(vec![0; 1]).is_err());
        assert_eq!(receiver.waiting_bytes(), 1, "a refused item takes no room");
        receiver.try_recv().unwrap();
        assert!(receiver.try_recv().is_none());
    }

    #[tokio::test]
    async fn one_heavy_item_passes_alone() {
        let (sender, mut receiver) = byte_queue(Bounds { items: 10, bytes: 100 });
        sender.send(vec![0; 1_000]).await.unwrap();
        assert!(sender.try_send(vec![0; 1]).is_err());
        assert_eq!(receiver.recv().await.unwrap().len(), 1_000);
        assert_eq!(receiver.waiting_bytes(), 0);
    }

    #[tokio::test]
    async fn who_waits_for_room_learns_that_the_receiver_is_gone() {
        let (sender, receiver) = byte_queue(Bounds { items: 10, bytes: 1 });
        sender.try_send(vec![0; 1]).unwrap();
        let waiting = sender.send(vec![0; 1]);
        drop(receiver);
        assert_eq!(waiting.await, Err(Gone));
    }
}
