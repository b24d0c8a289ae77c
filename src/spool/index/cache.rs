//! Messages that were read lately.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mailbox::Message;

/// Messages that were asked for lately, in two generations.
#[derive(Default)]
pub(super) struct Cache {
    young: HashMap<u64, Arc<Message>>,
    old: HashMap<u64, Arc<Message>>,
}

impl Cache {
    pub(super) const MOST: usize = 8192;

    pub(super) fn get(&mut self, number: u64) -> Option<Arc<Message>> {
        if let Some(message) = self.young.get(&number) {
            return Some(message.clone());
        }
        let message = self.old.remove(&number)?;
        self.put(message.clone());
        Some(message)
    }

    pub(super) fn put(&mut self, message: Arc<Message>) {
        self.old.remove(&message.number);
        self.young.insert(message.number, message);
        if self.young.len() >= Self::MOST {
            self.old = std::mem::take(&mut self.young);
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.young.remove(&number);
        self.old.remove(&number);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
