//! Runs a command and measures it: CPU seconds, wall time, peak memory, time to its first mark.
//!
//! Invariants: the command runs in a process group of its own, and the whole group is gone when this ends,
//! however it ends. CPU is what the kernel counted for the command and the children it waited for. Memory is
//! the resident memory of the whole group, looked at every 50 ms, or the largest process's own peak if that
//! is more; who belongs to the group is looked up every second, so that looking costs next to nothing.
//! A mark is the first line, on stdout or stderr, that begins as the option says; both go to a log. Neither the log nor
//! the figures name a place of the machine.
//!
//! Start at [`Measure::run`]. Not here: what the lines mean (`check`).

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

use crate::{Outcome, places::Places};

const LOOK: Duration = Duration::from_millis(50);
/// Looks from one search for the group's processes to the next.
const LOOKS_A_SEARCH: u32 = 20;

/// What to run and what to write down.
#[derive(Args)]
pub struct Measure {
    /// The file for the figures, one JSON object
    #[arg(long)]
    out: PathBuf,
    /// The file for what the command prints
    #[arg(long)]
    log: PathBuf,
    /// How the line begins that says that the first batch is out
    #[arg(long)]
    mark: String,
    /// How the line begins that says that all is read, where the process goes on behind it
    #[arg(long)]
    done: Option<String>,
    /// SIGKILL the command once a line begins like this
    #[arg(long)]
    kill_at: Option<String>,
    /// Kill it after so many seconds at most, which counts as a failure
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What one run cost.
#[derive(Serialize)]
struct Figures {
    wall_s: f64,
    user_s: f64,
    system_s: f64,
    peak_mib: f64,
    /// From launching to the mark.
    first_s: Option<f64>,
    /// From launching to the line `--done`.
    done_s: Option<f64>,
    exit: Option<i32>,
    killed: bool,
    command: String,
}

/// How a run ended.
enum End {
    Exited(Option<i32>),
    Killed,
    TimedOut,
    Interrupted,
}

impl Measure {
    pub fn run(&self, places: &Places) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let measured =
            runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(self.measure(places)));
        let log = || places.short(&self.log.to_string_lossy()).into_owned();
        match measured {
            Ok(End::Exited(Some(0)) | End::Killed) => ExitCode::SUCCESS,
            Ok(End::Exited(code)) => {
                let code = code.map_or("by a signal".to_owned(), |code| format!("with {code}"));
                eprintln!("bench: the command ended {code}; see {}", log());
                ExitCode::FAILURE
            }
            Ok(End::TimedOut) => {
                eprintln!("bench: not done after {} s; see {}", self.timeout, log());
                ExitCode::FAILURE
            }
            Ok(End::Interrupted) => ExitCode::from(130),
            Err(error) => {
                let error = error.to_string();
                eprintln!(
                    "bench: measuring {}: {}",
                    places.command(&self.command),
                    places.short(&error)
                );
                ExitCode::FAILURE
            }
        }
    }

    async fn measure(&self, places: &Places) -> Outcome<End> {
        let mut log = Log { file: File::create(&self.log)?, places };
        let (sender, mut lines) = mpsc::unbounded_channel();
        let started = Instant::now();
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let group = Group::of(&child)?;
        forward(child.stdout.take().ok_or("no stdout")?, sender.clone());
        forward(child.stderr.take().ok_or("no stderr")?, sender);

        let (mut marks, mut peak_kib) = (Marks::default(), 0);
        let end = {
            let watched = Watched { measure: self, group: &group, started };
            watched.until_end(&mut child, &mut lines, &mut log, &mut marks, &mut peak_kib).await?
        };
        let wall_s = started.elapsed().as_secs_f64();
        drop(group);
        while let Ok(Some((line, at))) =
            tokio::time::timeout(Duration::from_secs(1), lines.recv()).await
        {
            log.write(&line)?;
            marks.note(self, &line, at - started);
        }
        let usage = usage_of_children()?;
        let figures = Figures {
            wall_s,
            user_s: usage.user_s,
            system_s: usage.system_s,
            peak_mib: peak_kib.max(usage.largest_kib) as f64 / 1024.0,
            first_s: marks.first.map(|first| first.as_secs_f64()),
            done_s: marks.done.map(|done| done.as_secs_f64()),
            exit: if let End::Exited(code) = end { code } else { None },
            killed: matches!(end, End::Killed),
            command: places.command(&self.command),
        };
        fs::write(&self.out, serde_json::to_string(&figures)? + "\n")?;
        Ok(end)
    }
}

/// What the command prints, for whoever reads it elsewhere.
struct Log<'a> {
    file: File,
    places: &'a Places,
}

impl Log<'_> {
    fn write(&mut self, line: &str) -> Outcome<()> {
        Ok(writeln!(self.file, "{}", self.places.short(line))?)
    }
}

