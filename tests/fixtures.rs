//! Checkpoints of earlier releases are opened, and gone on with to the right results.
//!
//! A fixture is what a run left behind in the middle of its input, the input, and what it published in the end
//! (`tests/fixtures/README.md`). Those of releases are stored; those of this build are made anew by each call, so that
//! what is stored was made and checked by the same code. The engine, the checkpoint on disk and the files sink are
//! the real ones; the topic is in memory, under the name and id that it had.
//!
//! Invariants: what is stored is only ever copied, and never changes ([`FROZEN`]); answers are compared byte by byte;
//! when they were made, they were compared with a run that was never interrupted, and differed from one that knew
//! nothing of what was stored. Start at [`check`]. Not here: the bytes of single values (`checkpoint::codec`,
//! `window::key`, `types::rows`), what Spark did (`golden`).

mod support;

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sales_stream::{
    checkpoint::rocks::{self, Rollback},
    cli,
    commands::{self, Surroundings},
    source::memory::MemoryTopic,
    stop::Stop,
    types::Partition,
};
use serde::{Deserialize, Serialize};
use support::{batch_files, copy_dir};

/// Where fixtures of this version are to be made, from the clone's top; none are kept where it is not set.
const MAKE: &str = "SALES_STREAM_MAKE_FIXTURES";
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
/// Each version's fixtures: the BLAKE3 of all of their paths and bytes.
const FROZEN: [(&str, &str); 1] =
    [("0.1.0", "c0b727e76db1c3399e8e5d36bd989d18ccb53d1c8d79de98d05478eab9057e50")];
const PARTITIONS: usize = 2;
/// A batch may have so many records.
const BATCH: usize = 7;
/// A fixture may be no larger.
const MOST_BYTES: u64 = 400_000;

/// A pipeline, and what its results are compared by with those of a run that was never interrupted, whose batches
/// are cut elsewhere.
struct Case {
    name: &'static str,
    spec: &'static str,
    arguments: &'static [&'static str],
    same: fn(&BTreeMap<String, Vec<u8>>) -> Vec<String>,
    /// The newest batch is written down and was not published: the sink refused it.
    is_pending: bool,
}

impl Case {
    const fn new(
        name: &'static str,
        spec: &'static str,
        arguments: &'static [&'static str],
        same: fn(&BTreeMap<String, Vec<u8>>) -> Vec<String>,
    ) -> Case {
        Case { name, spec, arguments, same, is_pending: false }
    }

    /// How many records there are for the first run, and for the second. Both end within a window and within sessions,
    /// and duplicates lie on both sides; one that is pending needs a batch that closes a window.
    fn cuts(&self) -> [usize; 2] {
        if self.is_pending { [33, 44] } else { [33, 36] }
    }

    const fn pending(self, name: &'static str) -> Case {
        Case { name, is_pending: true, ..self }
    }
}

const SUMS: &str = r#"
group_by = ["store"]
output = ["store", "total", "window_start", "window_end"]
[window]
duration = "30 seconds"
[aggregates]
total = { sum = "price", cast = "decimal(18,2)" }
"#;

const SESSIONS: &str = r#"
group_by = ["store"]
output = ["store", "sales", "total", "window_start", "window_end"]
[window]
session_gap = "12 seconds"
[aggregates]
sales = { count = "*" }
total = { sum = "price", cast = "decimal(18,2)" }
"#;

const DEDUPLICATION: &str = r#"
output = ["store", "item", "event_time"]
[drop_duplicates]
columns = ["store", "item", "ts"]
within_watermark = true
"#;

const AGGREGATES: &str = r#"
group_by = ["store", "item"]
output = ["store", "item", "sales", "gifts", "total", "mean", "least", "most", "pieces", "weight", "mean_weight", "first", "last_gift", "tiny", "window_start"]
[window]
duration = "30 seconds"
slide = "10 seconds"
[aggregates]
sales = { count = "*" }
gifts = { count = "is_gift" }
total = { sum = "price" }
mean = { avg = "price" }
least = { min = "price" }
most = { max = "item" }
pieces = { sum = "pieces" }
weight = { sum = "weight" }
mean_weight = { avg = "weight" }
first = { min = "at" }
last_gift = { max = "is_gift" }
tiny = { sum = "ratio" }
"#;

