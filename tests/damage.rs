//! Damage to a state directory: flipped bytes, cut, missing, older and exchanged files. Every start
//! refuses it with exit 11, 12 or 13, or its next batches are those of an undamaged one; none ends
//! in a wrong number, a panic, an abort or a wait without end.
//!
//! The engine is the real one over the real database, with a topic and a sink in memory, so that a trial
//! takes milliseconds. The sink keeps nothing and the topic has no commits: a checkpoint must
//! protect itself. Three histories together fill every family. Each is made in several starts, so that
//! there are sorted files, logs and older copies of both.
//!
//! The short tier tries a sample and `SALES_STREAM_TIER=long` every byte and every length of every file
//! that is read (RocksDB's LOG and OPTIONS are not); `SALES_STREAM_DAMAGE_STRIDE` and
//! `SALES_STREAM_SEED` choose the distance of samples and the first one.
//! `checkpoint/rocks/damage.rs` looks deeper into single files and at what `verify` says of them.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::ThreadId,
    time::{Duration, Instant},
};

use sales_stream::{
    batch::{Permissions, Publication, Room},
    checkpoint::rocks::{self, RocksCheckpoint},
    engine::{self, Carriage, Clock, EngineError, Parts, Settings},
    sink::memory::{Keeps, MemorySink, Trouble},
    source::memory::MemoryTopic,
    spec::{self, MaxOffsets, StartingOffsets, Trigger},
    stop::Stop,
    types::{Digest, Incarnation, Lineage, Partition},
};

/// No trial may take longer.
const LONGEST_TRIAL: Duration = Duration::from_secs(30);

/// Starts that make a golden directory, and records for each.
const STARTS: u32 = 4;
const RECORDS_A_START: u32 = 12;
const ALL_RECORDS: u32 = (STARTS + 2) * RECORDS_A_START;

/// Trials wait for one thing and another; so many at a time keep a machine with two cores busy.
const WORKERS: usize = 4;

struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> i64 {
        1_756_800_000_000
    }
}

/// Files by their path in the state directory.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A history, and what its state directory held after each start.
struct Golden {
    settings: Settings,
    record: fn(u32) -> String,
    /// After each start but the last, oldest first.
    older: Vec<Files>,
    whole: Files,
    /// The newest batch in it, which was never published.
    pending: u64,
    /// Every batch that a right run publishes, those before the damage included.
    expected: BTreeMap<u64, Publication>,
    home: tempfile::TempDir,
}

