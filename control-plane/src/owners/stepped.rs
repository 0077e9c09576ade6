//! One owner task without a task: for simulations, which take its steps one by one.

use tokio::sync::mpsc;

use super::driver::Driver;
use super::{Mail, Owners, OwnersSetup};

/// An owner whose mailbox is emptied, and whose history is listened to, when somebody says so.
pub(crate) struct SteppedOwner {
    mailbox: mpsc::Receiver<Mail>,
    driver: Driver,
}

impl SteppedOwner {
    /// One owner for all channels, and the way to it.
    pub(crate) fn new(setup: OwnersSetup) -> (Owners, Self) {
        let (owners, mut mailboxes) = Owners::new(&OwnersSetup { count: 1, ..setup.clone() });
        let mailbox = mailboxes.pop().expect("there is one owner");
        (owners, Self { mailbox, driver: Driver::new(setup) })
    }

    /// How much is in the mailbox.
    pub(crate) fn waits(&self) -> usize {
        self.mailbox.len()
    }

    /// Takes the next thing out of the mailbox; returns whether there was one.
    pub(crate) fn take_next(&mut self) -> bool {
        let Ok(mail) = self.mailbox.try_recv() else { return false };
        self.driver.take(mail);
        true
    }

    /// Takes one answer of the history that is there; returns whether there was one.
    pub(crate) fn take_answer(&mut self) -> bool {
        self.driver.take_answer()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) {
        self.driver.tick();
    }
}
