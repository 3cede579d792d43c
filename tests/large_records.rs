//! Records of unreasonable depth and size through the real binary: what is no JSON by then is a dead letter
//! with its place, the rest is read, and records beside them are counted as ever.
//!
//! Not here: what each of them means to the decoder (`src/decode/tests.rs`).

mod support;

use std::{fmt::Write as _, time::Duration};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use support::{Broker, available_now, batch_files, out_dir, results, sale_json, succeed};

const DEEP: usize = 100_000;
const KEYS: usize = 1_000_000;
const LARGE: usize = 10_000_000;

/// 2025-09-02T08:00:00Z.
const BEGINNING: i64 = 1_756_800_000;

/// Sends each record, of whatever size, to a partition of its own: the embedded broker keeps few megabytes
/// of a partition, beside its newest records.
fn send_large(brokers: &str, records: &[Vec<u8>]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", "100000000")
        .create()
        .expect("a producer can be made");
    for (partition, record) in (0..).zip(records) {
        let sent =
            producer.send(BaseRecord::<(), _>::to("sales").partition(partition).payload(record));
        assert!(sent.is_ok(), "there is room in the queue");
        producer.flush(Duration::from_secs(60)).expect("the broker acknowledges");
    }
}

/// A sale with a million other keys before it.
fn of_many_keys() -> Vec<u8> {
    let mut text = String::from("{");
    for key in 0..KEYS {
        write!(text, "\"k{key}\":{key},").expect("a text takes more");
    }
    let sale = sale_json("many keys", "2.00", BEGINNING + 1);
    text.push_str(std::str::from_utf8(&sale[1..]).expect("it is ASCII"));
    text.into_bytes()
}

/// A sale whose item is ten megabytes long.
fn of_a_large_item() -> Vec<u8> {
    let item = "é".repeat(LARGE / 2);
    let ts = BEGINNING + 2;
    format!(r#"{{"store":"large","item":"{item}","price":3.00,"ts":{ts}}}"#).into_bytes()
}

#[test]
fn deep_and_large_records_are_dead_letters_or_read_and_disturb_nobody() {
    let broker = Broker::start(&["sales:10"]);
    let home = tempfile::tempdir().unwrap();
    let nested =
        |name: &str, open: &str| format!("{{\"{name}\":{}", open.repeat(DEEP)).into_bytes();
    let mut cut = of_a_large_item();
    cut.truncate(LARGE);
    send_large(
        &broker.address,
        &[
            sale_json("plain", "1.00", BEGINNING),
            nested("store", "["),
            nested("unknown", "["),
            nested("price", "{\"x\":"),
            "[".repeat(DEEP).into_bytes(),
            of_many_keys(),
            of_a_large_item(),
            cut,
            sale_json("plain", "1.00", BEGINNING + 3),
            // Closes the window.
            sale_json("plain", "9.00", BEGINNING + 3_600),
        ],
    );
    let letters = home.path().join("letters");
    let mut run = available_now(&broker.address, "sales", home.path(), "large");
    run.arg("--dead-letter").arg(format!("files:{}", letters.display()));
    let output = succeed(&mut run);
    let closing = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(closing.contains("5 malformed (syntax 1, not_an_object 1, too_deep 3)"), "{closing}");

    let totals: Vec<_> = results(&out_dir(home.path(), "large"))
        .into_iter()
        .map(|((store, _), total)| (store, total))
        .collect();
    let expected = [("large", "3"), ("many keys", "2"), ("plain", "2")];
    assert_eq!(totals, expected.map(|(store, total)| (store.to_owned(), total.to_owned())));

    let mut told: Vec<_> = batch_files(&letters)
        .into_values()
        .flat_map(|bytes| {
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|line| {
            assert!(line.len() < 1_100_000, "a dead letter does not keep {} bytes", line.len());
            let letter: serde_json::Value = serde_json::from_str(&line).unwrap();
            let reason = letter["reason"].as_str().unwrap().to_owned();
            let size = letter["payload_omitted"].as_str().unwrap_or_default().to_owned();
            (letter["partition"].as_u64().unwrap(), reason, size)
        })
        .collect();
    told.sort();
    let reasons: Vec<_> =
        told.iter().map(|(partition, reason, _)| (*partition, reason.as_str())).collect();
    let deep = "too_deep";
    assert_eq!(reasons, [(1, deep), (2, deep), (3, deep), (4, "not_an_object"), (7, "syntax")]);
    assert_eq!(told[4].2, format!("{LARGE} bytes"), "{:?}", told[4]);
}
