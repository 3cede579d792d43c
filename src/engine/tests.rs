//! The engine over memory twins: the order of a batch's way out, and every write that can fail.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use super::*;
use crate::{
    batch::Permission,
    checkpoint::memory::{MemoryCheckpoint, MemoryDisk},
    sink::memory::{Keeps, MemorySink, Trouble},
    source::memory::{Call, MemoryTopic},
    spec,
    types::Lineage,
};

struct Fixed;

impl Clock for Fixed {
    fn now_ms(&self) -> i64 {
        1_756_800_000_000
    }
}

struct World {
    topic: MemoryTopic,
    disk: MemoryDisk,
    sink: MemorySink,
    /// Beside it.
    other_sink: Option<MemorySink>,
}

impl World {
    fn new(keeps: Keeps) -> World {
        World {
            topic: MemoryTopic::new(2),
            disk: MemoryDisk::new(),
            sink: MemorySink::new("memory", keeps),
            other_sink: None,
        }
    }

    /// Sixty sales, ten seconds apart, over two partitions.
    fn with_sales(keeps: Keeps) -> World {
        let world = World::new(keeps);
        world.append_sales(0..60);
        world
    }

    fn append_sales(&self, which: std::ops::Range<i32>) {
        for index in which {
            let value = format!(
                r#"{{"store":"s{}","item":"x","price":1.25,"ts":{}}}"#,
                index % 3,
                1000 + index * 10
            );
            self.topic.append(Partition(index % 2), Some(value.as_bytes()));
        }
    }

    /// Sixty transactions over two partitions, of which every seventh is malformed.
    fn with_transactions(keeps: Keeps) -> World {
        let world = World::new(keeps);
        for index in 0..60 {
            let amount = if index % 7 == 3 { "\"much\"".to_owned() } else { format!("{index}.5") };
            let value = format!(
                r#"{{"transaction_id":"t{index}","user_id":"u","amount":{amount},"type":"x"}}"#
            );
            world.topic.append(Partition(index % 2), Some(value.as_bytes()));
        }
        // Few at a time, so that output goes ahead while a batch is read.
        world.topic.set_records_at_once(Some(4));
        world
    }

    fn stateless_settings() -> Settings {
        Settings {
            max_offsets: MaxOffsets::Limited(25),
            keep_dead_letters: true,
            output_chunk_bytes: 60,
            spec_text: spec::preset("transactions").expect("the preset is there").to_owned(),
            ..World::settings()
        }
    }

    fn settings() -> Settings {
        Settings {
            trigger: Trigger::AvailableNow,
            max_offsets: MaxOffsets::Limited(10),
            min_offsets: None,
            max_trigger_delay_ms: 900_000,
            starting_offsets: StartingOffsets::Earliest,
            permissions: Permissions::default(),
            startup_timeout: Some(Duration::ZERO),
            shutdown_timeout: Duration::from_secs(5),
            keep_dead_letters: false,
            fail_on_data_loss: true,
            output_chunk_bytes: crate::types::Rows::CHUNK_BYTES,
            room: Room::ENDLESS,
            memory_limit: u64::MAX,
            lanes: NonZeroUsize::MIN.saturating_add(1),
            spec_text: spec::preset("sales").expect("the preset is there").to_owned(),
            brokers: "memory".to_owned(),
        }
    }

    fn run(&self, settings: &Settings) -> Result<Summary, EngineError> {
        self.run_with(settings, Arc::new(Fixed), Stop::new())
    }

    fn run_with(
        &self,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        stop: Stop,
    ) -> Result<Summary, EngineError> {
        self.run_told(settings, clock, stop, None)
    }

    fn run_told(
        &self,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        stop: Stop,
        reporter: Option<Box<dyn Reporter>>,
    ) -> Result<Summary, EngineError> {
        let pipeline = spec::parse(&settings.spec_text, "sales").expect("it is right").pipeline;
        let opened = MemoryCheckpoint::open(&self.disk)?;
        let recovered = opened.facts()?;
        let source = match settings.takes_new_topic(&pipeline) {
            true => self.topic.following_source(),
            false => self.topic.source(),
        };
        let parts = Parts {
            pipeline,
            source: Box::new(source),
            recovered,
            open: Box::new(move || Ok(Box::new(opened) as Box<dyn Checkpoint>)),
            sinks: self.sinks(),
            reporter,
            clock,
            carriage: Carriage::Threads,
            stop,
        };
        super::run(parts, settings)
    }

    fn sinks(&self) -> Vec<Box<dyn Sink>> {
        let sinks = [Some(&self.sink), self.other_sink.as_ref()].into_iter().flatten();
        sinks.map(|sink| Box::new(sink.clone()) as Box<dyn Sink>).collect()
    }

    /// Every published row, by batch.
    fn rows(&self) -> Vec<(u64, String)> {
        let mut rows = Vec::new();
        for publication in self.sink.published() {
            let mut reader = publication.rows.reader();
            while let Some(row) = reader.next() {
                rows.push((publication.identity.batch.0, format!("{row:?}")));
            }
        }
        rows
    }
}

#[test]
fn whatever_write_fails_the_next_start_gives_what_an_undisturbed_run_gives() {
    let straight = World::with_sales(Keeps::Marker);
    straight.run(&World::settings()).expect("nothing is in its way");
    let expected = straight.rows();
    assert!(expected.len() > 30, "there is something to compare: {}", expected.len());
    let mut failed = 0;
    for writes in 0.. {
        let world = World::with_sales(Keeps::Marker);
        world.disk.fail_writes_after(writes);
        let ended = world.run(&World::settings());
        world.disk.crash();
        if let Err(error) = &ended {
            assert_eq!(error.exit_code(), 14, "{error}");
            failed += 1;
            world.run(&World::settings()).expect("the disk is well again");
        }
        assert_eq!(world.rows(), expected, "after {writes} writes");
        if ended.is_ok() {
            break;
        }
    }
    assert!(failed > 20, "there were writes to fail: {failed}");
}

/// Everything that was published but who published it: rows, dead letters and records.
fn published(world: &World) -> Vec<crate::batch::Publication> {
    let mut published = world.sink.published();
    for publication in &mut published {
        publication.identity.incarnation = crate::types::Incarnation(0);
        publication.identity.lineage = crate::types::Lineage(0);
        publication.identity.digest = crate::types::Digest::ZERO;
        publication.record.incarnation = crate::types::Incarnation(0);
        publication.record.digest = crate::types::Digest::ZERO;
        publication.record.previous = crate::types::Digest::ZERO;
    }
    published
}

