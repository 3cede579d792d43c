//! Looks, before anything is begun, whether the system lets a run have the threads and files it needs.
//!
//! RocksDB and the Kafka client end the process, or wait for ever, where they get none in the middle of
//! something; here it is a sentence and exit code 50.
//!
//! Not here: memory; limits that are reached later (a failed write says so).

use std::{
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Failure;

const CODE: u8 = 50;

/// Our own, RocksDB's, and the Kafka client's: some, and one for each broker of a cluster.
const THREADS: usize = 24;

/// The database's, the sinks', and some connections. A run with one broker and one sink has 22.
const FILES: u64 = 64;

/// Raises the limit on open files as far as it may be, and refuses to begin where that or the limit on
/// threads is too low.
pub(super) fn check() -> Result<(), Failure> {
    open_files()?;
    threads()
}

fn open_files() -> Result<(), Failure> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // A limit that cannot be raised is looked at as it is.
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    match current {
        Some(most) if most < FILES => Err(Failure::new(
            CODE,
            format!(
                "this process may have {most} open files, and a run needs {FILES}: raise the limit \
                 (`ulimit -n`, LimitNOFILE= in a systemd unit) and start again. Nothing was begun"
            ),
        )),
        _ => Ok(()),
    }
}

/// Makes as many threads as are needed, all alive at a time, and ends them again.
fn threads() -> Result<(), Failure> {
    let mut waiting: Vec<(Sender<()>, JoinHandle<()>)> = Vec::with_capacity(THREADS);
    let mut refused = None;
    while waiting.len() < THREADS && refused.is_none() {
        let (release, released) = channel();
        let made = std::thread::Builder::new().stack_size(16 << 10).spawn(move || {
            // Ends when the other side is dropped.
            let _ = released.recv();
        });
        match made {
            Ok(thread) => waiting.push((release, thread)),
            Err(error) => refused = Some(error),
        }
    }
    let made = waiting.len();
    for (release, thread) in waiting {
        drop(release);
        // It has nothing to say.
        let _ = thread.join();
    }
    match refused {
        None => Ok(()),
        Some(error) => Err(Failure::new(
            CODE,
            format!(
                "the system gives this process {made} more threads, and a run needs {THREADS} \
                 ({error}): raise the limit (`ulimit -u`, TasksMax= in a systemd unit, --pids-limit of \
                 a container) and start again. Nothing was begun"
            ),
        )),
    }
}