const KEYS: &str = r#"
group_by = ["label", "is_gift", "pieces", "weight", "ratio", "number", "at"]
output = ["label", "is_gift", "pieces", "weight", "ratio", "number", "at", "sales", "window_start"]
[window]
duration = "30 seconds"
[aggregates]
sales = { count = "*" }
"#;

/// What records of [`KEYS`] have in turn.
const KEYS_IN_TURN: [&str; 4] = [
    r#""label":"a\u0000b","is_gift":true,"pieces":-5,"weight":-1.250,"ratio":-0.5,"number":-9007199254740993,"at":"1969-12-31T23:59:59Z""#,
    r#""label":"","is_gift":false,"pieces":0,"weight":0.000,"ratio":0.0,"number":0,"at":"1970-01-01T00:00:00Z""#,
    r#""label":null,"is_gift":null,"pieces":null,"weight":null,"ratio":null,"number":null,"at":null"#,
    r#""label":"one of more than sixteen bytes, é","is_gift":true,"pieces":2147483647,"weight":999.999,"ratio":1e300,"number":9223372036854775807,"at":"2025-09-02T08:00:00Z""#,
];

const ROWS: &str = r#"
where = "price > 3"
output = ["store", "item", "price"]
"#;

const COMPUTED: &str = r#"
where = "price > 3"
output = ["store", { name = "label", expr = "concat(upper(item), '-', CASE WHEN price > 5 THEN 'dear' ELSE 'cheap' END)" }, { name = "twice", expr = "price * 2" }]
"#;

const DYNAMIC_SESSIONS: &str = r#"
group_by = ["store"]
output = ["store", "sales", "window_start", "window_end"]
[window]
session_gap_expr = "CASE WHEN store = 'store-1' THEN '13 seconds' ELSE '14 seconds' END"
[aggregates]
sales = { count = "*" }
"#;

const APPEND: Case = Case::new("windows-append", SUMS, &[], all_rows);
const UPDATE: Case = Case::new("windows-update", SUMS, &["--output-mode", "update"], newest_rows);
const STORED_ROWS: Case = Case::new("rows", ROWS, &[], all_rows);
const LETTERS: Case =
    Case::new("dead-letters", SUMS, &["--dead-letter", "files:letters"], all_rows);
const COMPAT: Case = Case::new("compat-log", SUMS, &["--compat", "spark-4"], all_rows);

const CASES: [Case; 17] = [
    APPEND,
    UPDATE,
    Case::new("windows-complete", SUMS, &["--output-mode", "complete"], last_rows),
    Case::new("aggregates", AGGREGATES, &[], all_rows),
    Case::new("keys", KEYS, &[], all_rows),
    Case::new("sessions", SESSIONS, &[], all_rows),
    Case::new("sessions-dynamic", DYNAMIC_SESSIONS, &[], all_rows),
    Case::new("deduplication", DEDUPLICATION, &[], rows_once),
    STORED_ROWS,
    Case::new("rows-computed", COMPUTED, &[], all_rows),
    LETTERS,
    COMPAT,
    APPEND.pending("pending-append"),
    UPDATE.pending("pending-update"),
    STORED_ROWS.pending("pending-rows"),
    LETTERS.pending("pending-letters"),
    COMPAT.pending("pending-compat"),
];

/// What the rest of a fixture does not say.
#[derive(Serialize, Deserialize)]
struct Made {
    version: String,
    arguments: Vec<String>,
    /// How many of the records were there.
    records_before: usize,
}

#[derive(Clone, Serialize, Deserialize)]
struct Input {
    partition: i32,
    value: String,
}

/// What a directory of results has in it, and of dead letters.
type Published = (BTreeMap<String, Vec<u8>>, BTreeMap<String, Vec<u8>>);