#[test]
fn output_that_goes_ahead_is_published_whole_whatever_write_fails() {
    let straight = World::with_transactions(Keeps::Marker);
    let settings = World::stateless_settings();
    straight.run(&settings).expect("nothing is in its way");
    let expected = published(&straight);
    assert_eq!(expected.iter().map(|batch| batch.rows.len()).sum::<u64>(), 60);
    assert_eq!(expected.iter().map(|batch| batch.dead_letters.len()).sum::<usize>(), 9);
    // Cut into no chunks at all, a batch is the same to its digest.
    let whole = World::with_transactions(Keeps::Marker);
    whole.run(&Settings { output_chunk_bytes: 1 << 20, ..settings.clone() }).expect("as before");
    assert_eq!(published(&whole), expected);
    let mut failed = 0;
    for writes in 0.. {
        let world = World::with_transactions(Keeps::Marker);
        world.disk.fail_writes_after(writes);
        let ended = world.run(&settings);
        // What was not synced may have reached the disk or not.
        if writes % 2 == 0 {
            world.disk.sync();
        }
        world.disk.crash();
        if let Err(error) = &ended {
            assert_eq!(error.exit_code(), 14, "{error}");
            failed += 1;
            world.run(&settings).expect("the disk is well again");
        }
        assert_eq!(published(&world), expected, "after {writes} writes");
        if ended.is_ok() {
            break;
        }
    }
    assert!(failed > 40, "chunks are writes of their own: {failed}");
}

#[test]
fn a_batch_that_is_read_again_or_stopped_leaves_no_output_behind() {
    let straight = World::with_transactions(Keeps::Marker);
    let settings = World::stateless_settings();
    straight.run(&settings).expect("nothing is in its way");
    let world = World::with_transactions(Keeps::Marker);
    for reads in [3, 6] {
        world.topic.fail_after(Call::Read, reads, SourceError::Reread("damaged".to_owned()));
    }
    world.run(&settings).expect("the second reading is whole");
    assert_eq!(published(&world), published(&straight));

    let world = World::with_transactions(Keeps::Marker);
    let lost = SourceError::Refused("not allowed any more".to_owned());
    world.topic.fail_after(Call::Read, 12, lost);
    world.run(&settings).expect_err("it cannot read on");
    assert!(world.disk.keys_of("outbox") > 0, "what was ahead is still there");
    world.run(&settings).expect("it may read again");
    assert_eq!(published(&world), published(&straight));
}

/// A clock that is an hour off, then a year, and never goes the same way twice.
struct Erratic(std::sync::atomic::AtomicI64);

impl Clock for Erratic {
    fn now_ms(&self) -> i64 {
        let reading = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let hours = [0, 1, -1, 8760, -8760, 87_600][usize::try_from(reading % 6).unwrap_or(0)];
        1_756_800_000_000 + hours * 3_600_000
    }
}

#[test]
fn a_wall_clock_that_jumps_changes_no_result() {
    let straight = World::with_sales(Keeps::Marker);
    straight.run(&World::settings()).expect("nothing is in its way");
    let world = World::with_sales(Keeps::Marker);
    let clock = Arc::new(Erratic(std::sync::atomic::AtomicI64::new(0)));
    let summary = world.run_with(&World::settings(), clock, Stop::new()).expect("it runs");
    assert!(summary.batches > 5, "{summary:?}");
    assert_eq!(world.rows(), straight.rows());
}

#[test]
fn a_time_of_the_year_9999_moves_the_watermark_only_where_no_limit_is_set() {
    let plain = World::settings();
    let spec_text = plain.spec_text.replace("# max_future_skew", "max_future_skew");
    assert_ne!(spec_text, plain.spec_text);
    let limited = Settings { spec_text, ..World::settings() };
    let far = br#"{"store":"s0","item":"x","price":1,"ts":253402300799}"#;
    let run = |settings: &Settings, far: Option<&[u8]>| {
        let world = World::new(Keeps::Marker);
        world.append_sales(0..10);
        if let Some(far) = far {
            world.topic.append(Partition(0), Some(far));
        }
        world.append_sales(10..60);
        let summary = world.run(settings).expect("nothing is in its way");
        let rows: Vec<String> = world.rows().into_iter().map(|(_, row)| row).collect();
        (summary.totals, rows)
    };
    let (_, expected) = run(&limited, None);
    let (totals, rows) = run(&limited, Some(far));
    assert_eq!((totals.malformed(), totals.late), (1, 0));
    assert_eq!(rows, expected);
    let (totals, rows) = run(&plain, Some(far));
    assert_eq!(totals.malformed(), 0);
    assert!(totals.late > 30, "{}", totals.late);
    assert_ne!(rows, expected);
}

/// Every kind of state: hopping windows, sessions, deduplications alone and before a window, keys
/// alone.
fn other_specs() -> Vec<String> {
    let sales = spec::preset("sales").expect("the preset is there");
    let with = |from: &str, to: &str| {
        assert!(sales.contains(from), "{from}");
        sales.replace(from, to)
    };
    let window = "[window]\nduration = \"30 seconds\"\n";
    let deduplicate = |scope: &str| format!("[drop_duplicates]\ncolumns = [\"store\"]\n{scope}\n");
    let alone = sales[..sales.find("[window]").expect("it has windows")]
        .replace("group_by", "# group_by")
        .replace("\"total_revenue_int\", \"window_start\", \"window_end\"", "\"ts\"");
    vec![
        with(window, "[window]\nduration = \"30s\"\nslide = \"10s\"\nstart = \"3s\"\n"),
        with(window, "[window]\nsession_gap = \"20 seconds\"\n"),
        with(window, &format!("{}{window}", deduplicate("event_time = true"))),
        with(window, "")
            .replace(", \"window_start\", \"window_end\"", "")
            .replace("output_mode = \"append\"", "output_mode = \"update\""),
        format!("{alone}{}", deduplicate("within_watermark = true")),
        format!("{alone}{}", deduplicate("")),
    ]
}

#[test]
fn whatever_write_fails_every_kind_of_state_is_whole_at_the_next_start() {
    for spec_text in other_specs() {
        let settings = Settings { spec_text, ..World::settings() };
        let straight = World::with_sales(Keeps::Marker);
        straight.run(&settings).unwrap_or_else(|error| panic!("{error}\n{}", settings.spec_text));
        let expected = straight.rows();
        assert!(expected.len() > 2, "there is something to compare: {expected:?}");
        for writes in (0..).step_by(5) {
            let world = World::with_sales(Keeps::Marker);
            world.disk.fail_writes_after(writes);
            let ended = world.run(&settings);
            world.disk.crash();
            if ended.is_err() {
                world.run(&settings).expect("the disk is well again");
            }
            assert_eq!(world.rows(), expected, "after {writes} writes of\n{}", settings.spec_text);
            if ended.is_ok() {
                break;
            }
        }
    }
}

/// Windows that overlap, groups of keys alone, and windows in every mode.
fn specs_with_state_elsewhere() -> Vec<String> {
    let sales = spec::preset("sales").expect("the preset is there").to_owned();
    let in_mode = |mode: &str| {
        sales.replace("output_mode = \"append\"", &format!("output_mode = \"{mode}\""))
    };
    let others = other_specs();
    vec![in_mode("complete"), in_mode("update"), others[0].clone(), others[3].clone(), sales]
}

