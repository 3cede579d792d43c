//! Bytes from outside, as fuzzers and their kept corpus bring them: each function takes any bytes and must
//! return.
//!
//! Here for `fuzz/` and for the test of this file, which replays `fuzz/corpus` and mutations of it; no
//! program has it. What must hold is asserted, and a broken assertion is what a fuzzer looks for.
//!
//! Start at [`TARGETS`]. Not here: what the bytes mean.

use std::sync::OnceLock;

use crate::{
    checkpoint,
    cli::{parse_kafka_options, parse_start_time},
    decode::Decoder,
    spec::{self, Asked, Compat},
};

/// One kind of input.
pub type Target = fn(&[u8]);

/// Every kind by its name, which is that of its fuzz target and of its folder in the corpus.
pub const TARGETS: [(&str, Target); 5] = [
    ("records", records),
    ("specs", specs),
    ("checkpoint_values", checkpoint_values),
    ("visible_file", visible_file),
    ("cli_values", cli_values),
];

const WIDE: &str = r#"
name = "wide"
topic = "t"
output = ["s", "d", "l", "i", "b", "ts", "m", "event_time"]
[schema]
s = "string"
d = "double"
l = "long"
i = "int"
b = "boolean"
ts = "timestamp"
m = "decimal(18,2)"
[event_time]
column = "ts"
format = "timestamp"
"#;

fn decoders() -> &'static Vec<Decoder> {
    static DECODERS: OnceLock<Vec<Decoder>> = OnceLock::new();
    DECODERS.get_or_init(|| {
        let sales = spec::preset("sales").expect("it is built in");
        let specs = [(sales, None), (sales, Some(Compat::Spark35)), (WIDE, None)];
        let decoder = |(text, compat): (&str, _)| {
            let asked = Asked { compat, ..Asked::default() };
            let spec = spec::parse_for(text, "fuzz", asked).expect("it is right");
            Decoder::new(&spec.pipeline).expect("it can be decoded")
        };
        specs.into_iter().chain([(WIDE, Some(Compat::Spark4))]).map(decoder).collect()
    })
}