fn sale(index: u32) -> String {
    let (store, price, ts) = (index % 5, index % 7, 1000 + index * 10);
    format!(r#"{{"store":"s{store}","item":"x","price":{price}.25,"ts":{ts}}}"#)
}

fn transaction(index: u32) -> String {
    let amount = if index % 5 == 3 { "\"much\"".to_owned() } else { format!("{index}.5") };
    format!(r#"{{"transaction_id":"t{index}","user_id":"u","amount":{amount},"type":"x"}}"#)
}

fn preset(name: &str) -> String {
    spec::preset(name).expect("the preset is there").to_owned()
}

/// Windows of sums behind a deduplication.
fn windows() -> String {
    let window = "[window]\nduration = \"30 seconds\"\n";
    let deduplicate = "[drop_duplicates]\ncolumns = [\"store\", \"ts\"]\nevent_time = true\n";
    let sales = preset("sales");
    assert!(sales.contains(window));
    sales.replace(window, &format!("{deduplicate}\n{window}"))
}

/// The same in Spark's ways, whose state is a log of changes.
fn compat() -> String {
    format!("compat = \"spark-4\"\n{}\n[spark]\nshuffle_partitions = 3\n", windows())
}

fn settings(spec_text: String) -> Settings {
    Settings {
        trigger: Trigger::AvailableNow,
        max_offsets: MaxOffsets::Limited(6),
        min_offsets: None,
        max_trigger_delay_ms: 900_000,
        starting_offsets: StartingOffsets::Earliest,
        permissions: Permissions::default(),
        startup_timeout: Some(Duration::ZERO),
        shutdown_timeout: Duration::from_secs(5),
        keep_dead_letters: true,
        fail_on_data_loss: true,
        output_chunk_bytes: 200,
        room: Room::ENDLESS,
        memory_limit: u64::MAX,
        lanes: std::num::NonZeroUsize::MIN,
        spec_text,
        brokers: "memory".to_owned(),
    }
}

impl Golden {
    fn make(spec_text: String, record: fn(u32) -> String) -> Golden {
        let memory = Path::new("/dev/shm");
        let home = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let home = home.expect("there is room");
        let mut golden = Golden {
            settings: settings(spec_text),
            record,
            older: Vec::new(),
            whole: Files::new(),
            pending: 0,
            expected: BTreeMap::new(),
            home,
        };
        let state = golden.home.path().join("golden");
        for start in 1..=STARTS {
            // The newest batch is still to be published: its output is read at the next start.
            let troubles =
                if start == STARTS { &[Trouble::None, Trouble::Broken][..] } else { &[] };
            let (published, ended) = golden.run(&state, start * RECORDS_A_START, troubles);
            assert_eq!(ended.is_err(), start == STARTS);
            golden.expected.extend(published);
            golden.older.push(files(&state));
        }
        golden.whole = golden.older.pop().expect("there were starts");
        let (next, ended) = golden.run(&state, ALL_RECORDS, &[]);
        ended.expect("nothing is in its way");
        assert!(next.len() > 3, "there are batches to be wrong: {}", next.len());
        golden.pending = *next.keys().next().expect("there are batches");
        assert!(!golden.expected.contains_key(&golden.pending), "it was published before");
        assert!(next.values().any(|batch| !batch.rows.is_empty()), "with rows");
        golden.expected.extend(next);
        golden
    }

    /// Reads everything up to so many records; what was published, by batch, and how it ended.
    fn run(
        &self,
        state: &Path,
        records: u32,
        troubles: &[Trouble],
    ) -> (BTreeMap<u64, Publication>, Result<(), Box<EngineError>>) {
        let sink = MemorySink::new("memory", Keeps::Nothing);
        sink.expect_troubles(troubles.iter().copied());
        let ended = self.run_into(state, records, sink.clone());
        let published = sink.published().into_iter();
        (published.map(|batch| (batch.identity.batch.0, bare(batch))).collect(), ended)
    }

    fn run_into(
        &self,
        state: &Path,
        records: u32,
        sink: MemorySink,
    ) -> Result<(), Box<EngineError>> {
        let topic = MemoryTopic::new(2);
        for index in 0..records {
            let partition = i32::try_from(index % 2).expect("it is small");
            topic.append(Partition(partition), Some((self.record)(index).as_bytes()));
        }
        topic.set_records_at_once(Some(4));
        let pipeline =
            spec::parse(&self.settings.spec_text, "sales").expect("it is right").pipeline;
        let examined = RocksCheckpoint::examine(state).map_err(EngineError::from)?;
        let recovered = examined.facts().clone();
        let source = match self.settings.takes_new_topic(&pipeline) {
            true => topic.following_source(),
            false => topic.source(),
        };
        let parts = Parts {
            pipeline,
            source: Box::new(source),
            recovered,
            open: Box::new(move || Ok(Box::new(examined.into_open()?))),
            sinks: vec![Box::new(sink)],
            reporter: None,
            clock: Arc::new(Fixed),
            carriage: Carriage::Threads,
            stop: Stop::new(),
        };
        engine::run(parts, &self.settings)?;
        Ok(())
    }

    fn put(&self, state: &Path, files: &Files) {
        if state.exists() {
            fs::remove_dir_all(state).expect("it is ours");
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(true).create(state.join("db")).expect("it is ours");
        for (name, content) in files {
            fs::write(state.join(name), content).expect("there is room");
        }
    }
}

fn files(state: &Path) -> Files {
    let mut files = Files::new();
    for directory in ["", "db"] {
        for entry in fs::read_dir(state.join(directory)).expect("it is there") {
            let path = entry.expect("it can be read").path();
            if path.is_file() {
                let name = path.strip_prefix(state).expect("it is below").to_owned();
                files.insert(name, fs::read(&path).expect("it can be read"));
            }
        }
    }
    files
}

/// A publication without what differs from start to start.
fn bare(mut batch: Publication) -> Publication {
    batch.identity.incarnation = Incarnation(0);
    batch.identity.lineage = Lineage(0);
    batch.identity.digest = Digest::ZERO;
    batch.record.incarnation = Incarnation(0);
    batch.record.digest = Digest::ZERO;
    batch.record.previous = Digest::ZERO;
    batch.record.took_ms = 0;
    batch
}

/// What each thread tries right now, for the watchman.
static NOW: Mutex<BTreeMap<String, (Instant, String)>> = Mutex::new(BTreeMap::new());

fn now_trying(what: Option<&str>) {
    let thread: ThreadId = std::thread::current().id();
    let mut now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
    match what {
        Some(what) => now.insert(format!("{thread:?}"), (Instant::now(), what.to_owned())),
        None => now.remove(&format!("{thread:?}")),
    };
}

/// Ends the tests when a trial does not end.
fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = NOW.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some((_, what)) =
                    now.values().find(|(since, _)| since.elapsed() > LONGEST_TRIAL)
                {
                    use std::io::Write as _;
                    let _ = writeln!(std::io::stderr(), "no end: {what}");
                    std::process::abort();
                }
            }
        });
    });
}