#[test]
fn with_no_state_in_memory_every_batch_is_the_same_whatever_write_fails() {
    let no_room = Room { state_bytes: 0, rows_bytes: 0, ..Room::ENDLESS };
    for spec_text in specs_with_state_elsewhere() {
        let settings = Settings { spec_text, ..World::settings() };
        let small = Settings { room: no_room, output_chunk_bytes: 60, ..settings.clone() };
        let straight = World::with_sales(Keeps::Marker);
        straight.run(&settings).expect("nothing is in its way");
        let expected = published(&straight);
        assert!(expected.len() > 5, "there is something to compare");
        for writes in (0..).step_by(3) {
            let world = World::with_sales(Keeps::Marker);
            world.disk.fail_writes_after(writes);
            let ended = world.run(&small);
            if writes % 2 == 0 {
                world.disk.sync();
            }
            world.disk.crash();
            if ended.is_err() {
                // Another start may have room for everything, or none either.
                let next = if writes % 4 < 2 { &small } else { &settings };
                world.run(next).expect("the disk is well again");
            }
            assert_eq!(published(&world), expected, "after {writes} of\n{}", settings.spec_text);
            if ended.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn state_that_must_be_in_memory_and_does_not_fit_ends_the_run_before_its_batch_is_written() {
    let no_room = Room { state_bytes: 0, rows_bytes: 0, ..Room::ENDLESS };
    for spec_text in [&other_specs()[1], &other_specs()[5]].map(String::clone) {
        let settings = Settings { spec_text, ..World::settings() };
        let straight = World::with_sales(Keeps::Marker);
        straight.run(&settings).expect("nothing is in its way");
        let world = World::with_sales(Keeps::Marker);
        for _ in 0..2 {
            let small = Settings { room: no_room, ..settings.clone() };
            let error = world.run(&small).expect_err("there is no room");
            assert_eq!(error.exit_code(), 50, "{error}");
            assert_eq!((world.rows().len(), world.disk.keys_of("history")), (0, 0));
        }
        world.run(&settings).expect("there is room");
        assert_eq!(world.rows(), straight.rows());
    }
}

#[test]
fn a_start_ends_with_50_before_all_state_that_does_not_fit_is_in_memory() {
    for (spec_text, keeper) in [(1, Keeper::Groups), (5, Keeper::Keys)]
        .map(|(index, keeper)| (other_specs()[index].clone(), keeper))
    {
        for spec_text in [format!("compat = \"spark-4\"\n{spec_text}"), spec_text] {
            let world = World::new(Keeps::Marker);
            for index in 0..9_000 {
                let store = format!("{index}{}", "x".repeat(500));
                let value = format!(r#"{{"store":"{store}","price":1.25,"ts":1000}}"#);
                world.topic.append(Partition(0), Some(value.as_bytes()));
            }
            let room = Room { state_bytes: 100_000, batch_bytes: 100_000, ..Room::ENDLESS };
            let large = Settings { max_offsets: MaxOffsets::Unlimited, ..World::settings() };
            let large = Settings { spec_text: spec_text.clone(), ..large };
            let small = Settings { room, ..large.clone() };
            let loaded = |settings: &Settings| {
                let pipeline =
                    Arc::new(spec::parse(&spec_text, "sales").expect("it is right").pipeline);
                let mut opened = MemoryCheckpoint::open(&world.disk).expect("nobody else has it");
                let facts = opened.facts().expect("it is there");
                let genesis = facts.genesis.expect("it was begun");
                let head = crate::batch::Head {
                    lineage: genesis.lineage,
                    incarnation: crate::types::Incarnation(2),
                    last: None,
                    positions: genesis.starting,
                    watermarks: crate::window::Watermarks::FIRST,
                    has_run: false,
                };
                let job = Job::new(pipeline, head, false).expect("it can be decoded");
                let mut job = job.within(settings.room);
                let bounds = (settings, crate::window::Watermarks::FIRST);
                let loaded = super::start::load(&mut opened, &mut job, bounds, false);
                (loaded.map(|_| ()), job.memory_bytes(keeper))
            };
            world.run(&large).unwrap_or_else(|error| panic!("{error}\n{spec_text}"));
            let (done, whole) = loaded(&large);
            done.expect("there is room");
            let (ended, part) = loaded(&small);
            assert_eq!(ended.expect_err("there is none").exit_code(), 50);
            assert!(whole > 4_000_000 && part < whole / 2, "{part} of {whole}\n{spec_text}");
            assert_eq!(world.run(&small).expect_err("there is none").exit_code(), 50);
            world.run(&large).expect("there is room again");
        }
    }
}

/// What the newest batch closed is read back too; that is no reason to end a run that had room for it.
#[test]
fn a_start_behind_a_batch_that_closed_everything_has_room_where_the_run_had() {
    let settings = Settings { spec_text: other_specs()[1].clone(), ..World::settings() };
    let world = World::new(Keeps::Marker);
    let append = |stores: std::ops::Range<i32>, time: i32| {
        for index in stores {
            let value = format!(r#"{{"store":"{}","price":1.25,"ts":{time}}}"#, index.max(0));
            world.topic.append(Partition(0), Some(value.as_bytes()));
        }
    };
    // As many again are opened by the batch that closes the first ones.
    append(0..5000, 1000);
    append(-4999..1, 1_000_000);
    append(0..5000, 1_000_000);
    let room = Room { state_bytes: 5000 * 250, batch_bytes: 5000 * 250, ..Room::ENDLESS };
    let small = Settings { max_offsets: MaxOffsets::Limited(5000), room, ..settings };
    let summary = world.run(&small).expect("each batch leaves no more than there is room for");
    assert_eq!((summary.batches, world.rows().len()), (3, 5000));
    world.run(&small).expect("it can be started again");
    let smaller = Room { state_bytes: 5000 * 100, ..room };
    let error = world.run(&Settings { room: smaller, ..small }).expect_err("that is too little");
    assert_eq!(error.exit_code(), 50);
}

/// Nothing of a batch that was dropped is seen, and each one that is written keeps to its room.
#[test]
fn a_batch_that_takes_more_memory_than_it_may_is_dropped_and_cut_smaller() {
    let sales = spec::preset("sales").expect("the preset is there").to_owned();
    let transactions = World::stateless_settings().spec_text;
    for spec_text in other_specs().into_iter().chain([sales, transactions.clone()]) {
        for compat in ["", "compat = \"spark-4\"\n"] {
            // What is neither state nor waits for the end of the batch goes ahead.
            if compat.is_empty() && spec_text == transactions {
                continue;
            }
            let settings = Settings {
                max_offsets: MaxOffsets::Unlimited,
                spec_text: format!("{compat}{spec_text}"),
                ..World::stateless_settings()
            };
            keeps_to_its_room(&settings);
        }
    }
}

fn keeps_to_its_room(settings: &Settings) {
    let filled = || {
        let world = World::new(Keeps::Marker);
        world.topic.set_records_at_once(Some(4));
        for index in 0..60 {
            let (id, time) = (format!("{index}{}", "x".repeat(4000)), 1000 + index);
            let value = format!(
                r#"{{"store":"{id}","transaction_id":"{id}","amount":"?","price":1.25,"ts":{time}}}"#
            );
            world.topic.append(Partition(index % 2), Some(value.as_bytes()));
        }
        world
    };
    let rows_in = |world: &World| {
        let published = world.sink.published();
        published.iter().map(|batch| batch.record.counts.rows_in).collect::<Vec<_>>()
    };
    let large = filled();
    large.run(settings).unwrap_or_else(|error| panic!("{error}\n{}", settings.spec_text));
    assert_eq!(rows_in(&large)[0], 60);
    let small = filled();
    // Of windows that overlap an event is in three, and tables grow to twice what is in them.
    let room = Room { batch_bytes: 130_000, ..Room::ENDLESS };
    let summary = small.run(&Settings { room, ..settings.clone() }).expect("it goes on");
    let batches = rows_in(&small);
    assert_eq!(batches.iter().sum::<u64>(), 60, "{batches:?}");
    assert_eq!(summary.totals.rows_in, 60);
    assert!(batches.iter().all(|rows| *rows < 40), "{batches:?}\n{}", settings.spec_text);
    let [left, right] = [&small, &large].map(|world| {
        let mut rows: Vec<_> = world.rows().into_iter().map(|(_, row)| row).collect();
        rows.sort();
        rows
    });
    assert!(left == right, "{}", settings.spec_text);
    let once = filled();
    let settings = Settings { trigger: Trigger::Once, room, ..settings.clone() };
    once.run(&settings).expect("it takes what it takes");
    assert_eq!(rows_in(&once), [60]);
}

/// In Spark's way the order of rows may change with a restart, and the batch without data behind the
/// last one is not run after it, because no batch ran before it in that process.
#[test]
fn whatever_write_fails_a_state_kept_in_sparks_way_is_whole_at_the_next_start() {
    let sales = spec::preset("sales").expect("the preset is there").to_owned();
    for spec_text in other_specs().into_iter().chain([sales]) {
        let spec_text =
            format!("compat = \"spark-4\"\n{spec_text}\n[spark]\nshuffle_partitions = 3\n");
        let settings = Settings { spec_text, ..World::settings() };
        let run = |world: &World| world.run(&settings).map(|_| ());
        let straight = World::with_sales(Keeps::Marker);
        run(&straight).unwrap_or_else(|error| panic!("{error}\n{}", settings.spec_text));
        let mut expected = straight.rows();
        expected.sort();
        assert!(expected.len() > 2, "there is something to compare: {expected:?}");
        let last = expected.last().map_or(0, |(batch, _)| *batch);
        for writes in (0..).step_by(5) {
            let world = World::with_sales(Keeps::Marker);
            world.disk.fail_writes_after(writes);
            let ended = run(&world);
            world.disk.crash();
            if ended.is_err() {
                run(&world).expect("the disk is well again");
            }
            let mut found = world.rows();
            found.sort();
            if found.last().is_none_or(|(batch, _)| *batch < last) {
                expected.retain(|(batch, _)| *batch < last);
            }
            assert_eq!(found, expected, "after {writes} writes of\n{}", settings.spec_text);
            expected = straight.rows();
            expected.sort();
            if ended.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn nothing_is_published_before_it_is_durable_and_announced() {
    for writes in 0..12 {
        let world = World::with_sales(Keeps::Nothing);
        world.disk.fail_writes_after(writes);
        let _ = world.run(&World::settings());
        world.disk.crash();
        let announced = match world.disk.visible() {
            crate::batch::VisibleFact::At(_, batch, _) => Some(batch),
            _ => None,
        };
        let published = world.sink.published().last().map(|last| last.identity.batch);
        assert!(published <= announced, "{published:?} was shown, {announced:?} announced");
    }
}

#[test]
fn positions_are_committed_only_of_published_batches_and_all_partitions_each_time() {
    let world = World::with_sales(Keeps::Marker);
    world.run(&World::settings()).expect("nothing is in its way");
    let published: BTreeSet<_> =
        world.sink.published().iter().map(|publication| publication.identity.batch).collect();
    let commits = world.topic.commits();
    assert!(!commits.is_empty());
    for (positions, identity) in &commits {
        assert!(published.contains(&identity.batch));
        assert_eq!(positions.len(), 2, "all partitions are committed each time");
    }
    assert_eq!(commits.last().map(|(_, identity)| identity.batch), published.last().copied());
}

#[test]
fn a_sink_that_is_busy_holds_the_batch_and_gets_it_once() {
    let world = World::with_sales(Keeps::Marker);
    world.sink.expect_troubles([Trouble::None, Trouble::AnswerLost]);
    world.run(&World::settings()).expect("the sink takes it the second time");
    let straight = World::with_sales(Keeps::Marker);
    straight.run(&World::settings()).expect("nothing is in its way");
    assert_eq!(world.rows(), straight.rows());
}

#[test]
fn a_batch_that_must_be_read_again_counts_its_records_once() {
    let world = World::with_sales(Keeps::Marker);
    let again = SourceError::Reread("a damaged fetch".to_owned());
    world.topic.fail_after(Call::Read, 3, again);
    world.run(&World::settings()).expect("the second reading is whole");
    let last = world.sink.published().pop().expect("there were batches");
    assert_eq!(last.record.totals.rows_in, 60);
}

#[test]
fn records_deleted_before_they_were_read_end_the_run_with_their_range() {
    let world = World::with_sales(Keeps::Marker);
    let settings = Settings { max_offsets: MaxOffsets::Limited(10), ..World::settings() };
    world.run(&settings).expect("nothing is in its way");
    for _ in 0..20 {
        world.topic.append(Partition(0), Some(b"{}"));
    }
    world.topic.delete_before(Partition(0), Offset(45));
    let error = world.run(&settings).expect_err("data is lost");
    assert_eq!(error.exit_code(), 20);
    let text = error.to_string();
    assert!(text.contains("records 30 to 44") && text.contains("partition 0"), "{text}");
}

/// Lost records do not end these runs.
fn lenient() -> Settings {
    Settings { fail_on_data_loss: false, max_offsets: MaxOffsets::Unlimited, ..World::settings() }
}

fn in_sparks_way(settings: Settings) -> Settings {
    let spec_text = format!("compat = \"spark-3.5\"\n{}", settings.spec_text);
    Settings { spec_text, ..settings }
}

fn append(world: &World, partition: i32, count: usize) {
    for _ in 0..count {
        let value = br#"{"store":"later","item":"x","price":1.5,"ts":2000}"#;
        world.topic.append(Partition(partition), Some(value));
    }
}

/// What each batch from this one on read: its range of a partition, its records, what it lost.
fn read_since(world: &World, batch: u64, partition: i32) -> Vec<(i64, i64, u64, u64)> {
    let published = world.sink.published();
    let since = published.iter().filter(|publication| publication.identity.batch.0 >= batch);
    since
        .map(|publication| {
            let record = &publication.record;
            let range = record.ranges[&Partition(partition)];
            (range.begin.0, range.end.offset.0, record.counts.rows_in, record.counts.lost)
        })
        .collect()
}

/// The number of the batch that the next run begins with.
fn next_batch(world: &World) -> u64 {
    world.sink.published().last().map_or(0, |last| last.identity.batch.0 + 1)
}

#[test]
fn a_run_that_may_lose_records_goes_on_where_there_are_some_and_counts_the_loss() {
    let world = World::with_sales(Keeps::Marker);
    world.run(&lenient()).expect("nothing is in its way");
    let next = next_batch(&world);
    append(&world, 0, 20);
    append(&world, 1, 3);
    world.topic.delete_before(Partition(0), Offset(45));
    let summary = world.run(&lenient()).expect("the loss is borne");
    let read = read_since(&world, next, 0);
    assert_eq!(read[0], (30, 50, 5 + 3, 15), "{read:?}");
    assert_eq!(summary.totals.lost, 15);
    let before = world.sink.published().len();
    world.run(&lenient()).expect("nothing is lost any more");
    assert_eq!(world.sink.published().len(), before);
}

#[test]
fn batches_are_cut_over_what_was_deleted_too_and_one_of_nothing_else_is_empty() {
    for in_way in [|settings: Settings| settings, in_sparks_way] {
        let settings = in_way(Settings { max_offsets: MaxOffsets::Limited(10), ..lenient() });
        let world = World::with_sales(Keeps::Marker);
        world.run(&settings).expect("nothing is in its way");
        let next = next_batch(&world);
        append(&world, 0, 32);
        world.topic.delete_before(Partition(0), Offset(55));
        let summary = world.run(&settings).expect("the loss is borne");
        let expected = [(30, 40, 0, 10), (40, 50, 0, 10), (50, 60, 5, 5), (60, 62, 2, 0)];
        let read = read_since(&world, next, 0);
        assert_eq!(read[..4], expected, "{read:?}");
        assert_eq!(summary.totals.lost, 25);
        let last = world.sink.published().pop().expect("there were batches");
        assert_eq!(last.record.ranges[&Partition(0)].end.offset, Offset(62));
    }
}

#[test]
fn a_start_in_the_middle_of_what_was_deleted_goes_on_there() {
    let world = World::with_sales(Keeps::Marker);
    let settings = Settings { max_offsets: MaxOffsets::Limited(10), ..lenient() };
    world.run(&settings).expect("nothing is in its way");
    let next = next_batch(&world);
    append(&world, 0, 32);
    world.topic.delete_before(Partition(0), Offset(55));
    // Enough writes for the start and the first batch over the loss, and not for the second.
    let mut writes = 1;
    while next_batch(&world) == next {
        world.disk.fail_writes_after(writes);
        let _ = world.run(&settings);
        world.disk.crash();
        writes += 1;
    }
    let summary = world.run(&settings).expect("the disk is well again");
    let read = read_since(&world, next, 0);
    assert_eq!(read[..3], [(30, 40, 0, 10), (40, 50, 0, 10), (50, 60, 5, 5)], "{read:?}");
    assert_eq!(summary.totals.lost, 25);
}

#[test]
fn a_log_that_was_cut_off_is_read_on_from_its_end_with_one_batch_of_nothing() {
    let world = World::with_sales(Keeps::Marker);
    world.run(&lenient()).expect("nothing is in its way");
    let next = next_batch(&world);
    world.topic.cut_off_at(Partition(1), Offset(12));
    world.run(&lenient()).expect("the loss is borne");
    assert_eq!(read_since(&world, next, 1), [(30, 12, 0, 18)]);
    append(&world, 1, 2);
    world.run(&lenient()).expect("nothing is in its way");
    assert_eq!(read_since(&world, next + 1, 1)[0], (12, 14, 2, 0));
}

#[test]
fn a_log_that_was_cut_off_ends_a_run_that_may_lose_nothing() {
    let world = World::with_sales(Keeps::Marker);
    world.run(&World::settings()).expect("nothing is in its way");
    for settings in [World::settings(), in_sparks_way(World::settings())] {
        let world = World::with_sales(Keeps::Marker);
        world.run(&settings).expect("nothing is in its way");
        world.topic.cut_off_at(Partition(1), Offset(12));
        let error = world.run(&settings).expect_err("data is lost");
        assert_eq!(error.exit_code(), 20);
        let text = error.to_string();
        assert!(text.contains("records 12 to 29 are gone"), "{text}");
    }
}

#[test]
fn a_topic_made_again_longer_is_read_on_from_the_old_offsets_where_spark_does_not_notice() {
    for settings in [lenient(), in_sparks_way(World::settings())] {
        let world = World::with_sales(Keeps::Marker);
        world.run(&settings).expect("nothing is in its way");
        let next = next_batch(&world);
        world.topic.make(2);
        append(&world, 0, 32);
        append(&world, 1, 30);
        world.run(&settings).expect("it is not noticed, but warned of");
        assert_eq!(read_since(&world, next, 0)[0], (30, 32, 2, 0));
        // From then on the checkpoint is of the new topic, and of no other.
        world.disk.crash();
        let settings = Settings { fail_on_data_loss: true, ..settings };
        world.run(&settings).expect("nothing need be allowed for the topic that was taken");
        world.topic.make(2);
        append(&world, 0, 40);
        append(&world, 1, 40);
        let again = world.run(&settings);
        assert_eq!(again.is_err(), settings.spec_text == World::settings().spec_text);
    }
    let world = World::with_sales(Keeps::Marker);
    world.run(&World::settings()).expect("nothing is in its way");
    world.topic.make(2);
    append(&world, 0, 32);
    append(&world, 1, 30);
    let error = world.run(&World::settings()).expect_err("offsets mean something else now");
    assert_eq!(error.exit_code(), 20);
    assert!(error.to_string().contains("made again"), "{error}");
}

#[test]
fn a_topic_made_again_with_fewer_partitions_goes_on_with_those_it_has() {
    let world = World::with_sales(Keeps::Marker);
    world.run(&lenient()).expect("nothing is in its way");
    let next = next_batch(&world);
    world.topic.make(1);
    append(&world, 0, 31);
    world.run(&lenient()).expect("the partition is done without");
    assert_eq!(read_since(&world, next, 0)[0], (30, 31, 1, 0));
    let last = world.sink.published().pop().expect("there were batches");
    assert_eq!(last.record.ranges.len(), 1);
    world.run(&lenient()).expect("the checkpoint is whole without the partition");
}

/// Does something to the topic once, when the clock is read so that the first batch can be read.
struct Disturbing {
    topic: MemoryTopic,
    reads_left: std::sync::atomic::AtomicU32,
    disturb: fn(&MemoryTopic),
}

impl Disturbing {
    fn first_batch(world: &World, disturb: fn(&MemoryTopic)) -> Arc<Disturbing> {
        // The first for the history's beginning, the second for the trigger, the third to open.
        let reads_left = 2.into();
        Arc::new(Disturbing { topic: world.topic.clone(), reads_left, disturb })
    }
}

impl Clock for Disturbing {
    fn now_ms(&self) -> i64 {
        if self.reads_left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            (self.disturb)(&self.topic);
        }
        Fixed.now_ms()
    }
}

#[test]
fn records_deleted_while_their_batch_is_read_drop_it_and_it_is_cut_anew() {
    let deleting = |world: &World| {
        Disturbing::first_batch(world, |topic| topic.delete_before(Partition(0), Offset(7)))
    };
    let world = World::with_sales(Keeps::Marker);
    world.run_with(&lenient(), deleting(&world), Stop::new()).expect("the loss is borne");
    let first = read_since(&world, 0, 0)[0];
    assert_eq!(first, (0, 30, 23 + 30, 7));

    let world = World::with_sales(Keeps::Marker);
    let ended = world.run_with(&World::settings(), deleting(&world), Stop::new());
    let error = ended.expect_err("data is lost");
    assert_eq!(error.exit_code(), 20);
    assert!(error.to_string().contains("cannot be read from offset 0"), "{error}");
    assert!(world.sink.published().is_empty());
}

/// Runs, and asks it to stop where it has not ended in time.
fn run_in_time(
    world: &World,
    settings: &Settings,
    clock: Arc<dyn Clock>,
) -> Result<Summary, EngineError> {
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| world.run_with(settings, clock, stop.clone()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while !running.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.request();
        running.join().expect("it does not panic")
    })
}

#[test]
fn a_log_that_is_cut_off_before_the_fixed_end_of_a_run_does_not_keep_it_waiting() {
    for trigger in [Trigger::AvailableNow, Trigger::Once] {
        let cutting = |world: &World| {
            Disturbing::first_batch(world, |topic| topic.cut_off_at(Partition(0), Offset(7)))
        };
        let world = World::with_sales(Keeps::Marker);
        let settings = Settings { trigger, ..World::settings() };
        let error = run_in_time(&world, &settings, cutting(&world)).expect_err("data is lost");
        assert_eq!(error.exit_code(), 20, "{error}");
        assert!(error.to_string().contains("promised"), "{error}");

        let world = World::with_sales(Keeps::Marker);
        let settings = Settings { trigger, ..lenient() };
        let summary = run_in_time(&world, &settings, cutting(&world)).expect("the loss is borne");
        if trigger == Trigger::AvailableNow {
            assert_eq!((&summary.end, summary.totals.rows_in), (&End::Finished, 7 + 30));
        }
        world.run(&lenient()).expect("nothing is in its way");
        let read: u64 = read_since(&world, 0, 0).iter().map(|(.., rows, _)| rows).sum();
        assert_eq!(read, 7 + 30);
    }
}

#[test]
fn a_position_that_is_there_but_not_read_from_is_tried_again_and_given_up_in_the_end() {
    let world = World::with_sales(Keeps::Marker);
    world.topic.fail_after(Call::Read, 3, SourceError::Gone("truncated".to_owned()));
    let summary = world.run(&lenient()).expect("the second time it can be read");
    assert_eq!((summary.totals.rows_in, summary.totals.lost), (60, 0));

    let world = World::with_sales(Keeps::Marker);
    for _ in 0..100 {
        world.topic.fail(Call::Read, SourceError::Gone("truncated".to_owned()));
    }
    assert_eq!(world.run(&lenient()).expect_err("for ever").exit_code(), 20);
}

#[test]
fn a_topic_made_again_while_it_is_read_is_followed_where_spark_would() {
    for settings in [lenient(), in_sparks_way(lenient())] {
        followed_while_it_is_read(&settings);
    }
}

fn followed_while_it_is_read(bounded: &Settings) {
    let world = World::with_sales(Keeps::Marker);
    let trigger = Trigger::ProcessingTime { interval_ms: 0 };
    let settings = Settings { trigger, ..bounded.clone() };
    let stop = Stop::new();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| world.run_with(&settings, Arc::new(Fixed), stop.clone()));
        let wait_for = |rows_in: u64| {
            let deadline = Instant::now() + Duration::from_secs(60);
            let read = || world.sink.published().last().map(|last| last.record.totals.rows_in);
            while read() != Some(rows_in) && !running.is_finished() {
                assert!(Instant::now() < deadline, "{:?} records read, not {rows_in}", read());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait_for(60);
        world.topic.make(2);
        append(&world, 0, 34);
        append(&world, 1, 30);
        wait_for(64);
        // The topic is looked at by every trigger that comes half a second after the last look.
        std::thread::sleep(Duration::from_secs(1));
        append(&world, 0, 1);
        wait_for(65);
        stop.request();
        running.join().expect("it does not panic").expect("it is followed");
    });
    world.disk.crash();
    let strict = Settings { fail_on_data_loss: true, ..bounded.clone() };
    world.run(&strict).expect("the checkpoint is of the new topic");
}

/// Collects what is measured of each batch, and how many rows its operators then keep.
struct Measured(Arc<Mutex<Vec<Measurement>>>);

/// Its reading, its way out, and the rows that each operator keeps behind it.
type Measurement = (Timing, WayOut, Vec<u64>);

impl Reporter for Measured {
    fn report(&mut self, report: &Report<'_>) {
        let kept = report.record.operators.iter().map(|counts| counts.total).collect();
        let mut measured = self.0.lock().expect("nobody panics");
        measured.push((report.timing.clone(), report.way_out, kept));
    }
}

#[test]
fn what_a_batch_took_and_keeps_is_measured_for_each_operator() {
    let deduplicated = |text: &str| {
        format!(
            "{text}\n[drop_duplicates]\ncolumns = [\"store\", \"price\"]\nwithin_watermark = true\n"
        )
    };
    let ours = deduplicated(&World::settings().spec_text);
    let ours = Settings { spec_text: ours, ..World::settings() };
    let sessions =
        ours.spec_text.replace("duration = \"30 seconds\"", "session_gap = \"30 seconds\"");
    let sessions = Settings { spec_text: sessions, ..World::settings() };
    for settings in [ours.clone(), in_sparks_way(ours), sessions.clone(), in_sparks_way(sessions)] {
        let world = World::with_sales(Keeps::Marker);
        let measured = Arc::new(Mutex::new(Vec::new()));
        let reporter = Box::new(Measured(measured.clone()));
        world
            .run_told(&settings, Arc::new(Fixed), Stop::new(), Some(reporter))
            .expect("nothing is in its way");
        let measured = measured.lock().expect("nobody panics");
        assert!(measured.len() > 5);
        let work = |timing: &Timing| {
            [timing.groups, timing.keys].map(|of| of.updates + of.removals).iter().sum::<Duration>()
        };
        for (timing, way_out, kept) in measured.iter() {
            assert!(work(timing) <= timing.plan, "{timing:?}");
            assert!(!way_out.persist.is_zero());
            let used = [timing.groups, timing.keys].map(|of| of.memory_bytes);
            for (kept, used) in kept.iter().zip(used) {
                // A row takes more than its key alone and its slot less than a page.
                assert!(
                    (kept * 8..(kept + 1) * 4096).contains(&used),
                    "{kept} rows in {used} bytes"
                );
            }
        }
        let all = |of: fn(&Timing) -> Duration| {
            measured.iter().map(|(timing, ..)| of(timing)).sum::<Duration>()
        };
        for sum in [
            all(|timing| timing.planning),
            all(|timing| timing.open),
            all(|timing| timing.groups.updates),
            all(|timing| timing.groups.removals),
            all(|timing| timing.keys.updates),
            all(|timing| timing.keys.removals),
        ] {
            assert!(!sum.is_zero(), "{:?}", measured.last());
        }
    }
}

#[test]
fn a_tombstone_is_counted_and_no_row() {
    let world = World::new(Keeps::Marker);
    world.topic.append(Partition(0), None);
    let summary = world.run(&World::settings()).expect("a tombstone is no failure");
    assert_eq!((summary.totals.rows_in, summary.totals.malformed()), (1, 1));
    assert!(world.rows().is_empty());
}

#[test]
fn sinks_that_replace_all_others_before_the_first_batch_get_it_whenever_the_process_is_killed() {
    let straight = World::with_sales(Keeps::Marker);
    straight.run(&World::settings()).expect("nothing is in its way");
    for kills in (0..8).flat_map(|second| (0..8).map(move |third| [second, third])) {
        let mut world = World::with_sales(Keeps::Marker);
        world.disk.fail_writes_after(2);
        world.run(&World::settings()).expect_err("the first batch cannot be written");
        world.sink = MemorySink::new("other", Keeps::Marker);
        for writes in kills {
            // A killed process leaves everything it wrote.
            world.disk.sync();
            world.disk.crash();
            world.disk.fail_writes_after(writes);
            let _ = world.run(&World::settings());
        }
        world.disk.sync();
        world.disk.crash();
        world.run(&World::settings()).expect("the disk is well again");
        assert_eq!(world.rows(), straight.rows(), "killed after {kills:?} writes");
        assert_eq!(world.sink.published()[0].identity.batch.0, 0, "killed after {kills:?} writes");
    }
}

#[test]
fn a_sink_that_joined_before_the_first_batch_may_not_be_left_out_while_it_lacks_it() {
    let mut refused = 0;
    for writes in 0..12 {
        let mut world = World::with_sales(Keeps::Marker);
        world.disk.fail_writes_after(2);
        world.run(&World::settings()).expect_err("the first batch cannot be written");
        world.disk.crash();
        world.other_sink = Some(MemorySink::new("other", Keeps::Marker));
        world.disk.fail_writes_after(writes);
        let _ = world.run(&World::settings());
        world.disk.crash();
        let other = world.other_sink.take().expect("it was just put there");
        let opened = MemoryCheckpoint::open(&world.disk).expect("it is whole");
        let newest = opened.facts().expect("it is whole").last.map(|last| last.batch);
        let has = other.published().last().map(|last| last.identity.batch);
        let ended = world.run(&World::settings());
        if has < newest {
            let error = ended.expect_err("a batch that it was promised would be lost to it");
            assert_eq!(error.exit_code(), 12, "{error}");
            assert!(error.to_string().contains("sink other has not published"), "{error}");
            refused += 1;
            world.other_sink = Some(other.clone());
            world.run(&World::settings()).expect("it is back");
            assert_eq!(other.published().len(), world.sink.published().len());
        }
    }
    assert!(refused > 0, "there was a batch to be promised");
}

/// The history that is on the disk, and its newest batch.
fn history(world: &World) -> (Lineage, Option<BatchId>) {
    let opened = MemoryCheckpoint::open(&world.disk).expect("it is whole");
    let recovered = opened.facts().expect("it is whole");
    let genesis = recovered.genesis.expect("it was begun");
    (genesis.lineage, recovered.last.map(|last| last.batch))
}

fn permitting_rollback() -> Settings {
    let accept_rollback = Permission::Unnamed;
    let permissions = Permissions { accept_rollback, ..Permissions::default() };
    Settings { permissions, ..World::settings() }
}

#[test]
fn an_unreadable_announce_file_needs_one_permission_wherever_the_process_is_killed() {
    let straight = World::with_sales(Keeps::Marker);
    straight.run(&World::settings()).expect("nothing is in its way");
    let mut firsts = 0;
    for (before, writes) in (3..8).flat_map(|before| (0..12).map(move |writes| (before, writes))) {
        for is_power_cut in [false, true] {
            let world = World::with_sales(Keeps::Marker);
            world.disk.fail_writes_after(before);
            world.run(&World::settings()).expect_err("the disk fails");
            world.disk.crash();
            world.disk.lose_visible(true);
            let (given_up, last) = history(&world);
            firsts += u32::from(last == Some(BatchId(0)));
            world.disk.fail_writes_after(writes);
            let _ = world.run(&permitting_rollback());
            if !is_power_cut {
                world.disk.sync();
            }
            world.disk.crash();
            let killed = format!("after {before} and {writes} writes");
            if history(&world).0 == given_up {
                let error = world.run(&World::settings()).expect_err(&killed);
                assert_eq!(error.exit_code(), 13, "{killed}: {error}");
                world.run(&permitting_rollback()).expect(&killed);
            }
            world.run(&World::settings()).unwrap_or_else(|error| panic!("{killed}: {error}"));
            assert_eq!(world.rows(), straight.rows(), "{killed}");
        }
    }
    assert!(firsts > 0, "the first batch, of which nobody need have seen anything, is among them");
}

#[test]
fn an_accepted_rollback_to_other_sinks_is_over_wherever_the_process_is_killed() {
    let straight = World::with_sales(Keeps::Marker);
    straight.run(&World::settings()).expect("nothing is in its way");
    let mut killed_between = 0;
    for (before, writes) in (5..9).flat_map(|before| (0..12).map(move |writes| (before, writes))) {
        for is_power_cut in [false, true] {
            let mut world = World::with_sales(Keeps::Marker);
            world.disk.fail_writes_after(before);
            world.run(&World::settings()).expect_err("the disk fails");
            world.disk.crash();
            world.disk.lose_visible(true);
            let (given_up, last) = history(&world);
            let had = world.sink.published().last().map(|last| last.identity.batch);
            world.sink = MemorySink::new("other", Keeps::Marker);
            world.disk.fail_writes_after(writes);
            let _ = world.run(&permitting_rollback());
            if !is_power_cut {
                world.disk.sync();
            }
            world.disk.crash();
            let killed = format!("after {before} and {writes} writes");
            let is_begun = history(&world).0 != given_up;
            killed_between += u32::from(is_begun && history(&world).1 == last);
            let settings = if is_begun { &World::settings() } else { &permitting_rollback() };
            world.run(settings).unwrap_or_else(|error| panic!("{killed}: {error}"));
            let published = world.sink.published();
            let newest = history(&world).1;
            assert_eq!(published.last().map(|last| last.identity.batch), newest, "{killed}");
            if had < last {
                let first = published.first().map(|first| first.identity.batch);
                assert_eq!(first, last, "what no sink had is published: {killed}");
            }
        }
    }
    assert!(killed_between > 0, "some end between the permission and the first batch");
}

#[test]
fn a_sink_whose_joining_was_lost_stays_through_an_accepted_rollback_wherever_the_process_is_killed()
{
    for writes in 0..12 {
        let mut world = World::with_sales(Keeps::Marker);
        world.run(&World::settings()).expect("nothing is in its way");
        world.other_sink = Some(MemorySink::new("other", Keeps::Marker));
        world.run(&World::settings()).expect("nothing is in its way");
        // A power cut: the sink is begun, and that it joined was not synced.
        world.disk.crash();
        world.disk.lose_visible(true);
        let (given_up, _) = history(&world);
        world.disk.fail_writes_after(writes);
        let _ = world.run(&permitting_rollback());
        world.disk.sync();
        world.disk.crash();
        let is_begun = history(&world).0 != given_up;
        let settings = if is_begun { &World::settings() } else { &permitting_rollback() };
        world.run(settings).unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
    }
}

#[test]
fn a_sink_that_joins_with_an_accepted_rollback_may_go_wherever_the_process_is_killed() {
    for writes in 0..12 {
        let mut world = World::with_sales(Keeps::Marker);
        world.run(&World::settings()).expect("nothing is in its way");
        world.disk.sync();
        world.disk.crash();
        world.disk.lose_visible(true);
        let (given_up, _) = history(&world);
        world.other_sink = Some(MemorySink::new("other", Keeps::Marker));
        world.disk.fail_writes_after(writes);
        let _ = world.run(&permitting_rollback());
        world.disk.sync();
        world.disk.crash();
        world.other_sink = None;
        let is_begun = history(&world).0 != given_up;
        let settings = if is_begun { &World::settings() } else { &permitting_rollback() };
        world.run(settings).unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
    }
}

#[test]
fn records_deleted_past_the_fixed_end_of_a_run_do_not_keep_it_waiting() {
    let deleting = |world: &World| {
        Disturbing::first_batch(world, |topic| {
            (0..10).for_each(|_| {
                topic.append(Partition(0), None);
            });
            topic.delete_before(Partition(0), Offset(35));
        })
    };
    let world = World::with_sales(Keeps::Marker);
    let ended = run_in_time(&world, &World::settings(), deleting(&world));
    assert_eq!(ended.expect_err("data is lost").exit_code(), 20);
    let world = World::with_sales(Keeps::Marker);
    let summary = run_in_time(&world, &lenient(), deleting(&world)).expect("the loss is borne");
    assert_eq!((&summary.end, summary.totals.rows_in), (&End::Finished, 30));
    let summary = world.run(&lenient()).expect("nothing is in its way");
    assert_eq!((summary.totals.rows_in, summary.totals.lost), (35, 35));
    let ranges = read_since(&world, 0, 0);
    assert!(ranges.windows(2).all(|two| two[0].1 == two[1].0), "{ranges:?}");
}

/// Makes the topic again, longer, with other leaders.
fn make_again(topic: &MemoryTopic) {
    topic.make(2);
    for partition in [Partition(0), Partition(1)] {
        topic.cut_off_at(partition, Offset(0));
        for _ in 0..34 {
            topic.append(partition, None);
        }
    }
}

#[test]
fn the_epochs_of_a_topic_made_again_go_with_its_id_wherever_the_process_is_killed() {
    for settings in [lenient(), in_sparks_way(World::settings())] {
        let mut noted = 0;
        for writes in 0..8 {
            let world = World::with_sales(Keeps::Marker);
            world.run(&settings).expect("nothing is in its way");
            make_again(&world.topic);
            world.disk.fail_writes_after(writes);
            let _ = world.run(&settings);
            world.disk.crash();
            let opened = MemoryCheckpoint::open(&world.disk).expect("it is whole");
            let genesis = opened.facts().expect("it is whole").genesis.expect("it was begun");
            let is_noted = genesis.topic_id.as_deref() == Some("topic 2");
            noted += u32::from(is_noted);
            // Nothing need be allowed for the topic that was taken.
            let strict = Settings { fail_on_data_loss: true, ..settings.clone() };
            let summary = world.run(if is_noted { &strict } else { &settings });
            let summary = summary.unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
            assert_eq!(summary.totals.rows_in, 60 + 8, "after {writes} writes");
        }
        assert!(noted > 2, "{noted}");
    }
}

#[test]
fn a_topic_made_again_while_a_batch_of_it_is_read_is_noted_before_it_is_read() {
    for trigger in [Trigger::AvailableNow, Trigger::Once] {
        for settings in [lenient(), in_sparks_way(lenient())] {
            let settings = Settings { trigger, ..settings };
            let world = World::with_sales(Keeps::Marker);
            let clock = Disturbing::first_batch(&world, make_again);
            let summary = run_in_time(&world, &settings, clock).expect("it is followed");
            assert_eq!(summary.end, End::Finished);
            let strict = Settings { fail_on_data_loss: true, ..settings };
            world.disk.crash();
            world.run(&strict).expect("the checkpoint is of the new topic");
            let strict = Settings { trigger: Trigger::AvailableNow, ..strict };
            let summary = world.run(&strict).expect("nothing is in its way");
            assert_eq!((summary.totals.rows_in, summary.totals.lost), (68, 0));
        }
    }
}

#[test]
fn a_topic_made_again_with_fewer_partitions_does_not_keep_a_run_with_fixed_ends_waiting() {
    let world = World::with_sales(Keeps::Marker);
    let clock = Disturbing::first_batch(&world, |topic| {
        topic.make(1);
        (0..31).for_each(|_| {
            topic.append(Partition(0), None);
        });
    });
    let summary = run_in_time(&world, &lenient(), clock).expect("it is followed");
    assert_eq!((&summary.end, summary.totals.rows_in), (&End::Finished, 30));
}
