//! How many connections each origin has: who opens many leaves places to others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub(super) struct Crowd {
    most: usize,
    here: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of an origin's; dropped, it is free again.
pub(super) struct Seat {
    crowd: Crowd,
    origin: IpAddr,
}

impl Crowd {
    /// `most`: connections of one origin.
    pub(super) fn new(most: usize) -> Self {
        Self { most, here: Arc::default() }
    }

    /// `None` where this origin has as many as it may.
    pub(super) fn enter(&self, origin: IpAddr) -> Option<Seat> {
        self.here(|here| {
            let count = here.entry(origin).or_default();
            let free = *count < self.most;
            *count += usize::from(free);
            free.then(|| Seat { crowd: self.clone(), origin })
        })
    }

    fn here<T>(&self, with: impl FnOnce(&mut HashMap<IpAddr, usize>) -> T) -> T {
        with(&mut self.here.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.here(|here| {
            if let Some(count) = here.get_mut(&self.origin) {
                *count -= 1;
                if *count == 0 {
                    here.remove(&self.origin);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_leaves_places_to_others() {
        let crowd = Crowd::new(2);
        let (greedy, modest) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let seats = [crowd.enter(greedy), crowd.enter(greedy)];
        assert!(seats.iter().all(Option::is_some) && crowd.enter(greedy).is_none());
        let other = crowd.enter(modest);
        assert!(other.is_some());
        drop(seats);
        assert!(crowd.enter(greedy).is_some());
        drop(other);
        assert!(crowd.here(|here| here.is_empty()));
    }
}
