//! `inspect`: what is in a checkpoint, with the lag where a broker answers.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use super::{
    Failure,
    checkpoints::{behind, state_directory},
    client_settings,
};
use crate::{
    checkpoint::rocks::RocksView,
    cli::InspectArguments,
    engine::EngineError,
    inspect::{Filter, ReadLog, ReadRows, State, View, ViewError},
    source::{
        Source as _,
        kafka::{KafkaSource, KafkaSourceConfig},
    },
    types::{Offset, Partition},
};

/// How long to knock at a broker before lag is left out.
const KNOCK: Duration = Duration::from_millis(300);

pub(super) fn inspect(arguments: &InspectArguments) -> Result<(), Failure> {
    let failure = |error| {
        let error = EngineError::Checkpoint(error);
        Failure::new(error.exit_code(), error)
    };
    let directory = state_directory(&arguments.state)?;
    let stored = RocksView::open(&directory).map_err(failure)?;
    let mut history = stored.history().map_err(failure)?;
    history.drain(..history.len().saturating_sub(arguments.history));
    let problem = stored.problem().map_err(failure)?;
    if stored.recovered().genesis.is_none() && problem.is_some() {
        return behind(&directory, &stored);
    }
    let filter = Filter { window: arguments.window, key: arguments.key.clone() };
    let read_log: &ReadLog<'_> = &|visit| stored.log(visit);
    let read_rows: &ReadRows<'_> = &|visit| stored.groups(visit);
    let state = if stored.is_log_cut() {
        State::Hidden
    } else if stored.is_log() {
        State::Log(read_log)
    } else {
        State::Rows(read_rows)
    };
    let refused = |error| match error {
        ViewError::Checkpoint(error) => failure(error),
        ViewError::Empty | ViewError::Write(_) => {
            Failure::new(1, format!("{}: {error}", directory.display()))
        }
        error => Failure::new(11, format!("{}: {error}", directory.display())),
    };
    let view = View::new(stored.recovered().clone(), &state, history, &filter);
    let mut view = view.map_err(refused)?;
    view.problem = problem;
    view.ends = ends(arguments, &view).unwrap_or_default();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written =
        if arguments.json { view.write_json(&mut out) } else { view.write_text(&mut out) };
    match written.and_then(|()| Ok(out.flush()?)) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(ViewError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.map_err(refused)?,
    }
    behind(&directory, &stored)
}

/// The ends of the partitions; `None` when no broker answers, or what answers is another cluster or
/// another topic of that name.
fn ends(arguments: &InspectArguments, view: &View<'_>) -> Option<BTreeMap<Partition, Offset>> {
    let settings = client_settings(&arguments.connect, None, &[]).ok()?;
    let answers = |broker: &str| {
        let mut addresses = broker.to_socket_addrs().into_iter().flatten();
        addresses.any(|address| TcpStream::connect_timeout(&address, KNOCK).is_ok())
    };
    if !settings.brokers().split(',').any(answers) {
        return None;
    }
    let group_id = "sales-stream-inspect".to_owned();
    let topic = view.topic().to_owned();
    let config = KafkaSourceConfig {
        settings,
        topic,
        group_id,
        startup_timeout: None,
        follows_new_topic: false,
        queue_bytes: KafkaSourceConfig::QUEUE_BYTES,
    };
    let mut source = KafkaSource::new(config).ok()?;
    if !view.is_of(&source.describe().ok()?) {
        return None;
    }
    let bounds = source.bounds(&view.partitions_read()).ok()?;
    Some(bounds.into_iter().map(|(partition, bounds)| (partition, bounds.latest)).collect())
}
