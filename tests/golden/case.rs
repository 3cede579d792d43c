//! A case as it lies on disk: what was done to Spark, and what Spark did.
//!
//! The format is described in `spark/README.md`. Values stay JSON where only one place looks at them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// A version of Spark that cases were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V35,
    V4,
}

impl Version {
    pub const ALL: [Version; 2] = [Version::V35, Version::V4];

    /// The directory its cases are in.
    pub fn directory(self) -> &'static str {
        match self {
            Version::V35 => "3.5.7",
            Version::V4 => "4.2.0",
        }
    }

    /// Its name in specs.
    pub fn compat(self) -> &'static str {
        match self {
            Version::V35 => "spark-3.5",
            Version::V4 => "spark-4",
        }
    }
}

/// Where a case is.
#[derive(Clone, Debug)]
pub struct Place {
    pub version: Version,
    pub name: String,
    pub directory: PathBuf,
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub version: Version,
    /// `case.json`, whole.
    pub json: Map<String, Value>,
    pub steps: Vec<Step>,
    pub console: Vec<u8>,
    pub events: Vec<Event>,
    /// `offsets/N` and `commits/N` at the end.
    pub checkpoint: Map<String, Value>,
}

/// One thing that was done.
#[derive(Clone, Debug)]
pub enum Step {
    Produce(Vec<Record>),
    Start(Map<String, Value>),
    Stop,
    Delete(Vec<String>),
    AddPartitions(i32),
    RecreateTopic(i32),
    Wait(f64),
}

/// One record to produce.
#[derive(Clone, Debug)]
pub struct Record {
    pub partition: i32,
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
}

/// What a step made the query do.
#[derive(Clone, Debug)]
pub struct Event {
    pub after_step: usize,
    pub error: Option<String>,
    /// As in `expected_batches.json`.
    pub batches: Vec<Value>,
}

/// Every case of a directory `DIR/VERSION/CASE`, in order of version and name.
pub fn find(root: &Path) -> Vec<Place> {
    let mut places = Vec::new();
    for version in Version::ALL {
        let Ok(entries) = fs::read_dir(root.join(version.directory())) else { continue };
        for entry in entries {
            let directory = entry.expect("a directory's entries can be read").path();
            if directory.join("case.json").is_file() {
                let name = directory.file_name().expect("an entry has a name");
                let name = name.to_string_lossy().into_owned();
                places.push(Place { version, name, directory });
            }
        }
    }
    places.sort_by(|one, other| (one.version, &one.name).cmp(&(other.version, &other.name)));
    places
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// What is missing or not as described.
    pub fn read(place: &Place) -> Result<Case, String> {
        let json = read_json(&place.directory.join("case.json"))?;
        let steps = array(json.get("steps")).iter().map(step).collect::<Result<_, _>>()?;
        let batches = read_json(&place.directory.join("expected_batches.json"))?;
        let events = array(batches.get("events")).iter().map(event).collect::<Result<_, _>>()?;
        let console = place.directory.join("expected_console.txt");
        Ok(Case {
            version: place.version,
            steps,
            console: fs::read(&console)
                .map_err(|error| format!("reading {}: {error}", console.display()))?,
            events,
            checkpoint: object(batches.get("checkpoint")).clone(),
            json,
        })
    }

    pub fn text(&self, key: &str) -> &str {
        self.json.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The topic's name in the expected texts.
    pub fn topic(&self) -> &str {
        self.text("topic")
    }

    /// The name the topic had, which orders its partitions.
    pub fn real_topic(&self) -> &str {
        match self.text("real_topic") {
            "" => self.topic(),
            name => name,
        }
    }

    pub fn partitions(&self) -> i32 {
        let partitions = self.json.get("partitions").and_then(Value::as_i64).unwrap_or(1);
        i32::try_from(partitions).expect("partitions are few")
    }

    pub fn has_step(&self, test: impl Fn(&Step) -> bool) -> bool {
        self.steps.iter().any(test)
    }

    /// Whether it does what the embedded broker cannot.
    pub fn needs_real_kafka(&self) -> bool {
        self.has_step(|step| matches!(step, Step::AddPartitions(_) | Step::RecreateTopic(_)))
            || object(self.json.get("source_options")).keys().any(|name| name.contains("Timestamp"))
    }

    /// The event of a step, if it ran something.
    pub fn event(&self, step: usize) -> Option<&Event> {
        self.events.iter().find(|event| event.after_step == step)
    }
}

/// A JSON array, or an empty one.
pub fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// A JSON object, or an empty one.
pub fn object(value: Option<&Value>) -> &Map<String, Value> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.and_then(Value::as_object).unwrap_or(&EMPTY)
}

fn read_json(path: &Path) -> Result<Map<String, Value>, String> {
    let text = fs::read(path).map_err(|error| format!("reading {}: {error}", path.display()))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(format!("{} holds no object", path.display())),
        Err(error) => Err(format!("{} is not JSON: {error}", path.display())),
    }
}

fn step(json: &Value) -> Result<Step, String> {
    let bad = || format!("a step that is not known: {json}");
    let (verb, value) = json.as_object().and_then(|step| step.iter().next()).ok_or_else(bad)?;
    let count = || value.as_i64().and_then(|count| i32::try_from(count).ok()).ok_or_else(bad);
    Ok(match verb.as_str() {
        "produce" => Step::Produce(array(Some(value)).iter().map(record).collect()),
        "start" => Step::Start(object(Some(value)).clone()),
        "stop" => Step::Stop,
        "delete" => {
            let files = array(Some(value)).iter().filter_map(Value::as_str).map(str::to_owned);
            Step::Delete(files.collect())
        }
        "add_partitions" => Step::AddPartitions(count()?),
        "recreate_topic" => Step::RecreateTopic(count()?),
        "wait" => Step::Wait(value.as_f64().ok_or_else(bad)?),
        _ => return Err(bad()),
    })
}

fn record(json: &Value) -> Record {
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let value = match text("value_b64") {
        Some(base64) => Some(from_base64(base64)),
        None => text("value").map(|value| value.as_bytes().to_vec()),
    };
    let partition = json.get("partition").and_then(Value::as_i64).unwrap_or(0);
    Record {
        partition: i32::try_from(partition).expect("partitions are few"),
        key: text("key").map(str::to_owned),
        value,
    }
}

fn event(json: &Value) -> Result<Event, String> {
    let after_step = json.get("after_step").and_then(Value::as_u64);
    let after_step = after_step.ok_or_else(|| format!("an event without its step: {json}"))?;
    Ok(Event {
        after_step: usize::try_from(after_step).expect("steps are few"),
        error: json.get("error").and_then(Value::as_str).map(str::to_owned),
        batches: array(json.get("batches")).to_vec(),
    })
}

/// Standard base64 with padding.
fn from_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for character in text.bytes().filter(|byte| !matches!(byte, b'=' | b'\n')) {
        let six = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other:#x} is not base64"),
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).expect("eight bits"));
        }
    }
    bytes
}