#[test]
fn every_stored_checkpoint_is_gone_on_with_to_the_right_results() {
    let versions = below(Path::new(STORED));
    let sums: Vec<_> = versions.iter().map(|it| (name_of(it), sum_below(it))).collect();
    let frozen = FROZEN.map(|(version, sum)| (version.to_owned(), sum.to_owned()));
    assert_eq!(sums, frozen, "what was frozen was changed, or what is new is not in FROZEN");
    for fixture in versions.iter().flat_map(|version| below(version)) {
        check(&fixture).unwrap_or_else(|problem| panic!("{}: {problem}", fixture.display()));
    }
}

#[test]
fn checkpoints_of_this_build_are_gone_on_with_to_the_right_results() {
    let temporary = tempfile::tempdir().unwrap();
    let asked = env::var_os(MAKE).map(|asked| Path::new(env!("CARGO_MANIFEST_DIR")).join(asked));
    let place = asked.as_deref().unwrap_or(temporary.path()).join(env!("CARGO_PKG_VERSION"));
    assert!(!place.exists(), "{} is frozen", place.display());
    for case in &CASES {
        let fixture = place.join(case.name);
        make(case, &fixture);
        let bytes = bytes_below(&fixture);
        assert!(bytes <= MOST_BYTES, "{} has {bytes} bytes", case.name);
        check(&fixture).unwrap_or_else(|problem| panic!("{}: {problem}", case.name));
    }
}

#[test]
fn a_checkpoint_that_is_gone_on_with_to_other_results_is_told() {
    let place = tempfile::tempdir().unwrap();
    let fixture = place.path().join("case");
    make(&CASES[0], &fixture);
    check(&fixture).unwrap();
    let answers = fixture.join("after/out");
    let newest = batch_files(&answers).pop_last().expect("there are results").0;
    let answer = fs::read(answers.join(&newest)).unwrap();
    fs::write(answers.join(&newest), [answer.as_slice(), b"{}\n"].concat()).unwrap();
    let problem = check(&fixture).unwrap_err();
    assert!(problem.contains(&newest), "{problem}");
    fs::write(answers.join(&newest), answer).unwrap();
    check(&fixture).unwrap();

    let database = fixture.join("before/state/fixture/db");
    for file in fs::read_dir(database).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "log" || kind == "sst") {
            fs::write(file, b"").unwrap();
        }
    }
    let problem = check(&fixture).unwrap_err();
    assert!(
        problem.starts_with("it is not whole") || problem.starts_with("it cannot"),
        "{problem}"
    );
}

/// Compares what is published at the end; `change` is done to the copy of the state before.
fn check_state(fixture: &Path, change: &dyn Fn(&Path) -> Result<(), String>) -> Result<(), String> {
    let made: Made = serde_json::from_slice(&read(&fixture.join("case.json"))).unwrap();
    let records = input(fixture);
    let work = tempfile::tempdir().unwrap();
    copy_dir(&fixture.join("before"), work.path());
    keep_private(&work.path().join("state"));
    fs::copy(fixture.join("spec.toml"), work.path().join("spec.toml")).unwrap();
    let before = published(work.path());
    change(&work.path().join("state/fixture"))?;
    let report = rocks::verify(&work.path().join("state/fixture"))
        .map_err(|error| format!("it cannot be verified: {error}"))?;
    if !report.problems.is_empty() {
        return Err(format!("it is not whole: {}", report.problems.join("; ")));
    }
    run(work.path(), &made.arguments, &records)?;
    let (after, answers) = (published(work.path()), published(&fixture.join("after")));
    compare("results", &after.0, &answers.0)?;
    compare("dead letters", &after.1, &answers.1)?;
    if before == after {
        return Err("nothing was left to do".to_owned());
    }
    Ok(())
}

/// Runs a copy of a fixture to the end of its input, once from its state and once from the backup of it.
fn check(fixture: &Path) -> Result<(), String> {
    check_state(fixture, &|_| Ok(()))?;
    check_state(fixture, &|state| {
        fs::remove_dir_all(state).unwrap();
        rocks::restore(&fixture.join("backup"), state, Rollback::Refuse)
            .map(|_| ())
            .map_err(|error| format!("its backup cannot be restored: {error}"))
    })
}

