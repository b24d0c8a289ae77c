//! The program: arguments in, an exit code out.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A million messages in 150 MB: the system's allocator needs 280 for the same, since what one of
/// its threads' arenas has free no other thread can use.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    afterbeep::cli::run()
}
