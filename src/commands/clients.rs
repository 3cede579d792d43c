//! `produce`, `consume`, `broker`, `topics`: Kafka clients that make and look at input.
//!
//! Not here: what they do (`crate::producer`, `consume`, `broker`, `topics`).

use std::{
    fmt::Write as _,
    io::{self, BufWriter},
};

use super::{Failure, client_settings, print};
use crate::{
    broker,
    cli::{
        BrokerArguments, ConsumeArguments, CreateTopicArguments, ListTopicsArguments,
        ProduceCommand, ProduceSalesArguments, ProduceTransactionsArguments, Signals,
        TopicsCommand, say,
    },
    consume::{self, ConsumeOptions},
    engine::{Clock as _, SystemClock},
    kafka::{self, ClientSettings},
    producer::{
        self, BANNER, Bounds, Generate, SalesGenerator, SalesOptions, TransactionGenerator,
        TransactionOptions, Transactions,
    },
    stop::Stop,
    topics::{self, CreateTopic, TopicListed},
    types::Timestamp,
};

pub(super) fn produce(command: ProduceCommand, stop: &Stop) -> Result<(), Failure> {
    match command {
        ProduceCommand::Sales(arguments) => produce_sales(arguments, stop),
        ProduceCommand::Transactions(arguments) => produce_transactions(arguments, stop),
    }
}

fn produce_sales(arguments: ProduceSalesArguments, stop: &Stop) -> Result<(), Failure> {
    let settings = client_settings(&arguments.connect, None, &[])?;
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
    let mut bounds = Bounds::new(&arguments.topic, arguments.events.limit());
    bounds.timeout = arguments.patience.timeout;
    bounds.transactions = arguments.transaction_size.map(|size| Transactions {
        id: format!("sales-stream-produce-{}-{}", arguments.topic, arguments.seed),
        size,
        abort_every: arguments.abort_every,
    });
    send(&settings, &bounds, &mut generator, stop)
}

fn produce_transactions(
    arguments: ProduceTransactionsArguments,
    stop: &Stop,
) -> Result<(), Failure> {
    let settings = client_settings(&arguments.connect, None, &[])?;
    let start_time = arguments.start_time.unwrap_or_else(now);
    let seed = arguments.seed.unwrap_or_else(|| now().0.unsigned_abs());
    let mut options = TransactionOptions::new(start_time, jiff::tz::TimeZone::system(), seed);
    options.rate = arguments.rate;
    let mut bounds = Bounds::new(&arguments.topic, arguments.events.limit());
    bounds.timeout = arguments.patience.timeout;
    bounds.progress = false;
    print(BANNER)?;
    send(&settings, &bounds, &mut TransactionGenerator::new(options), stop)
}

fn send(
    settings: &ClientSettings,
    bounds: &Bounds,
    generator: &mut dyn Generate,
    stop: &Stop,
) -> Result<(), Failure> {
    let produced = producer::run(settings, bounds, generator, &mut io::stdout(), stop)
        .map_err(|error| Failure::kafka(error.kind(), error))?;
    say(format_args!("{produced}"));
    Ok(())
}

fn now() -> Timestamp {
    Timestamp(SystemClock.now_ms().saturating_mul(1000))
}

pub(super) fn consume(arguments: &ConsumeArguments, stop: &Stop) -> Result<(), Failure> {
    let settings = client_settings(&arguments.connect, None, &[])?;
    let options = ConsumeOptions {
        topic: arguments.topic.clone(),
        from_beginning: arguments.from_beginning,
        max: arguments.max,
        partition: arguments.partition,
        timeout: arguments.patience.timeout,
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout());
    let consumed = consume::run(&settings, &options, &mut out, stop)
        .map_err(|error| Failure::kafka(error.kind(), error))?;
    say(format_args!("{consumed}"));
    Ok(())
}

pub(super) fn broker(arguments: BrokerArguments, stop: &Stop) -> Result<(), Failure> {
    let topics = match arguments.topic {
        none if none.is_empty() => broker::default_topics(),
        named => named,
    };
    broker::run(&topics, &mut io::stdout(), &mut io::stderr(), stop)
        .map_err(|error| Failure::new(1, error))
}

pub(super) fn topics(command: TopicsCommand, signals: &Signals) -> Result<(), Failure> {
    match command {
        TopicsCommand::Create(arguments) => create_topic(&arguments, signals),
        TopicsCommand::List(arguments) => list_topics(&arguments, signals),
    }
}

fn create_topic(arguments: &CreateTopicArguments, signals: &Signals) -> Result<(), Failure> {
    let settings = client_settings(&arguments.connect, None, &[])?;
    let topic = CreateTopic {
        name: arguments.topic.clone(),
        partitions: arguments.partitions,
        replication: arguments.replication,
        if_not_exists: arguments.if_not_exists,
        timeout: arguments.patience.timeout,
    };
    let name = topic.name.clone();
    let created = kafka::unless_stopped(signals.stop(), move || topics::create(&settings, &topic))
        .ok_or_else(|| {
            let message = format!("stopped: whether topic {name} was created is not known");
            Failure::new(signals.code(), message)
        })?
        .map_err(|error| Failure::kafka(error.kind(), error))?;
    print(&format!("{created}\n"))
}

fn list_topics(arguments: &ListTopicsArguments, signals: &Signals) -> Result<(), Failure> {
    let settings = client_settings(&arguments.connect, None, &[])?;
    let (asked, timeout) = (settings.clone(), arguments.patience.timeout);
    let listed = kafka::unless_stopped(signals.stop(), move || topics::list(&asked, timeout))
        .ok_or_else(|| Failure::new(signals.code(), "stopped before Kafka listed the topics"))?
        .map_err(|error| Failure::kafka(error.kind(), error))?;
    if listed.is_empty() {
        say(format_args!(
            "there are no topics at {}; create one with `sales-stream topics create sales{}`",
            settings.brokers(),
            settings.brokers_option()
        ));
        return Ok(());
    }
    print(&topic_table(&listed))
}

fn topic_table(listed: &[TopicListed]) -> String {
    let width = listed.iter().map(|topic| topic.name.len()).max().unwrap_or(0).max("TOPIC".len());
    let mut table = format!("{:width$}  PARTITIONS\n", "TOPIC");
    for topic in listed {
        let note = match topic.without_leader {
            0 => String::new(),
            without => format!(" ({without} without a leader)"),
        };
        writeln!(table, "{:width$}  {}{note}", topic.name, topic.partitions)
            .expect("a String takes everything");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_listed_in_columns() {
        let topic = |name: &str, without_leader| TopicListed {
            name: name.to_owned(),
            partitions: 3,
            without_leader,
        };
        let table = topic_table(&[topic("a", 0), topic("long-name", 1)]);
        let expected = "\
TOPIC      PARTITIONS
a          3
long-name  3 (1 without a leader)
";
        assert_eq!(table, expected);
    }
}
