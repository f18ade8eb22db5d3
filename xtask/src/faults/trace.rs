//! A program under a tracer that sees each of its file system calls before the kernel does, and can
//! let a call fail, shorten a write, or kill the program there.
//!
//! The calls are seen by `ptrace` and a filter of `seccomp`, so it does not matter whether the
//! program calls the C library or the kernel, and it is the program that users get. All threads of
//! the program are seen by one thread of the tracer, so a fault hits one call and no other.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::calls::{self, Class, KINDS, Kind, Names};
use crate::process::Result;

/// The word by which the traced process is told apart from the tracer: `xtask` runs itself.
pub(crate) const WORD: &str = "run-traced";

/// A program that runs longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A call of the program that has not been made yet.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// The file of the call, or both files with ` -> ` between them; of a socket, the kernel's text.
    pub(super) path: String,
}

/// What happens instead of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The call is made.
    Nothing,
    /// The call is not made, and has this error.
    Fail(Errno),
    /// Half of the bytes of a write are written; any other call fails with this error.
    Half(Errno),
    /// The program is killed, and the call is not made.
    Kill,
}

/// The end of a traced program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Code(i32),
    Signal(Signal),
    Hung,
}

/// The traced side: asks to be traced, installs the filter, and becomes the program.
pub(crate) fn become_traced(words: &[&str]) -> Result {
    let [program, arguments @ ..] = words else {
        return Err(format!("{WORD} needs a program"));
    };
    let rules = KINDS.iter().map(|kind| (kind.number, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into();
    let arch = arch.map_err(|e| format!("{}: {e}", std::env::consts::ARCH))?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), arch);
    let filter: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(|e| e.to_string())?;
    ptrace::traceme().map_err(|e| format!("ptrace: {e}"))?;
    seccompiler::apply_filter(&filter).map_err(|e| format!("seccomp: {e}"))?;
    Err(Command::new(program).args(arguments).exec().to_string())
}

/// Makes the command that runs a program traced; its folder, variables and files are the caller's.
pub(super) fn traced(program: &Path) -> Result<Command> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(own);
    command.arg(WORD).arg(program).stdin(Stdio::null());
    Ok(command)
}

/// Runs a command of [`traced`]. `started` gets the process, and `decide` is asked about each call.
pub(super) fn run(
    command: &mut Command,
    started: impl FnOnce(Pid),
    mut decide: impl FnMut(&Call) -> Act,
) -> Result<End> {
    let child = command.spawn().map_err(|e| e.to_string())?;
    let leader = Pid::from_raw(i32::try_from(child.id()).map_err(|e| e.to_string())?);
    started(leader);
    let (ended, wait) = mpsc::channel::<()>();
    let (hung, is_hung) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = hung.send(());
            let _ = kill(leader, Signal::SIGKILL);
        }
    });
    let end = follow(leader, &mut decide);
    drop(ended);
    let _ = watch.join();
    match is_hung.try_recv() {
        Ok(()) => Ok(End::Hung),
        Err(_) => end,
    }
}

/// Follows a traced process and its threads until the process ends.
fn follow(leader: Pid, decide: &mut impl FnMut(&Call) -> Act) -> Result<End> {
    // Other threads of this program follow programs of their own.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    let mut started = false;
    let mut calls_allowed = true;
    loop {
        let (pid, signal) = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == leader => return Ok(End::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == leader => {
                return Ok(End::Signal(signal));
            }
            Ok(WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_SECCOMP)) => {
                if calls_allowed {
                    calls_allowed = answer(pid, leader, decide);
                }
                (pid, None)
            }
            Ok(WaitStatus::PtraceEvent(pid, _, _)) => (pid, None),
            Ok(WaitStatus::Stopped(pid, Signal::SIGTRAP)) if !started => {
                started = true;
                let options = Options::PTRACE_O_EXITKILL
                    | Options::PTRACE_O_TRACECLONE
                    | Options::PTRACE_O_TRACESECCOMP;
                ptrace::setoptions(pid, options).map_err(|e| format!("ptrace: {e}"))?;
                (pid, None)
            }
            // A new thread stops once.
            Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)) => (pid, None),
            Ok(WaitStatus::Stopped(pid, signal)) => (pid, Some(signal)),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(format!("waitpid: {error}")),
        };
        // The process may have been killed meanwhile.
        let _ = ptrace::cont(pid, signal);
    }
}

