//! Tests of what the file system refuses, run by any user.

use std::path::Path;

use rustix::thread::{
    CapabilitySet, UnshareFlags, capabilities, remove_capability_from_bounding_set,
    set_capabilities,
};

/// Calls a function in a thread that may not pass over the modes of files, nor may the programs that
/// the thread starts, even if the tests are run by root.
///
/// # Panics
/// If the function panics.
pub fn unprivileged<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let limited = || {
        let refused = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        let mut own = capabilities(None).expect("a process may read its capabilities");
        if own.permitted.contains(CapabilitySet::SETPCAP) {
            for one in refused.iter() {
                remove_capability_from_bounding_set(one).expect("the process has CAP_SETPCAP");
            }
        }
        for set in [&mut own.effective, &mut own.permitted, &mut own.inheritable] {
            set.remove(refused);
        }
        set_capabilities(None, own).expect("a process may give up its capabilities");
        run()
    };
    in_thread(limited)
}

/// Calls a function in a thread with a current directory of its own, which the threads and programs that the
/// thread starts have too.
///
/// # Panics
/// If the function panics, or the thread can't enter the directory.
pub fn in_directory<T: Send>(path: &Path, run: impl FnOnce() -> T + Send) -> T {
    in_thread(|| {
        #[expect(
            deprecated,
            reason = "unsafe are the flags for descriptors and memory, which are not given"
        )]
        rustix::thread::unshare(UnshareFlags::FS).expect("a thread may have its own directory");
        rustix::process::chdir(path).expect("the directory can be entered");
        run()
    })
}

fn in_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