fn compare(
    what: &str,
    found: &BTreeMap<String, Vec<u8>>,
    wanted: &BTreeMap<String, Vec<u8>>,
) -> Result<(), String> {
    let names = found.keys().chain(wanted.keys());
    let Some(name) = names.into_iter().find(|name| found.get(*name) != wanted.get(*name)) else {
        return Ok(());
    };
    let text = |files: &BTreeMap<String, Vec<u8>>| {
        files.get(name).map_or("none".to_owned(), |file| String::from_utf8_lossy(file).into_owned())
    };
    Err(format!("{what}, {name}: {} instead of {}", text(found), text(wanted)))
}

/// Makes the fixture of a case.
fn make(case: &Case, fixture: &Path) {
    let records = records(case);
    let [first, records_before] = case.cuts();
    let arguments = arguments(case);
    fs::create_dir_all(fixture).unwrap();
    fs::write(fixture.join("spec.toml"), spec(case)).unwrap();
    let lines = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n");
    fs::write(fixture.join("input.jsonl"), lines.collect::<String>()).unwrap();

    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("spec.toml"), spec(case)).unwrap();
    // Two runs: the second finds what the first one wrote and moves it to where RocksDB keeps what is older.
    run(work.path(), &arguments, &records[..first]).unwrap();
    match case.is_pending {
        true => run_refused(work.path(), &arguments, &records[..records_before]),
        false => run(work.path(), &arguments, &records[..records_before]).unwrap(),
    }
    keep(work.path(), &fixture.join("before"), &["state", "out", "letters"]);
    rocks::backup(&work.path().join("state/fixture"), &fixture.join("backup")).unwrap();
    without_logs(&fixture.join("backup/db"));
    let before = published(work.path());
    run(work.path(), &arguments, &records).unwrap();
    keep(work.path(), &fixture.join("after"), &["out", "letters"]);

    let straight = tempfile::tempdir().unwrap();
    fs::write(straight.path().join("spec.toml"), spec(case)).unwrap();
    run(straight.path(), &arguments, &records).unwrap();
    let (interrupted, straight) = (published(work.path()), published(straight.path()));
    let results = (case.same)(&interrupted.0);
    assert!(results.len() > 3, "{}: {results:?}", case.name);
    assert_eq!(results, (case.same)(&straight.0), "{}", case.name);
    assert_eq!(all_rows(&interrupted.1), all_rows(&straight.1), "{}", case.name);
    assert_eq!(interrupted.1.is_empty(), !case.arguments.contains(&"--dead-letter"));
    if !case.spec.contains("where =") {
        let blind = tempfile::tempdir().unwrap();
        fs::write(blind.path().join("spec.toml"), spec(case)).unwrap();
        run(blind.path(), &arguments, &records[records_before..]).unwrap();
        let mut new = interrupted.0.clone();
        new.retain(|name, _| !before.0.contains_key(name));
        let (with, without) = ((case.same)(&new), (case.same)(&published(blind.path()).0));
        assert_ne!(with, without, "{}: what is stored makes no difference", case.name);
    }

    let version = env!("CARGO_PKG_VERSION").to_owned();
    let made = Made { version, arguments, records_before };
    fs::write(fixture.join("case.json"), serde_json::to_string_pretty(&made).unwrap() + "\n")
        .unwrap();
}

/// A run whose sink fails with the first batch that has rows: a directory is where it writes its files.
fn run_refused(directory: &Path, arguments: &[String], records: &[Input]) {
    let out = directory.join("out");
    let newest = batch_files(&out).pop_last().map_or(0, |(name, _)| batch_of(&name));
    let in_the_way = |batch| out.join(format!(".batch-{batch:012}.jsonl.tmp"));
    let in_the_way: Vec<_> = (newest + 1..newest + 20).map(in_the_way).collect();
    in_the_way.iter().for_each(|path| fs::create_dir(path).unwrap());
    let ended = run(directory, arguments, records).unwrap_err();
    assert!(ended.contains("no batch is lost"), "{ended}");
    in_the_way.iter().for_each(|path| fs::remove_dir(path).unwrap());
}

