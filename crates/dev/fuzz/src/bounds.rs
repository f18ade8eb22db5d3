//! The bounds of memory and CPU time on one input.
//!
//! Memory is that of Rust's allocator. The C libraries of zstd and xz have an allocator of their own; the limits of
//! windows and dictionaries bound them.

use std::alloc::System;
use std::panic;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use cap::Cap;

use crate::target::Target;

/// The allocator of every program that has the targets.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Inputs run one after the other, since memory and time are those of the whole process.
static ONE: Mutex<()> = Mutex::new(());

/// Calls a target with an input. `timed` says whether CPU time counts; a test has no bound of time.
///
/// # Panics
/// If a law of the target does not hold, or the input takes too much time. Too much memory ends the process, at the
/// allocation that exceeds the bound.
pub fn run(target: &Target, input: &[u8], timed: bool) {
    // A message with its backtrace needs memory too.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let _ = ALLOCATOR.set_limit(usize::MAX);
            before(panic);
        }));
    });
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let bounds = target.bounds;
    let most = bounds.memory + input.len() * bounds.per_byte;
    // The limit is met by no race: other threads of the process are idle.
    let _ = ALLOCATOR.set_limit(ALLOCATOR.allocated().saturating_add(most));
    let start = cpu();
    let lift = Lift;
    (target.read)(input);
    drop(lift);
    let took = cpu().saturating_sub(start);
    assert!(
        !timed || took <= bounds.cpu,
        "{}: {} bytes of input took {took:?} of CPU time, at most {:?} are allowed",
        target.name,
        input.len(),
        bounds.cpu,
    );
    drop(one);
}

/// Lifts the bound of memory at the end, also after a panic.
struct Lift;

impl Drop for Lift {
    fn drop(&mut self) {
        let _ = ALLOCATOR.set_limit(usize::MAX);
    }
}

/// Returns the CPU time that all threads of this process have used, in steps of 10 ms (proc(5), `stat`).
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = text.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Bounds;

    /// Asks for memory as a target does, without ending the process.
    fn greedy(input: &[u8]) {
        let mut vector: Vec<u8> = Vec::new();
        let got = vector.try_reserve_exact(input.len() << 20);
        assert_eq!(got.is_ok(), input.len() <= 32, "{} MiB", input.len());
    }

    #[test]
    fn memory_is_bounded_while_a_target_runs() {
        let target = Target {
            name: "greedy",
            read: greedy,
            seeds: Vec::new,
            bounds: Bounds::READER,
        };
        for size in [1, 32, 65, 1000] {
            run(&target, &vec![0; size], false);
        }
        let mut vector: Vec<u8> = Vec::new();
        vector.try_reserve_exact(1000 << 20).unwrap();
    }
}
