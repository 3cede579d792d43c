//! The line a harness ends with: what it tried, in numbers, to be summed up over runs.
//!
//! Not here: what a harness tries.

use std::{fmt::Write as _, fs::File, io::Write as _, time::Instant};

/// Whether the long tier was asked for (`SALES_STREAM_TIER=long`).
pub fn is_long() -> bool {
    std::env::var("SALES_STREAM_TIER").is_ok_and(|tier| tier == "long")
}

/// A number of the caller's own from the environment, else that of the tier.
pub fn number(name: &str, short: u64, long: u64) -> u64 {
    let given = std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")));
    given.unwrap_or(if is_long() { long } else { short })
}

/// Prints `RESULT {…}`, and appends it to the file that `SALES_STREAM_RESULTS` names.
pub fn report(harness: &str, seed: u64, started: Instant, counts: &[(&str, u64)]) {
    let seconds = started.elapsed().as_secs();
    let mut line =
        format!(r#"RESULT {{"harness":"{harness}","seed":{seed},"seconds":{seconds},"ok":true"#);
    for (name, count) in counts {
        write!(line, r#","{name}":{count}"#).expect("a text takes more");
    }
    line.push('}');
    // Behind the name of the test that the runner may have begun to print.
    println!("\n{line}");
    if let Some(path) = std::env::var_os("SALES_STREAM_RESULTS") {
        let mut file =
            File::options().create(true).append(true).open(path).expect("results can be kept");
        writeln!(file, "{line}").expect("results can be kept");
    }
}