/// One way to damage a directory.
enum Damage<'a> {
    /// A byte of a file, and what it is combined with.
    Flip(&'a Path, usize, u8),
    /// A file that ends at this length.
    Cut(&'a Path, usize),
    /// A file that is gone.
    Gone(&'a Path),
    /// A file as it was after one of the earlier starts.
    Older(&'a Path, usize),
    /// Two files in each other's place.
    Exchanged(&'a Path, &'a Path),
}

impl std::fmt::Display for Damage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Flip(name, at, mask) => {
                write!(f, "{}: byte {at} ^ {mask:#04x}", name.display())
            }
            Damage::Cut(name, length) => write!(f, "{}: cut at {length}", name.display()),
            Damage::Gone(name) => write!(f, "without {}", name.display()),
            Damage::Older(name, start) => write!(f, "{}: as after start {start}", name.display()),
            Damage::Exchanged(name, other) => {
                write!(f, "{} and {} exchanged", name.display(), other.display())
            }
        }
    }
}

impl Golden {
    /// Everything that is tried, beginning at byte `first` of each file.
    fn damages(&self, first: usize) -> Vec<Damage<'_>> {
        let mut damages = Vec::new();
        for (name, content) in &self.whole {
            let step = stride(name);
            for at in (first % step..content.len()).step_by(step) {
                // All bits, and one of them.
                damages.push(Damage::Flip(name, at, 0xff));
                damages.push(Damage::Flip(name, at, 1 << (at % 8)));
                damages.push(Damage::Cut(name, at));
            }
            damages.push(Damage::Gone(name));
            let read = self.whole.iter().filter(|(other, _)| !is_note(name) && !is_note(other));
            let others = read.filter(|(other, others)| name < *other && content != *others);
            let step = if support::results::is_long() { 1 } else { 4 };
            let others = others.skip(first % step).step_by(step);
            damages.extend(others.map(|(other, _)| Damage::Exchanged(name, other)));
        }
        for (start, files) in self.older.iter().enumerate() {
            let changed = files.iter().filter(|(name, old)| self.whole.get(*name) != Some(*old));
            damages.extend(changed.map(|(name, _)| Damage::Older(name, start)));
        }
        damages
    }

    /// What the damaged files hold; no content where one is gone.
    fn damaged<'a>(&'a self, damage: &Damage<'a>) -> Vec<(&'a Path, Option<Vec<u8>>)> {
        let whole = |name: &Path| self.whole[name].clone();
        match *damage {
            Damage::Flip(name, at, mask) => {
                let mut content = whole(name);
                content[at] ^= mask;
                vec![(name, Some(content))]
            }
            Damage::Cut(name, length) => vec![(name, Some(whole(name)[..length].to_vec()))],
            Damage::Gone(name) => vec![(name, None)],
            Damage::Older(name, start) => vec![(name, Some(self.older[start][name].clone()))],
            Damage::Exchanged(name, other) => {
                vec![(name, Some(whole(other))), (other, Some(whole(name)))]
            }
        }
    }

    /// Starts on a damaged directory: whether it is refused; if not, every batch is right.
    fn is_refused(&self, state: &Path, damage: &Damage<'_>) -> bool {
        self.put(state, &self.whole);
        for (name, content) in self.damaged(damage) {
            match content {
                Some(content) => fs::write(state.join(name), content).expect("there is room"),
                None => fs::remove_file(state.join(name)).expect("it was there"),
            }
        }
        let what = damage.to_string();
        now_trying(Some(&what));
        let ended = std::panic::catch_unwind(|| self.has_right_batches(state, &what));
        now_trying(None);
        !ended.unwrap_or_else(|_| panic!("{what} ends in a panic"))
    }

    /// Whether a start on what is there goes on, all of whose batches must be right; if not, it refuses.
    fn has_right_batches(&self, state: &Path, what: &str) -> bool {
        let (published, ended) = self.run(state, ALL_RECORDS, &[]);
        // Whatever came before a refusal was right too.
        for (batch, publication) in &published {
            let expected = self.expected.get(batch);
            assert!(Some(publication) == expected, "{what}: batch {batch} is another");
        }
        if let Err(error) = ended {
            let code = error.exit_code();
            assert!(matches!(code, 11..=13), "{what} ends with exit {code}: {error}");
            return false;
        }
        let batches = self.expected.keys().filter(|batch| **batch >= self.pending);
        assert!(published.keys().eq(batches), "{what}: batches are missing or shown again");
        true
    }
}