/// The number in the name of a batch's file.
fn batch_of(name: &str) -> u64 {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn spec(case: &Case) -> String {
    let (top, sections) = case.spec.split_at(case.spec.find("\n[").unwrap_or(case.spec.len()));
    format!(
        "name = \"fixture\"\ntopic = \"fixture\"\n{}\n\n[schema]\nstore = \"string\"\nitem = \"string\"\n\
         price = \"double\"\nts = \"long\"\npieces = \"int\"\nweight = \"decimal(6,3)\"\n\
         is_gift = \"boolean\"\nratio = \"double\"\nat = \"timestamp\"\nlabel = \"string\"\n\
         number = \"long\"\n\n[event_time]\ncolumn = \"ts\"\nformat = \"seconds\"\n\
         watermark = \"20 seconds\"\n{sections}",
        top.trim()
    )
}

/// Everything that does not depend on where the run is: paths are below its directory.
fn arguments(case: &Case) -> Vec<String> {
    let common = "--pipeline spec.toml --checkpoint-dir state --sink files:out --group-id fixture \
                  --starting-offsets earliest --trigger available-now --brokers localhost:1 \
                  --max-offsets-per-trigger";
    let batch = [BATCH.to_string()].into_iter();
    let more = case.arguments.iter().copied();
    common
        .split_whitespace()
        .map(str::to_owned)
        .chain(batch)
        .chain(more.map(str::to_owned))
        .collect()
}

/// Sales of three stores whose times rise with some disorder, and once by so much that sessions end; no record late
/// wherever batches are cut. For deduplication some come twice, and where letters are kept, some cannot be read.
fn records(case: &Case) -> Vec<Input> {
    let are_kept = case.arguments.contains(&"--dead-letter");
    let are_doubled = case.spec == DEDUPLICATION;
    let sale = |index: i64| {
        let (store, item) = (index * index % 5, index / 3 % 4);
        let pause = if index < 55 { 0 } else { 60 };
        let ts = 1_756_800_000 + index * 3 - index * 7 % 5 + pause;
        let (whole, cents) = (index % 9, index % 4 * 25 + index % 2);
        format!(
            r#"{{"store":"store-{store}","item":"item-{item}","price":{whole}.{cents:02},"ts":{ts},{}}}"#,
            if case.spec == KEYS {
                in_turn(&KEYS_IN_TURN, index).to_owned()
            } else {
                traits(index)
            }
        )
    };
    (0..80)
        .map(|index| {
            let value = match index {
                index if are_kept && index % 8 == 5 => format!("no sale {index}"),
                index if are_doubled && index % 2 == 1 => sale((index - 5).max(0)),
                index => sale(index),
            };
            Input { partition: i32::from(index % 3 == 1), value }
        })
        .collect()
}

/// What a sale has besides, with some NULLs among it.
fn traits(index: i64) -> String {
    let grams = index * 37 % 2500;
    let pieces = if index % 6 == 4 { "null".to_owned() } else { (index % 5 - 1).to_string() };
    let gift = in_turn(&["true", "false", "null"], index);
    // The first is 2^-30: no multiple of 10^-9, and all of them are added without rounding.
    let ratio = in_turn(&["9.313225746154785e-10", "0.5", "2.25"], index / 2);
    format!(
        r#""pieces":{pieces},"weight":{}.{:03},"is_gift":{gift},"ratio":{ratio},"at":"2025-09-02T08:{:02}:00Z""#,
        grams / 1000,
        grams % 1000,
        index % 7
    )
}

fn in_turn<'a>(values: &[&'a str], index: i64) -> &'a str {
    values[usize::try_from(index).unwrap() % values.len()]
}