/// Asks about the call before which a thread stands, and does what the answer says. False if the
/// process was killed.
fn answer(thread: Pid, leader: Pid, decide: &mut impl FnMut(&Call) -> Act) -> bool {
    let Ok(mut registers) = ptrace::getregs(thread) else {
        return true;
    };
    let Some(kind) = calls::by_number(registers.orig_rax) else {
        return true;
    };
    let arguments = [
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.r10,
        registers.r8,
        registers.r9,
    ];
    let call = Call {
        name: kind.name,
        class: class(kind, &arguments),
        path: names(thread, kind.names, &arguments),
    };
    let mut fail = |errno: Errno| {
        // A call without a number is not made, and the register has its result.
        registers.orig_rax = u64::MAX;
        registers.rax = i64::from(errno as i32).wrapping_neg() as u64;
        let _ = ptrace::setregs(thread, registers);
    };
    match decide(&call) {
        Act::Nothing => {}
        Act::Fail(errno) => fail(errno),
        Act::Half(errno) => match kind.length {
            Some(at) if arguments[at] > 1 => {
                // Every write has its length in the third argument.
                registers.rdx = arguments[at] / 2;
                let _ = ptrace::setregs(thread, registers);
            }
            _ => fail(errno),
        },
        Act::Kill => {
            let _ = kill(leader, Signal::SIGKILL);
            return false;
        }
    }
    true
}

fn class(kind: &Kind, arguments: &[u64; 6]) -> Class {
    let makes = |at: usize| arguments[at] & libc::O_CREAT as u64 != 0;
    match kind.flags {
        Some(at) if makes(at) => Class::Create,
        _ => kind.class,
    }
}

/// Returns the files of a call.
fn names(thread: Pid, names: Names, arguments: &[u64; 6]) -> String {
    let descriptor = |at: usize| -> PathBuf {
        let link = match arguments[at] as i32 {
            libc::AT_FDCWD => format!("/proc/{thread}/cwd"),
            number => format!("/proc/{thread}/fd/{number}"),
        };
        std::fs::read_link(link).unwrap_or_default()
    };
    let below = |directory: PathBuf, at: usize| match text(thread, arguments[at]) {
        path if path.is_empty() => directory,
        path => directory.join(path),
    };
    let here = || std::fs::read_link(format!("/proc/{thread}/cwd")).unwrap_or_default();
    let both = |a: PathBuf, b: PathBuf| format!("{} -> {}", a.display(), b.display());
    match names {
        Names::None => String::new(),
        Names::Fd(at) => descriptor(at).display().to_string(),
        Names::Path(at) => below(here(), at).display().to_string(),
        Names::At(directory, at) => below(descriptor(directory), at).display().to_string(),
        Names::Paths(a, b) => both(below(here(), a), below(here(), b)),
        Names::Ats([a, b, c, d]) => both(below(descriptor(a), b), below(descriptor(c), d)),
    }
}

/// Reads a text of the traced process that ends with a zero.
fn text(thread: Pid, address: u64) -> String {
    let Ok(memory) = File::open(format!("/proc/{thread}/mem")) else {
        return String::new();
    };
    let mut found = vec![0; 4096];
    // The page after that of the text may be missing.
    let to_page = 4096 - usize::try_from(address % 4096).unwrap_or(0);
    let mut count = memory.read_at(&mut found[..to_page], address).unwrap_or(0);
    if count == to_page && !found[..count].contains(&0) {
        count += memory
            .read_at(&mut found[to_page..], address + to_page as u64)
            .unwrap_or(0);
    }
    found.truncate(count);
    let end = found.iter().position(|byte| *byte == 0).unwrap_or(count);
    String::from_utf8_lossy(&found[..end]).into_owned()
}
