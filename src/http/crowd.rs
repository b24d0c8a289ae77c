//! How many places each origin has, of connections or of logins: who takes many leaves some to
//! others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub(super) struct Crowd {
    all: usize,
    of_origin: usize,
    here: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of an origin's; dropped, it is free again.
pub(super) struct Seat {
    crowd: Crowd,
    origin: IpAddr,
}

impl Crowd {
    /// Places in all, and for one origin.
    pub(super) fn new(all: usize, of_origin: usize) -> Self {
        Self { all, of_origin, here: Arc::default() }
    }

    /// `None` where all places are taken, or as many as this origin may have.
    pub(super) fn enter(&self, origin: IpAddr) -> Option<Seat> {
        self.here(|here| {
            let all: usize = here.values().sum();
            let of_origin = here.get(&origin).copied().unwrap_or(0);
            (all < self.all && of_origin < self.of_origin).then(|| {
                here.insert(origin, of_origin + 1);
                Seat { crowd: self.clone(), origin }
            })
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
        let crowd = Crowd::new(usize::MAX, 2);
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
