//! Taking connections, also while the system has none to give.

use std::io;
use std::time::Duration;

use tracing::warn;

/// The next connection. Where none can be taken, most likely because too many files are open, it
/// says so once and tries again, ever more slowly.
pub async fn accept<C, F>(what: &str, mut accept: impl FnMut() -> F) -> C
where
    F: Future<Output = io::Result<C>>,
{
    let mut pause = SHORTEST;
    loop {
        match accept().await {
            Ok(connection) => return connection,
            Err(error) if pause == SHORTEST => {
                warn!("{what} took no connection, and tries again: {error}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_followed_by_a_pause_and_another_try() {
        let mut tries = [Err(io::ErrorKind::Other.into()), Ok(7)].into_iter();
        let began = Instant::now();
        let taken = accept("a test", || std::future::ready(tries.next().unwrap())).await;
        assert_eq!(taken, 7);
        assert!(began.elapsed() >= SHORTEST);
    }
}