/// A record under several pipelines: the same bytes give the same event again, whatever the decoder has
/// read before, and the quick reader and the careful one make the same of them.
pub fn records(bytes: &[u8]) {
    for decoder in decoders() {
        let mut used = decoder.clone();
        let first = format!("{:?}", used.decode(Some(bytes)));
        drop(format!("{:?}", used.decode(Some(br#"{"store":"other","ts":1}"#))));
        assert_eq!(first, format!("{:?}", used.decode(Some(bytes))));
        if let Some((quick, careful)) = used.read_both_ways(bytes) {
            assert_eq!(quick, careful);
        }
    }
}

/// A spec: what is right can be kept without its secrets and means the same.
pub fn specs(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let kept = spec::without_secrets(text);
    if let Ok(read) = spec::parse(text, "fuzz") {
        let again = spec::parse(&kept, "fuzz").expect("what is kept can be read");
        assert_eq!(read.pipeline, again.pipeline);
    }
    // The same text as an SQL query in a right spec.
    let quoted = toml::Value::String(text.to_owned());
    let sql = format!("name = \"q\"\ntopic = \"t\"\npipeline = {quoted}\n[schema]\na = \"int\"\n");
    let _ = spec::parse(&sql, "fuzz");
}

/// A checkpoint's value: the first two bytes choose family and key, the rest is the value, once as it is
/// and once sealed with a right checksum.
pub fn checkpoint_values(bytes: &[u8]) {
    checkpoint::read_any_value(bytes);
}

/// The announce file.
pub fn visible_file(bytes: &[u8]) {
    checkpoint::read_any_slots(bytes);
}

/// Values of options.
pub fn cli_values(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(duration) = spec::parse_duration(text) {
        assert!(duration <= spec::MAX_DURATION);
        assert_eq!(spec::parse_duration(&spec::format_duration(duration)), Ok(duration));
    }
    let _ = spec::parse_interval(text);
    let _ = parse_start_time(text);
    let _ = parse_kafka_options(text);
    let _ = text.parse::<spec::Trigger>();
    let _ = text.parse::<spec::SinkSpec>();
    let _ = text.parse::<spec::MaxOffsets>();
    if let Ok(offsets) = text.parse::<spec::StartingOffsets>() {
        assert_eq!(offsets.to_string().parse::<spec::StartingOffsets>(), Ok(offsets));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng as _, SeedableRng as _},
    };

    use super::*;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut paths: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// One to eight changes of a kind that finds the edges of formats.
    fn mutated(corpus: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
        let below =
            |random: &mut ChaCha8Rng, bound: usize| random.next_u32() as usize % bound.max(1);
        let mut bytes = corpus[below(random, corpus.len())].clone();
        for _ in 0..=below(random, 8) {
            let at = below(random, bytes.len() + 1);
            match below(random, 7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << below(random, 8),
                1 if at < bytes.len() => bytes[at] = random.next_u32().to_le_bytes()[0],
                2 => bytes.truncate(at),
                3 => bytes.insert(at, b"{}[]\",:\\0.-eE \n\0\xff"[below(random, 17)]),
                4 => {
                    let other = &corpus[below(random, corpus.len())];
                    let from = below(random, other.len() + 1);
                    let to = from + below(random, other.len() - from + 1);
                    bytes.splice(at..at, other[from..to].iter().copied());
                }
                5 => {
                    let until = at + below(random, bytes.len() - at + 1);
                    let part = bytes[at..until].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => drop(bytes.splice(at..bytes.len().min(at + 1 + below(random, 8)), [])),
            }
        }
        bytes.truncate(1 << 16);
        bytes
    }

    /// Name and version of every package in a lock file.
    fn packages(lock: &str) -> Vec<&str> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(lock);
        let text = fs::read_to_string(path).unwrap().leak();
        let package =
            |part: &'static str| part.split_once("\nsource =").map(|(head, _)| head.trim());
        text.split("[[package]]").skip(1).filter_map(package).collect()
    }

    #[test]
    fn the_fuzzer_is_built_from_the_packages_of_the_product() {
        let product = packages("Cargo.lock");
        let others: Vec<_> =
            packages("fuzz/Cargo.lock").into_iter().filter(|it| !product.contains(it)).collect();
        let is_known = |it: &&str| it.contains("\"arbitrary\"") || it.contains("\"libfuzzer-sys\"");
        assert!(
            others.len() == 2 && others.iter().all(is_known),
            "copy Cargo.lock to fuzz/Cargo.lock and run `cargo update -w` in fuzz: {others:?}"
        );
    }

    #[test]
    fn what_fuzzers_kept_and_mutations_of_it_are_survived() {
        let runs: u64 = match std::env::var("SALES_STREAM_FUZZ_RUNS") {
            Ok(runs) => runs.parse().expect("SALES_STREAM_FUZZ_RUNS is a number"),
            Err(_) => 40_000,
        };
        let seed = std::env::var("SALES_STREAM_SEED").map_or(1, |seed| seed.parse().unwrap());
        let mut done = 0;
        let started = std::time::Instant::now();
        for (name, target) in TARGETS {
            let corpus = corpus(name);
            assert!(corpus.len() > 1, "{name} has a corpus");
            corpus.iter().for_each(|bytes| target(bytes));
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for run in 0..runs {
                let bytes = mutated(&corpus, &mut random);
                let survived = std::panic::catch_unwind(|| target(&bytes));
                assert!(
                    survived.is_ok(),
                    "{name}, seed {seed}, run {run}: {}",
                    bytes.escape_ascii()
                );
            }
            done += runs + corpus.len() as u64;
        }
        let result = serde_json::json!({
            "harness": "fuzz", "seed": seed, "seconds": started.elapsed().as_secs(), "ok": true,
            "fuzz_runs": done,
        });
        println!("RESULT {result}");
        if let Some(path) = std::env::var_os("SALES_STREAM_RESULTS") {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, format!("RESULT {result}\n").as_bytes()).unwrap();
        }
    }
}