/// RocksDB's log of messages and its note of the options, which nothing reads.
fn is_note(name: &Path) -> bool {
    ["LOG", "OPTIONS"].iter().any(|note| name.to_string_lossy().contains(note))
}

/// How many bytes apart samples are: closer where something is read.
fn stride(name: &Path) -> usize {
    let given = |short| support::results::number("SALES_STREAM_DAMAGE_STRIDE", short, 1).max(1);
    let stride = match name {
        name if is_note(name) => 8_009,
        name if name == Path::new("visible") => given(1_021),
        _ => given(211),
    };
    usize::try_from(stride).expect("it is small")
}

fn try_everything(what: &str, spec_text: String, record: fn(u32) -> String, families: &[&str]) {
    watch();
    let started = Instant::now();
    let golden = Golden::make(spec_text, record);
    let state = golden.home.path().join("whole");
    golden.put(&state, &golden.whole);
    let report = rocks::verify(&state).expect("it can be looked at");
    assert_eq!(report.problems, Vec::<String>::new());
    for family in families {
        assert!(report.values[family] > 0, "{what}: family {family} is empty");
    }
    let seed = support::results::number("SALES_STREAM_SEED", 1, 0);
    let damages = golden.damages(usize::try_from(seed).expect("it is small"));
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (golden, damages, next, refused) = (&golden, &damages, &next, &refused);
            scope.spawn(move || {
                let state = golden.home.path().join(format!("state-{worker}"));
                while let Some(damage) = damages.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if golden.is_refused(&state, damage) {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let refused = refused.into_inner();
    assert!(refused > 50, "{what}: only {refused} of {} were refused", damages.len());
    let count = |is_one: fn(&Damage<'_>) -> bool| {
        damages.iter().filter(|damage| is_one(damage)).count() as u64
    };
    let counts = [
        ("bytes_flipped", count(|damage| matches!(damage, Damage::Flip(..)))),
        ("truncations", count(|damage| matches!(damage, Damage::Cut(..)))),
        ("files_removed", count(|damage| matches!(damage, Damage::Gone(..)))),
        (
            "files_replaced",
            count(|damage| matches!(damage, Damage::Older(..) | Damage::Exchanged(..))),
        ),
        ("refused", refused as u64),
        ("unharmed", (damages.len() - refused) as u64),
    ];
    support::results::report("damage", seed, started, &counts);
}

#[test]
fn damage_to_windows_and_seen_keys_is_refused_or_harmless() {
    try_everything("windows", windows(), sale, &["meta", "offsets", "windows", "history"]);
}

#[test]
fn damage_to_stored_output_is_refused_or_harmless() {
    try_everything("output", preset("transactions"), transaction, &["meta", "outbox", "history"]);
}

#[test]
fn damage_to_a_log_of_changes_is_refused_or_harmless() {
    try_everything("compat", compat(), sale, &["meta", "order", "outbox", "history"]);
}

/// Only a witness outside tells a directory that is older as a whole; without one, the trials notice it.
#[test]
fn the_trials_notice_a_directory_that_is_older_as_a_whole() {
    let golden = Golden::make(windows(), sale);
    let state = golden.home.path().join("older");
    golden.put(&state, &golden.older[1]);
    let trial = std::panic::catch_unwind(|| golden.has_right_batches(&state, "an older directory"));
    let problem = *trial.expect_err("it is noticed").downcast::<String>().expect("with words");
    assert!(problem.contains("is another") || problem.contains("shown again"), "{problem}");
}
