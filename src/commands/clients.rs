//! `produce`, `consume`, `broker`, `topics`: Kafka clients that make and look at input.

use std::io::{self, BufWriter, Write as _};

use super::{Failure, client_settings};
use crate::{
    broker::{self, BrokerError},
    cli::{
        BrokerArguments, ConsumeArguments, ProduceCommand, ProduceSalesArguments,
        ProduceTransactionsArguments, TopicsCommand,
    },
    consume::{self, ConsumeOptions},
    engine::{Clock as _, SystemClock},
    producer::{
        Bounds, Generate, SalesGenerator, SalesOptions, TransactionGenerator, TransactionOptions,
        BANNER,
    },
    stop::Stop,
    topics::{self, CreateTopic},
    types::Timestamp,
};

pub(super) fn produce(command: ProduceCommand, stop: &Stop) -> Result<(), Failure> {
    match command {
        ProduceCommand::Sales(arguments) => produce_sales(arguments, stop),
        ProduceCommand::Transactions(arguments) => produce_transactions(arguments, stop),
    }
}

fn produce_sales(arguments: ProduceSalesArguments, stop: &Stop) -> Result<(), Failure> {
    let mut generator = SalesGenerator::new(SalesOptions {
        stores: arguments.stores,
        seed: arguments.seed,
        out_of_order: arguments.out_of_order,
        late_fraction: arguments.late_fraction,
        malformed_fraction: arguments.malformed_fraction,
        start_time: arguments.start_time.unwrap_or_else(now),
        time_scale: arguments.time_scale,
        rate: arguments.rate,
    });
    let settings = client_settings(&arguments.connect, None, &[])?;
    let bounds = Bounds::new(&arguments.topic, arguments.events);
    send(&settings, &bounds, &mut generator, stop)
}

fn produce_transactions(
    arguments: ProduceTransactionsArguments,
    stop: &Stop,
) -> Result<(), Failure> {
    let start_time = arguments.start_time.unwrap_or_else(now);
    let seed = arguments.seed.unwrap_or_else(|| now().0.unsigned_abs());
    let mut options = TransactionOptions::new(start_time, jiff::tz::TimeZone::system(), seed);
    options.rate = arguments.rate;
    let settings = client_settings(&arguments.connect, None, &[])?;
    let mut bounds = Bounds::new(&arguments.topic, Some(arguments.events));
    bounds.progress = false;
    println!("{BANNER}");
    send(&settings, &bounds, &mut TransactionGenerator::new(options), stop)
}

fn send(
    settings: &crate::kafka::ClientSettings,
    bounds: &Bounds,
    generator: &mut dyn Generate,
    stop: &Stop,
) -> Result<(), Failure> {
    let produced = crate::producer::run(settings, bounds, generator, &mut io::stdout(), stop)
        .map_err(|error| Failure::kafka(error.kind(), error))?;
    eprintln!("{produced}");
    Ok(())
}

fn now() -> Timestamp {
    Timestamp(SystemClock.now_ms().saturating_mul(1000))
}

pub(super) fn consume(arguments: &ConsumeArguments, stop: &Stop) -> Result<(), Failure> {
    let settings = client_settings(&arguments.connect, None, &[])?;
    let options = ConsumeOptions {
        from_beginning: arguments.from_beginning,
        max: arguments.max,
        partition: arguments.partition,
        ..ConsumeOptions::new(&arguments.topic)
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    let consumed = consume::run(&settings, &options, &mut out, stop)
        .map_err(|error| Failure::kafka(error.kind(), error))?;
    eprintln!("{consumed}");
    Ok(())
}

pub(super) fn broker(arguments: &BrokerArguments, stop: &Stop) -> Result<(), Failure> {
    let topics = if arguments.topic.is_empty() {
        broker::default_topics()
    } else {
        arguments.topic.clone()
    };
    broker::run(&topics, &mut io::stdout(), &mut io::stderr(), stop)
        .map_err(|error: BrokerError| Failure::new(1, error))
}

pub(super) fn topics(command: TopicsCommand) -> Result<(), Failure> {
    match command {
        TopicsCommand::Create { name, partitions, replication, if_not_exists, connect } => {
            let settings = client_settings(&connect, None, &[])?;
            let topic =
                CreateTopic { replication, if_not_exists, ..CreateTopic::new(&name, partitions) };
            let created = topics::create(&settings, &topic)
                .map_err(|error| Failure::kafka(error.kind(), error))?;
            println!("{created}");
            Ok(())
        }
        TopicsCommand::List { connect } => {
            let settings = client_settings(&connect, None, &[])?;
            let listed = topics::list(&settings, CreateTopic::DEFAULT_TIMEOUT)
                .map_err(|error| Failure::kafka(error.kind(), error))?;
            let mut out = io::stdout().lock();
            for topic in listed {
                let note = match topic.without_leader {
                    0 => String::new(),
                    without => format!("  ({without} without a leader)"),
                };
                // A reader that has seen enough is no failure.
                if writeln!(out, "{}  {} partitions{note}", topic.name, topic.partitions).is_err() {
                    break;
                }
            }
            Ok(())
        }
    }
}