/// When, after launching, the lines came that say something.
#[derive(Default)]
struct Marks {
    first: Option<Duration>,
    done: Option<Duration>,
}

impl Marks {
    fn note(&mut self, measure: &Measure, line: &str, after: Duration) {
        if line.starts_with(&measure.mark) {
            self.first.get_or_insert(after);
        }
        if measure.done.as_ref().is_some_and(|done| line.starts_with(done)) {
            self.done.get_or_insert(after);
        }
    }
}

/// A run that goes on.
struct Watched<'a> {
    measure: &'a Measure,
    group: &'a Group,
    started: Instant,
}

impl Watched<'_> {
    async fn until_end(
        &self,
        child: &mut Child,
        lines: &mut mpsc::UnboundedReceiver<(String, Instant)>,
        log: &mut Log<'_>,
        marks: &mut Marks,
        peak_kib: &mut u64,
    ) -> Outcome<End> {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut looks, mut members) = (0, Vec::new());
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let deadline = tokio::time::sleep(Duration::from_secs(self.measure.timeout));
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                status = child.wait() => return Ok(End::Exited(status?.code())),
                Some((line, at)) = lines.recv() => {
                    log.write(&line)?;
                    marks.note(self.measure, &line, at - self.started);
                    if self.measure.kill_at.as_ref().is_some_and(|mark| line.starts_with(mark)) {
                        self.group.kill();
                        child.wait().await?;
                        return Ok(End::Killed);
                    }
                }
                _ = look.tick() => {
                    if looks % LOOKS_A_SEARCH == 0 {
                        members = self.group.members();
                    }
                    looks += 1;
                    *peak_kib = members.iter().copied().map(resident_kib).sum::<u64>().max(*peak_kib);
                }
                () = &mut deadline => {
                    self.group.kill();
                    child.wait().await?;
                    return Ok(End::TimedOut);
                }
                _ = tokio::signal::ctrl_c() => return Ok(End::Interrupted),
                _ = terminate.recv() => return Ok(End::Interrupted),
            }
        }
    }
}

/// Sends each line on with the time it came.
pub fn forward(
    stream: impl AsyncRead + Unpin + Send + 'static,
    sender: mpsc::UnboundedSender<(String, Instant)>,
) {
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
            let at = Instant::now();
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if sender.send((text, at)).is_err() {
                break;
            }
        }
    });
}

/// The process group of a command, killed when this goes out of scope.
pub struct Group(u32);

impl Group {
    /// The group of a child that was started as the first of its group.
    ///
    /// # Errors
    /// The child has ended and was waited for.
    pub fn of(child: &Child) -> Outcome<Group> {
        Ok(Group(child.id().ok_or("the command has no process id")?))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let group = i32::try_from(self.0).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(group) = group {
            // It may be gone already.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    /// The processes that are in it now.
    fn members(&self) -> Vec<u32> {
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        ids.filter(|id| self.holds(*id)).collect()
    }

    fn holds(&self, process: u32) -> bool {
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
        // Behind the name, which may hold anything: state, parent, group.
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').nth(2));
        fields.flatten().and_then(|group| group.parse().ok()) == Some(self.0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// The most memory that this process itself ever had resident.
pub fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// CPU seconds, and the peak memory of the largest.
pub struct Usage {
    pub user_s: f64,
    pub system_s: f64,
    largest_kib: u64,
}

/// What the kernel counted for the children that were waited for, and theirs.
pub fn usage_of_children() -> Outcome<Usage> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage` of this frame, which the call fills.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Usage {
        user_s: seconds(usage.ru_utime),
        system_s: seconds(usage.ru_stime),
        largest_kib: u64::try_from(usage.ru_maxrss)?,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, process::ExitCode};

    use super::Measure;
    use crate::places::tests::places;

    #[test]
    fn figures_and_log_name_no_place_of_the_machine() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_str().unwrap();
        let words = ["/bin/sh", "-c", "echo in $0; echo of $0/state >&2", place];
        let measure = Measure {
            out: directory.path().join("figures"),
            log: directory.path().join("log"),
            mark: format!("in {place}"),
            done: None,
            kill_at: None,
            timeout: 60,
            command: words.map(str::to_owned).to_vec(),
        };
        assert_eq!(measure.run(&places(&[&format!("DIR={place}")])), ExitCode::SUCCESS);
        let figures = fs::read_to_string(&measure.out).unwrap();
        let log = fs::read_to_string(&measure.log).unwrap();
        assert!(!(figures.clone() + &log).contains(place), "{figures}{log}");
        assert!(
            figures.contains(r#""command":"sh -c echo in $0; echo of $0/state >&2 DIR""#),
            "{figures}"
        );
        // Marks are looked for in what was printed.
        assert!(!figures.contains(r#""first_s":null"#), "{figures}");
        let mut lines: Vec<_> = log.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["in DIR", "of DIR/state"]);
    }
}
