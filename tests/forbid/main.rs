//! A process that gives up the right to make executable memory and then becomes another program: the effect
//! of systemd's `MemoryDenyWriteExecute` on a service.
//!
//! `forbid-executable PROGRAM ARGUMENT...`. It knows nothing of what is tested.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The option's number in the kernel's `prctl.h`, since Linux 6.3.
const PR_SET_MDWE: libc::c_int = 65;
const PR_MDWE_REFUSE_EXEC_GAIN: libc::c_ulong = 1;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("expected PROGRAM ARGUMENT...")?;
    let none: libc::c_ulong = 0;
    // SAFETY: it reads five numbers and changes nothing that this program has in memory.
    let set = unsafe { libc::prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, none, none, none) };
    ensure!(set == 0, "the kernel cannot forbid executable memory: {}", std::io::Error::last_os_error());
    Err(Command::new(program).args(arguments).exec()).context("becoming the program")
}
