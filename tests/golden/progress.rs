//! The lines of `--progress`, against Spark's own progress of each batch.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Map, Value as Json};

use crate::{
    case::{Case, array, object},
    gate::Seen,
};

/// How long a line may take to be written after its batch was marked.
const PATIENCE: Duration = Duration::from_secs(20);

/// The file that a case's runs write their progress to.
pub struct Lines {
    path: PathBuf,
    /// How many lines of batches were given out.
    taken: usize,
}

impl Lines {
    pub fn new(path: PathBuf) -> Lines {
        Lines { path, taken: 0 }
    }

    /// The option that makes a run write them.
    pub fn option(&self) -> String {
        format!("--progress=jsonl:{}", self.path.display())
    }

    /// Gives each batch its line.
    ///
    /// # Errors
    /// A line is missing, or of another batch.
    pub fn give_to(&mut self, batches: &mut [Seen]) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let lines = loop {
            let lines = self.of_batches()?;
            if lines.len() >= self.taken + batches.len() || batches.is_empty() {
                break lines;
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{} progress line(s) of batches, where {} are due",
                    lines.len(),
                    self.taken + batches.len()
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        for (seen, line) in batches.iter_mut().zip(lines.into_iter().skip(self.taken)) {
            let batch = line.get("batchId").and_then(Json::as_u64);
            if batch != Some(seen.record.batch.0) {
                return Err(format!("progress of batch {batch:?}, not {}", seen.record.batch));
            }
            seen.progress = Some(line);
        }
        self.taken += batches.len();
        Ok(())
    }

    /// The lines of triggers that made a batch.
    fn of_batches(&self) -> Result<Vec<Json>, String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        // The last piece may be half a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().map(|line| {
            serde_json::from_str(line).map_err(|error| format!("progress {line:?}: {error}"))
        });
        let lines: Vec<Json> = lines.collect::<Result<_, _>>()?;
        let made_a_batch = |line: &Json| object(line.get("durationMs")).contains_key("addBatch");
        Ok(lines.into_iter().filter(made_a_batch).collect())
    }
}

/// What differs in a batch's progress.
pub fn compare(case: &Case, topic: &str, wanted: &Json, seen: &Seen) -> Vec<String> {
    let Some(found) = &seen.progress else { return Vec::new() };
    let mut differences = Vec::new();
    let mut same = |what: &str, found: Option<&Json>, wanted: Option<&Json>| {
        if found != wanted {
            let text = |json: Option<&Json>| json.map_or("nothing".to_owned(), Json::to_string);
            differences.push(format!("{what} is {}, not {}", text(found), text(wanted)));
        }
    };
    same("numInputRows", found.get("numInputRows"), wanted.get("numInputRows"));
    let times = object(wanted.get("eventTime"));
    let found_times = found.get("eventTime").cloned().unwrap_or(Json::Object(Map::new()));
    same("eventTime", Some(&found_times), Some(&Json::Object(times.clone())));
    let sink = object(found.get("sink"));
    same("numOutputRows", sink.get("numOutputRows"), wanted.get("numOutputRows"));
    let (states, found_states) = (array(wanted.get("state")), array(found.get("stateOperators")));
    if states.len() != found_states.len() {
        let (got, wanted) = (found_states.len(), states.len());
        differences.push(format!("{got} state operators, not {wanted}"));
        return differences;
    }
    for (index, (wanted, found)) in states.iter().zip(found_states).enumerate() {
        for (key, number) in object(Some(wanted)) {
            if found.get(key) != Some(number) {
                let found = found.get(key).map_or("nothing".to_owned(), Json::to_string);
                differences.push(format!("{key} of operator {index} is {found}, not {number}"));
            }
        }
    }
    differences.extend(sources(case, topic, wanted, found));
    differences
}

/// Offsets as progress tells them, with the topic's own name.
fn sources(case: &Case, topic: &str, wanted: &Json, found: &Json) -> Option<String> {
    let wanted = array(wanted.get("sources")).first()?;
    let Some(found) = array(found.get("sources")).first() else {
        return Some("progress has no source".to_owned());
    };
    ["startOffset", "endOffset", "latestOffset"].into_iter().find_map(|key| {
        let renamed = wanted.get(key).map(|offsets| match offsets {
            Json::Object(topics) => {
                let topics = topics.iter().map(|(name, offsets)| {
                    let name = if name == case.topic() { topic } else { name };
                    (name.to_owned(), offsets.clone())
                });
                Json::Object(topics.collect())
            }
            other => other.clone(),
        });
        let differs = renamed.as_ref() != found.get(key);
        differs.then(|| format!("{key} is {:?}, not {renamed:?}", found.get(key)))
    })
}
