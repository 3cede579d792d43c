//! The bytes of format 1, pinned; round trips; and that nothing else is read.

use std::sync::Arc;

use proptest::prelude::*;

use super::{chunk::common_prefix, chunk::decode_row, chunk::encode_row, *};
use crate::{
    batch::{BatchRecord, Begun, Chunks, DeadLetter, DeadLetterReason, Genesis, Mark, Superseded},
    checkpoint::trials::{self, Trial},
    spec::OutputMode,
    types::{
        BatchId, Column, DataType, Decimal, Digest, FaultReason, Incarnation, Lineage, Offset,
        OperatorCounts, Partition, Place, SinkName, Timestamp,
    },
    window::{Accumulator, Scalar, Sum, Watermarks},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Pins an entry's key and value; the checksum's bytes are the last four.
fn pinned(entry: &Entry, key: &str, value: &str) {
    assert_eq!((hex(&entry.key).as_str(), hex(&entry.value).as_str()), (key, value));
    check_value(entry.family, &entry.key, &entry.value).unwrap_or_else(|error| {
        // The single-row form has no reader yet.
        assert!(is_row_form(&entry.key), "{error}");
        None
    });
}

fn chunk_of(rows: &[Row<'_>]) -> Vec<Entry> {
    let mut writer = ChunkWriter::new(Place::groups(Timestamp(30_000_000)), BatchId(2));
    rows.iter().for_each(|row| writer.push(*row));
    writer.finish()
}

fn row<'a>(key: &'a [u8], totals: Option<&'a [u8]>) -> Row<'a> {
    Row { start: Timestamp(0), end: Timestamp(30_000_000), key, totals }
}

fn all_accumulators() -> Vec<Accumulator> {
    let extreme = |scalar| Accumulator::Extreme(Some(scalar));
    vec![
        Accumulator::Count(3),
        Accumulator::Sum(Sum { exact: -5, inexact: None, count: 2 }),
        Accumulator::Sum(Sum { exact: -1_234_560_000_000, inexact: None, count: 2 }),
        Accumulator::Sum(Sum { exact: 0, inexact: Some(0.5), count: 1 }),
        Accumulator::Extreme(None),
        extreme(Scalar::Boolean(true)),
        extreme(Scalar::Int(-1)),
        extreme(Scalar::Long(1 << 40)),
        extreme(Scalar::Double(-0.0)),
        extreme(Scalar::String("é".into())),
        extreme(Scalar::Timestamp(Timestamp(-1))),
        extreme(Scalar::Decimal(Decimal { unscaled: i128::MAX, scale: 38 })),
    ]
}

fn record() -> BatchRecord {
    let record = Trial::new().plan(&[(0, "a")], 30).publication.record;
    let digest = |byte| Digest([byte; 32]);
    let operators = vec![OperatorCounts { total: 300, updated: 2, removed: 1, dropped: 4 }];
    let record = BatchRecord { operators, ..record };
    BatchRecord { rows_digest: digest(1), previous: digest(2), digest: digest(3), ..record }
}

fn superseding() -> Genesis {
    let superseded = Superseded { lineage: Lineage(7), seen: Some(BatchId(300)) };
    Genesis { superseded: vec![superseded], ..trials::genesis() }
}

fn descriptor() -> Descriptor {
    Descriptor {
        batch: BatchId(2),
        output_mode: OutputMode::Update,
        watermarks: Watermarks::FIRST,
        touched: vec![
            (Place::groups(Timestamp(-1)), 1),
            (Place::groups(Timestamp(30_000_000)), 2),
            (Place::keys(Place::NEVER), 1),
        ],
        rows: Some(Chunks { count: 3, seal: 300 }),
        dead_letters: Chunks { count: 1, seal: 9 },
        columns: None,
    }
}

fn columns_of_every_type() -> Arc<[Column]> {
    let types = [
        DataType::String,
        DataType::Double,
        DataType::Long,
        DataType::Int,
        DataType::Boolean,
        DataType::Timestamp,
        DataType::Decimal { precision: 38, scale: 2 },
    ];
    types.map(|data_type| Column { name: "c".to_owned(), data_type }).into()
}

#[test]
fn a_payload_left_in_the_topic_keeps_its_size() {
    let [late, _] = dead_letters();
    let letter = DeadLetter { payload: Some(crate::batch::Payload::Omitted(1 << 40)), ..late };
    let entry = encode_dead_letters(BatchId(0), 0, std::slice::from_ref(&letter));
    let mut letters = Vec::new();
    decode_dead_letters(&entry.key, &entry.value, &mut letters).unwrap();
    assert_eq!(letters, [letter]);
}

fn dead_letters() -> [DeadLetter; 2] {
    let late = DeadLetter {
        partition: Partition(0),
        offset: Offset(9),
        reason: DeadLetterReason::Late,
        column: None,
        payload: None,
    };
    [late, trials::dead_letter("{}")]
}

#[test]
fn the_bytes_of_format_1_never_change() {
    pinned(
        &encode_genesis(&superseding()),
        "67656e65736973",
        "0101fe21436587a9cbed0ff0debc9a78563412010701fb2c01000573616c65730f6e616d65203d202273616c6573\
         220a0105746f7069630573616c65730107636c75737465720002000006020a06fd80e8f31332030000fa5d94c0",
    );
    for (begun, last) in [(Begun::StartOver, 1), (Begun::AcceptedRollback, 2)] {
        let free = encode_genesis(&superseding()).value;
        let marked = encode_genesis(&Genesis { begun, ..superseding() }).value;
        let payload = |value: &[u8]| value[..value.len() - 4].to_vec();
        assert_eq!(payload(&marked), [payload(&free), vec![last]].concat());
    }
    pinned(
        &encode_head(&StateHead {
            batch: BatchId(300),
            digest: Digest([7; 32]),
            chunks: 2,
            seal: 9,
        }),
        "68656164",
        "0102fb2c0107070707070707070707070707070707070707070707070707070707070707070209f88a10\
         93",
    );
    pinned(&encode_incarnation(Incarnation(4)), "696e6361726e6174696f6e", "010304157546f0");
    pinned(&encode_rollback_accepted(), "726f6c6c6261636b5f6163636570746564", "010543aa78b8");
    let mark = Mark { sink: SinkName("console".to_owned()), published: Some(BatchId(2)) };
    pinned(&encode_mark(&mark), "6d61726b2f636f6e736f6c65", "010401022ceeff46");
    pinned(
        &encode_position(Partition(1), BatchId(2), trials::position(10)),
        "80000001",
        "0106021406b6759b16",
    );
    pinned(
        &encode_descriptor(&descriptor()),
        "010000000000000002",
        "0109010000020101fc008793030201fdfeffffffffffffff010103fb2c010109041a4a14",
    );
    pinned(
        &encode_result_rows(BatchId(2), 0, &[6, 1, 0, 0, 0, b'a']),
        "02000000000000000200000000",
        "010a060100000061f4ab7285",
    );
    pinned(
        &encode_dead_letters(BatchId(2), 1, &dead_letters()),
        "03000000000000000200000001",
        "010b0012000000020e070105707269636501027b7db5256bfc",
    );
    pinned(
        &encode_record(&record()),
        "0000000000000000",
        "010c01fd80e8f31332030000180200001406020a1e06000000fb60ea00140000000a000000000000\
         00000000000000000000140000000a0000000000000000000000000000000001fb2c010201040001\
         01010101010101010101010101010101010101010101010101010101010101020202020202020202\
         02020202020202020202020202020202020202020202020303030303030303030303030303030303\
         030303030303030303030303030303abca3ebb",
    );
}

#[test]
fn the_numbers_in_format_1_never_change() {
    let payload = |entry: &Entry| hex(&entry.value[2..entry.value.len() - 4]);
    let genesis = Genesis { topic_since: Some(BatchId(300)), ..superseding() };
    let (since, free) =
        (payload(&encode_genesis(&genesis)), payload(&encode_genesis(&superseding())));
    assert_eq!(since, free + "002c01000000000000");
    let columns = Descriptor { columns: Some(columns_of_every_type()), ..descriptor() };
    let (with, without) =
        (payload(&encode_descriptor(&columns)), payload(&encode_descriptor(&descriptor())));
    assert_eq!(
        with,
        without + "07016300000001630100000163020000016303000001630400000163050000016306" + "2602"
    );
    let modes = [OutputMode::Append, OutputMode::Update, OutputMode::Complete].map(|output_mode| {
        let entry = encode_descriptor(&Descriptor { output_mode, ..descriptor() });
        entry.value[2]
    });
    assert_eq!(modes, [0, 1, 2]);
    let [late, fault] = dead_letters();
    let letter = |letter: DeadLetter| payload(&encode_dead_letters(BatchId(0), 0, &[letter]));
    for (number, name) in [
        "null_value",
        "empty",
        "syntax",
        "not_an_object",
        "too_deep",
        "too_large",
        "wrong_type",
        "out_of_range",
        "no_event_time",
        "future",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            (FaultReason::ALL[number].name(), FaultReason::ALL[number] as usize),
            (name, number)
        );
        let reason = DeadLetterReason::Fault(FaultReason::ALL[number]);
        let found = letter(DeadLetter { reason, column: None, payload: None, ..fault.clone() });
        assert_eq!(found, format!("020e{:02x}0000", number + 1));
    }
    let omitted = DeadLetter { payload: Some(crate::batch::Payload::Omitted(300)), ..late };
    assert_eq!(letter(omitted), "0012000002fb2c01");
}

#[test]
fn the_bytes_of_groups_in_format_1_never_change() {
    let mut totals = Vec::new();
    encode_totals(&all_accumulators(), &mut totals);
    let chunks = chunk_of(&[row(b"a", Some(&totals)), row(b"b", None)]);
    let [chunk] = chunks.as_slice() else { panic!("two small rows are one chunk") };
    pinned(
        chunk,
        "018000000001c9c380000000000000000200000000",
        "01070102000000070000808ece1c4d61000601090405ff880f040200000000000000e03f0203\
         0400010401010402fd000000000002000004030000000000000080040402c3a90405010406fe\
         feffffffffffffffffffffffffffffff260400628aa15763",
    );
    let mut keys = ChunkWriter::new(Place::keys(Timestamp(40_000_000)), BatchId(2));
    keys.push(Row { start: Timestamp(31), end: Timestamp(31), key: b"a", totals: Some(&[]) });
    pinned(
        &keys.finish()[0],
        "038000000002625a00000000000000000200000000",
        "010701010000000700c2e79226000061362e4562",
    );
    pinned(
        &encode_row(Timestamp(30_000_000), row(b"a", Some(&[0, 6]))),
        "028000000001c9c380800000000000000061",
        "0108030000808ece1c020006acdb7b10",
    );
}

#[test]
fn values_read_back_what_was_written() {
    for begun in [Begun::Freely, Begun::StartOver, Begun::AcceptedRollback] {
        for topic_since in [None, Some(BatchId(0)), Some(BatchId(u64::MAX))] {
            let genesis = Genesis { begun, topic_since, ..superseding() };
            assert_eq!(decode_genesis(&encode_genesis(&genesis).value), Ok(genesis));
        }
    }
    let head = StateHead { batch: BatchId(u64::MAX), digest: Digest([9; 32]), chunks: 1, seal: 2 };
    assert_eq!(decode_head(&encode_head(&head).value), Ok(head));
    let entry = encode_record(&record());
    assert_eq!(decode_record(&entry.key, &entry.value), Ok(record()));
    for columns in [None, Some(columns_of_every_type())] {
        let descriptor = Descriptor { columns, ..descriptor() };
        let entry = encode_descriptor(&descriptor);
        assert_eq!(decode_descriptor(BatchId(2), &entry.value), Ok(descriptor));
    }
    let entry = encode_dead_letters(BatchId(2), 0, &dead_letters());
    let mut letters = Vec::new();
    decode_dead_letters(&entry.key, &entry.value, &mut letters).unwrap();
    assert_eq!(letters, dead_letters());
    let mut totals = Vec::new();
    encode_totals(&all_accumulators(), &mut totals);
    assert_eq!(TotalsReader::default().read(&totals).unwrap(), all_accumulators());
    let closing = Timestamp(30_000_000);
    let single = encode_row(closing, row(b"a", None));
    assert_eq!(decode_row(&single.key, &single.value), Ok((closing, row(b"a", None))));
    for reason in FaultReason::ALL {
        let letter =
            DeadLetter { reason: DeadLetterReason::Fault(reason), ..trials::dead_letter("x") };
        let entry = encode_dead_letters(BatchId(0), 0, std::slice::from_ref(&letter));
        let mut letters = Vec::new();
        decode_dead_letters(&entry.key, &entry.value, &mut letters).unwrap();
        assert_eq!(letters, [letter]);
    }
}

#[test]
fn a_value_under_another_key_or_family_is_refused() {
    let entry = encode_position(Partition(1), BatchId(2), trials::position(10));
    let other = position_key(Partition(2));
    assert_eq!(decode_position(&other, &entry.value), Err(CodecError::Checksum));
    assert_eq!(check_value(Family::Meta, &entry.key, &entry.value), Err(CodecError::Key));
}

#[test]
fn a_later_format_is_told_from_damage() {
    let mut value = encode_incarnation(Incarnation(4)).value;
    let end = value.len() - 4;
    value[0] = 2;
    assert_eq!(decode_incarnation(&value), Err(CodecError::Checksum));
    let checksum = crc32c::crc32c_append(crc32c::crc32c(b"metaincarnation"), &value[..end]);
    value[end..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(decode_incarnation(&value), Err(CodecError::Format { found: 2 }));
}

#[test]
fn large_runs_are_cut_into_chunks_of_64_kibibytes() {
    let totals = vec![0; 700];
    let keys: Vec<_> = (0..5000u32).map(u32::to_be_bytes).collect();
    let rows: Vec<_> = keys.iter().map(|key| row(key, Some(&totals))).collect();
    let chunks = chunk_of(&rows);
    assert!(chunks.len() > 3);
    let mut read = 0;
    let mut reader = ChunkReader::new(Place::groups(Timestamp(30_000_000)));
    for (index, entry) in chunks.iter().enumerate() {
        assert!(entry.value.len() <= 64 << 10);
        let chunk = Chunk::open(&entry.key, &entry.value).unwrap();
        assert_eq!(chunk.key.chunk as usize, index);
        assert_eq!(chunk.last, index + 1 == chunks.len());
        reader.begin(chunk);
        while reader.advance(&entry.value).unwrap() {
            assert_eq!(reader.row(&entry.value), rows[read]);
            read += 1;
        }
    }
    assert_eq!(read, rows.len());
}

fn any_family() -> impl Strategy<Value = Family> {
    prop::sample::select(Family::ALL.to_vec())
}

/// A chunk's rows with nothing wrong around them.
fn chunk_with(rows: &[u8], count: u32) -> Entry {
    let mut entry = chunk_of(&[row(b"a", None)]).remove(0);
    let mut content = entry.value[..2].to_vec();
    content.push(1);
    content.extend_from_slice(&count.to_le_bytes());
    content.extend_from_slice(rows);
    entry.value = envelope::with_checksum(Family::Windows, &entry.key, &content);
    entry
}

#[test]
fn rows_that_no_writer_wrote_are_refused() {
    let check = |rows: &[u8], count, problem: &str| {
        let entry = chunk_with(rows, count);
        let found = check_value(Family::Windows, &entry.key, &entry.value);
        match (problem, found) {
            ("", found) => assert_eq!(found, Ok(None)),
            (_, Err(error)) => assert!(error.to_string().contains(problem), "{error}"),
            (_, Ok(_)) => panic!("{rows:?} was read, and {problem}"),
        }
    };
    // A tombstone of `b` from 0 to 0 us, and one of `bc` with the same times.
    let (first, second) = ([5, 0, 0, 0, b'b'], [4, 1, b'c']);
    check(&[&first[..], &second].concat(), 2, "");
    check(&[&first[..], &second].concat(), 1, "more behind its end");
    check(&[&first[..], &second].concat(), 3, "a number in it cannot be");
    check(&first, u32::MAX, "a number in it cannot be");
    check(&[4, 0, b'b'], 1, "its first row has no times");
    check(&[5, 1, 0, 0, b'b'], 1, "its first row has no whole key");
    check(&[&first[..], &[4, 2, b'c']].concat(), 2, "a row has no whole key");
    for same_or_less in [&[4, 0, b'b'][..], &[4, 0, b'a'], &[0, 1], &[0, 0], &[4, 0, 0]] {
        check(&[&first[..], same_or_less].concat(), 2, "its rows are not in order");
    }
    // Of the same key one that starts before, and one that starts behind it.
    check(&[&first[..], &[1, 1, 0, 2]].concat(), 2, "its rows are not in order");
    check(&[&first[..], &[1, 1, 0, 1]].concat(), 2, "");
    let endless = [0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    check(&[&endless[..], &[0]].concat(), 1, "too short");
    check(&[&first[..], &endless, &[0]].concat(), 2, "too short");
    check(&[&first[..], &[6, 1], &endless, b"c"].concat(), 2, "too short");
    check(&[7, 0, 0, 0, 1, b'b', 6], 1, "no known kind");
}

#[test]
fn a_chunk_is_the_last_one_or_not() {
    let mut entry = chunk_with(&[5, 0, 0, 0, b'b'], 1);
    for last in 0..=u8::MAX {
        entry.value[2] = last;
        let content = &entry.value[..entry.value.len() - 4];
        let value = envelope::with_checksum(Family::Windows, &entry.key, content);
        let opened = Chunk::open(&entry.key, &value).map(|chunk| chunk.last);
        assert_eq!(opened.ok(), [false, true].get(usize::from(last)).copied());
    }
}

#[test]
fn rows_of_one_window_take_few_bytes() {
    let keys: Vec<_> = (10_000..20_000).map(|store| format!("\u{1}store-{store}\0\0")).collect();
    let mut totals = Vec::new();
    encode_totals(
        &[Accumulator::Sum(Sum { exact: 1_234_560_000_000, inexact: None, count: 1 })],
        &mut totals,
    );
    let rows: Vec<_> = keys.iter().map(|key| row(key.as_bytes(), Some(&totals))).collect();
    let bytes: usize = chunk_of(&rows).iter().map(|entry| entry.value.len()).sum();
    assert!(bytes < 12 * rows.len(), "{bytes}");
}

#[test]
fn a_run_goes_on_behind_its_chunk_before() {
    let mut reader = ChunkReader::new(Place::groups(Timestamp(30_000_000)));
    for (key, is_right) in [(b"b", true), (b"c", true), (b"c", false)] {
        let entry = chunk_of(&[row(key, None)]).remove(0);
        reader.begin(Chunk::open(&entry.key, &entry.value).unwrap());
        assert_eq!(reader.advance(&entry.value).is_ok(), is_right);
    }
}

type AnyRow = ((i64, Vec<u8>), i64, Option<Vec<u8>>);

/// Rows in order, of which many have something in common.
fn any_rows() -> impl Strategy<Value = Vec<AnyRow>> {
    let start = prop_oneof![-1i64..2, any::<i64>()];
    let key = prop_oneof![
        prop::collection::vec(0u8..2, 0..12),
        prop::collection::vec(any::<u8>(), 0..40),
        (0u8..4).prop_map(|last| [vec![7; 300], vec![last]].concat()),
    ];
    let rest = (prop_oneof![0i64..2, any::<i64>()], any::<Option<Vec<u8>>>());
    prop::collection::btree_map((start, key), rest, 1..60).prop_map(|rows| {
        rows.into_iter().map(|(order, (end, totals))| (order, end, totals)).collect()
    })
}

proptest! {
    #[test]
    fn rows_read_back_what_was_written(any in any_rows(), closing: i64, padding in 0usize..9000) {
        let totals = |totals: &Option<Vec<u8>>| {
            totals.as_ref().map(|totals| [&vec![0; padding][..], totals].concat())
        };
        let totals: Vec<_> = any.iter().map(|(_, _, of_row)| totals(of_row)).collect();
        let rows: Vec<_> = any.iter().zip(&totals).map(|(((start, key), end, _), totals)| Row {
            start: Timestamp(*start), end: Timestamp(*end), key, totals: totals.as_deref(),
        }).collect();
        let place = Place::keys(Timestamp(closing));
        let mut writer = ChunkWriter::new(place, BatchId(1));
        rows.iter().for_each(|row| writer.push(*row));
        let (mut reader, mut left) = (ChunkReader::new(place), rows.iter());
        for entry in writer.finish() {
            prop_assert!(entry.value.len() <= 64 << 10);
            reader.begin(Chunk::open(&entry.key, &entry.value).unwrap());
            // Each can be read without the others, too.
            let mut alone = ChunkReader::new(place);
            alone.begin(Chunk::open(&entry.key, &entry.value).unwrap());
            while reader.advance(&entry.value).unwrap() {
                prop_assert_eq!(Some(&reader.row(&entry.value)), left.next());
                prop_assert_eq!(alone.advance(&entry.value), Ok(true));
                prop_assert_eq!(alone.row(&entry.value), reader.row(&entry.value));
            }
        }
        prop_assert_eq!(left.next(), None);
    }

    #[test]
    fn what_keys_have_in_common_is_all_of_it(
        alike in prop::collection::vec(any::<u8>(), 0..30), one in "[ab]{0,20}", other in "[ab]{0,20}",
    ) {
        let [one, other] = [one, other].map(|rest| [&alike, rest.as_bytes()].concat());
        let expected = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        prop_assert_eq!(common_prefix(&one, &other), expected);
    }

    #[test]
    fn damaged_rows_with_a_good_checksum_never_panic(
        any in any_rows(), at: prop::sample::Index, byte: u8, cut: bool,
    ) {
        let totals = [1, 9, 4];
        let rows: Vec<_> = any.iter().map(|((start, key), end, is_there)| Row {
            start: Timestamp(*start),
            end: Timestamp(*end),
            key,
            totals: is_there.as_ref().map(|_| &totals[..]),
        }).collect();
        for entry in chunk_of(&rows) {
            let mut content = entry.value[..entry.value.len() - 4].to_vec();
            let at = at.index(content.len());
            if cut { content.truncate(at) } else { content[at] = byte }
            let _ = check_value(
                Family::Windows,
                &entry.key,
                &envelope::with_checksum(Family::Windows, &entry.key, &content),
            );
        }
    }

    #[test]
    fn keys_sort_as_what_they_stand_for(a: (i64, u64, u32), b: (i64, u64, u32)) {
        let key = |(closing, batch, chunk)| ChunkKey {
            place: Place::groups(Timestamp(closing)), batch: BatchId(batch), chunk,
        };
        prop_assert_eq!(key(a).cmp(&key(b)), key(a).encode().cmp(&key(b).encode()));
        prop_assert_eq!(ChunkKey::decode(&key(a).encode()), Ok(key(a)));
        prop_assert!(key(a).encode() < behind_chunks_of(Place::groups(Timestamp(a.0))));
        prop_assert_eq!(b.0 > a.0, key(b).encode() >= behind_chunks_of(Place::groups(Timestamp(a.0))));
        let partition = |number| position_key(Partition(number));
        let (x, y) = (a.2.cast_signed(), b.2.cast_signed());
        prop_assert_eq!(x.cmp(&y), partition(x).cmp(&partition(y)));
    }

    #[test]
    fn arbitrary_bytes_are_refused(
        family in any_family(),
        key in prop::collection::vec(any::<u8>(), 0..32),
        value in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        prop_assert!(check_value(family, &key, &value).is_err());
    }

    #[test]
    fn arbitrary_payloads_with_a_good_checksum_never_panic(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        shape in 0u8..14,
    ) {
        let chunk = ChunkKey { place: Place::groups(Timestamp(5)), batch: BatchId(1), chunk: 0 }.encode();
        let keys = [
            (Family::Meta, GENESIS_KEY.to_vec()), (Family::Meta, HEAD_KEY.to_vec()),
            (Family::Windows, chunk), (Family::History, record_key(BatchId(3))),
            (Family::Outbox, OutboxKey::Descriptor(BatchId(3)).encode()),
            (Family::Outbox, OutboxKey::DeadLetters(BatchId(3), 0).encode()),
            (Family::Offsets, position_key(Partition(0))),
        ];
        for (family, key) in keys {
            let mut value = vec![FORMAT, shape];
            value.extend_from_slice(&payload);
            let place = [family.name().as_bytes(), &key].concat();
            let checksum = crc32c::crc32c_append(crc32c::crc32c(&place), &value);
            value.extend_from_slice(&checksum.to_le_bytes());
            let _ = check_value(family, &key, &value);
        }
    }

    #[test]
    fn groups_read_back_what_was_written(
        mut keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 0..20), 1..20),
        count: i64, exact: i128, inexact: Option<f64>, closing: i64, start: i64, end: i64,
    ) {
        keys.insert(Vec::new());
        let accumulators =
            [exact, 0, 9_999_999, i128::from(count), i128::from(count / 10_000_000) * 10_000_000]
                .into_iter()
                .flat_map(|exact| [(exact, inexact), (exact, None)])
                .map(|(exact, inexact)| Accumulator::Sum(Sum { exact, inexact, count }))
                .chain([Accumulator::Count(count)])
                .collect::<Vec<_>>();
        let mut totals = Vec::new();
        encode_totals(&accumulators, &mut totals);
        let mut writer = ChunkWriter::new(Place::groups(Timestamp(closing)), BatchId(1));
        let rows: Vec<_> = keys.iter().map(|key| Row {
            start: Timestamp(start), end: Timestamp(end), key, totals: Some(&totals),
        }).collect();
        rows.iter().for_each(|row| writer.push(*row));
        let entries = writer.finish();
        let value = &entries[0].value;
        let mut chunk = ChunkReader::new(Place::groups(Timestamp(closing)));
        chunk.begin(Chunk::open(&entries[0].key, value).unwrap());
        for row in rows {
            prop_assert_eq!(chunk.advance(value), Ok(true));
            prop_assert_eq!(chunk.row(value), row);
        }
        prop_assert_eq!(chunk.advance(value), Ok(false));
        let mut reader = TotalsReader::default();
        let read = reader.read(&totals).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{accumulators:?}"));
    }

    #[test]
    fn any_flipped_bit_is_noticed(byte in 0usize..400, bit in 0u8..8) {
        let mut entry = encode_record(&record());
        let at = byte % entry.value.len();
        entry.value[at] ^= 1 << bit;
        prop_assert_eq!(decode_record(&entry.key, &entry.value), Err(CodecError::Checksum));
    }
}