fn input(fixture: &Path) -> Vec<Input> {
    let text = String::from_utf8(read(&fixture.join("input.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs to the end of these records in a directory, to which paths are relative.
fn run(directory: &Path, arguments: &[String], records: &[Input]) -> Result<(), String> {
    static DIRECTORY: Mutex<()> = Mutex::new(());
    let _ours = DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
    env::set_current_dir(directory).unwrap();
    let topic = MemoryTopic::new(PARTITIONS);
    for record in records {
        topic.append(Partition(record.partition), Some(record.value.as_bytes()));
    }
    let typed = ["sales-stream".to_owned()].into_iter().chain(arguments.iter().cloned());
    let arguments = cli::parse(typed.collect::<Vec<_>>()).map_err(|error| error.to_string())?;
    let surroundings = Surroundings {
        around_source: Box::new(move |_| Box::new(topic.source())),
        ..Surroundings::of_process(Stop::new())
    };
    let outcome = commands::run_within(*arguments.run, surroundings);
    env::set_current_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    outcome
        .map(|_| ())
        .map_err(|failure| format!("the run ended with {}: {}", failure.code, failure.message))
}

fn published(directory: &Path) -> Published {
    let files = |name: &str| {
        let place = directory.join(name);
        if place.exists() { batch_files(&place) } else { BTreeMap::new() }
    };
    (files("out"), files("letters"))
}

/// All lines, in an order of their own.
fn all_rows(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut lines: Vec<String> = files.values().flat_map(|file| lines(file)).collect();
    lines.sort();
    lines
}

/// The same of rows that may be there once only.
fn rows_once(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let rows = all_rows(files);
    assert!(rows.windows(2).all(|pair| pair[0] != pair[1]), "{rows:?}");
    rows
}

/// The newest row of each group.
fn newest_rows(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let mut newest = BTreeMap::new();
    for line in files.values().flat_map(|file| lines(file)) {
        let row: serde_json::Value = serde_json::from_str(&line).unwrap();
        newest.insert((row["window_start"].to_string(), row["store"].to_string()), line);
    }
    newest.into_values().collect()
}

/// The rows of the newest batch.
fn last_rows(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    files.values().next_back().map(|file| lines(file)).unwrap_or_default()
}

fn lines(file: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(file).lines().map(str::to_owned).collect()
}

/// Copies what is there of these directories, without what RocksDB does not read.
fn keep(from: &Path, to: &Path, names: &[&str]) {
    for name in names {
        if from.join(name).exists() {
            copy_dir(&from.join(name), &to.join(name));
        }
    }
    if to.join("state").exists() {
        without_logs(&to.join("state/fixture/db"));
    }
}

/// Takes what RocksDB writes for people, and options that are not the newest, from its directory.
fn without_logs(database: &Path) {
    let files = fs::read_dir(database).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let begins = |path: &Path, with: &str| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(with))
    };
    let newest_options = files.iter().rfind(|path| begins(path, "OPTIONS")).cloned();
    for file in files {
        let is_old = begins(&file, "OPTIONS") && Some(&file) != newest_options.as_ref();
        if is_old || begins(&file, "LOG") {
            fs::remove_file(file).unwrap();
        }
    }
}

/// A stored directory has lost the modes that a state directory must have.
fn keep_private(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => keep_private(&entry.path()),
            false => {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
}

/// The directories in a directory, by name.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut directories: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    directories.sort();
    directories
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The BLAKE3 of what is in a directory: names, and what is in the files, in the order of names.
fn sum_below(directory: &Path) -> String {
    fn add(hasher: &mut blake3::Hasher, directory: &Path) {
        let mut entries: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            if entry.is_dir() {
                hasher.update(format!("{}/", name_of(&entry)).as_bytes());
                add(hasher, &entry);
            } else {
                let content = read(&entry);
                hasher.update(format!("{} {}\n", name_of(&entry), content.len()).as_bytes());
                hasher.update(&content);
            }
        }
    }
    let mut hasher = blake3::Hasher::new();
    add(&mut hasher, directory);
    hasher.finalize().to_hex().to_string()
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => bytes_below(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
