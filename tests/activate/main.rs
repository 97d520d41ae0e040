//! A service manager in small: it opens a port, hands it over to a program, and starts the program again
//! whenever it ends well.
//!
//! `activate PROGRAM ARGUMENTS...` says `socket ADDRESS` and, for each start, `started PID`. It ends with the
//! program's code where that is not 0, and when its stdin is closed. Clients that connect while no program
//! runs wait in the port's queue. It knows nothing of what is tested.

use std::io::{Read as _, Write as _, stdin, stdout};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio, exit};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};

/// First descriptor that is handed over, by the rule of systemd.
const FIRST: i32 = 3;

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    ensure!(listener.as_raw_fd() == FIRST, "the socket has the descriptor {}", listener.as_raw_fd());
    fcntl_setfd(&listener, FdFlags::empty())?;
    print(&format!("socket {}", listener.local_addr()?))?;
    let mut words = std::env::args().skip(1);
    let program = words.next().context("expected PROGRAM ARGUMENTS...")?;
    let words: Vec<String> = words.collect();
    let running = Arc::new(Mutex::new(None::<u32>));
    let last = Arc::clone(&running);
    std::thread::spawn(move || {
        let _ = stdin().read_to_end(&mut Vec::new());
        let child = *last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = child.and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::KILL);
        }
        exit(0);
    });
    loop {
        let mut child = start(&program, &words)?;
        *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.id());
        print(&format!("started {}", child.id()))?;
        let status = child.wait()?;
        *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if !status.success() {
            exit(status.code().unwrap_or(1));
        }
    }
}

/// Starts the program with the socket. It has to know its own id, which a shell knows before it turns into
/// it.
fn start(program: &str, words: &[String]) -> Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"", program]).args(words);
    // What the program says is not for us.
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().with_context(|| format!("starting {program}"))
}

fn print(line: &str) -> Result<()> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush().context("writing to stdout")
}
