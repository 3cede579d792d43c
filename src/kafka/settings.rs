//! What a user may set on the product's Kafka clients, and how it is shown.
//!
//! Invariants: see the tables [`OWNED`], [`UNSAFE`] and [`SHOWN`]. An option's value is shown only if
//! the option is in `SHOWN`: librdkafka grows new secrets with each release, so an unknown option
//! counts as one. Not here: the options of one kind of client (`producer`, `source/kafka`).

use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

/// Kafka when nothing is said.
pub const DEFAULT_BROKERS: &str = "localhost:9092";

/// Options that the product's guarantees rest on, with what to use instead.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use --brokers"),
    ("metadata.broker.list", "use --brokers"),
    ("group.id", "use --group-id"),
    ("auto.offset.reset", "use --starting-offsets; later positions come from the checkpoint"),
    ("enable.auto.commit", "offsets are committed only after the checkpoint"),
    ("auto.commit.enable", "offsets are committed only after the checkpoint"),
    ("auto.commit.interval.ms", "offsets are committed only after the checkpoint"),
    ("enable.auto.offset.store", "offsets are committed only after the checkpoint"),
    ("offset.store.method", "positions are stored in the checkpoint"),
    ("offset.store.path", "positions are stored in the checkpoint"),
    ("isolation.level", "records of open or aborted transactions are never read"),
    ("check.crcs", "checksums are always checked"),
    ("group.instance.id", "partitions are assigned by the process itself, not by the group"),
    ("group.protocol", "partitions are assigned by the process itself, not by the group"),
    ("partition.assignment.strategy", "partitions are assigned by the process itself"),
    ("enable.partition.eof", "the end of a partition is always reported where it matters"),
    ("allow.auto.create.topics", "use `sales-stream topics create`"),
    ("acks", "every record is acknowledged by all in-sync replicas"),
    ("request.required.acks", "every record is acknowledged by all in-sync replicas"),
    ("enable.idempotence", "producing is always idempotent"),
    ("enable.gapless.guarantee", "producing is always idempotent"),
    ("transactional.id", "the product names its transactions"),
    ("partitioner", "records are partitioned by key as Kafka's own tools do"),
    ("delivery.report.only.error", "the product counts its own acknowledgements"),
    ("log.queue", "the log level is set with RUST_LOG"),
    ("log_level", "the log level is set with RUST_LOG"),
    ("test.mock.num.brokers", "use `sales-stream broker`"),
];

/// Options that load code or end up in a shell. The Kerberos ones are pasted unquoted into
/// `sasl.kerberos.kinit.cmd`, which librdkafka gives to `system` (`rdkafka_sasl_cyrus.c`).
const UNSAFE: &[&str] = &[
    "plugin.library.paths",
    "ssl.engine.location",
    "ssl.engine.id",
    "ssl.providers",
    "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
];

/// Options whose values hold no secret.
const SHOWN: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "bootstrap.servers",
    "broker.address.family",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "debug",
    "delivery.timeout.ms",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retries",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.endpoint.identification.algorithm",
    "statistics.interval.ms",
    "topic.metadata.refresh.interval.ms",
];

/// Whether options that run commands or load code are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// They are refused: the default.
    #[default]
    SafeOptionsOnly,
    /// They are passed on, because the user said so on the command line.
    AllowUnsafeOptions,
}

/// An option that is not passed on. No variant holds the option's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No broker was named.
    #[error("no broker is named: give --brokers host:port (several with commas between them)")]
    NoBrokers,
    /// Not of the form `key=value`.
    #[error("a Kafka option is written key=value, as in --kafka-option security.protocol=SASL_SSL")]
    NotAPair,
    /// The product sets this one itself.
    #[error("the Kafka option {key} cannot be set: {instead}")]
    Owned {
        /// The option.
        key: String,
        /// What to use, or why not.
        instead: &'static str,
    },
    /// It would run a command or load code.
    #[error(
        "the Kafka option {key} can run commands or load code into this process: if that is what \
         you want, add --allow-unsafe-kafka-options"
    )]
    Unsafe {
        /// The option.
        key: String,
    },
}

/// Where Kafka is and how to talk to it; valid by construction, shown without secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSettings {
    brokers: String,
    options: Vec<(String, String)>,
}

impl ClientSettings {
    /// Takes broker addresses (`host:port`, with commas) and librdkafka options; of an option given
    /// twice the last counts.
    ///
    /// # Errors
    /// No broker, or an option that is not the user's to set. Names and values that librdkafka does
    /// not know are found when a client is made.
    pub fn new(
        brokers: impl Into<String>,
        options: Vec<(String, String)>,
        trust: Trust,
    ) -> Result<ClientSettings, SettingsError> {
        let brokers = brokers.into();
        if brokers.split(',').all(|broker| broker.trim().is_empty()) {
            return Err(SettingsError::NoBrokers);
        }
        options.iter().try_for_each(|(key, _)| check(key, trust))?;
        Ok(ClientSettings { brokers, options })
    }

    /// Splits `key=value` at the first equals sign.
    ///
    /// # Errors
    /// There is none, or nothing before it.
    pub fn parse_option(text: &str) -> Result<(String, String), SettingsError> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(SettingsError::NotAPair),
        }
    }

    /// The broker addresses as they were given.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// ` --brokers …` for a command to type next, or nothing where it would say the default.
    #[must_use]
    pub fn brokers_option(&self) -> String {
        if self.brokers == DEFAULT_BROKERS {
            String::new()
        } else {
            format!(" --brokers {}", self.brokers)
        }
    }

    /// The configuration every client starts from: base settings, then the user's options. What a
    /// kind of client needs is set on top by whoever makes it.
    ///
    /// `ClientConfig`'s own `Debug` shows secrets that it does not know: print these settings instead.
    #[must_use]
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "sales-stream")
            .set("socket.keepalive.enable", "true")
            // A mistyped topic must be an error, not a topic with the broker's default partitions.
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.max.ms", "2000")
            // Idle connections are closed by brokers as a matter of course.
            .set("log.connection.close", "false")
            .set_log_level(log_level());
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config
    }
}

/// librdkafka makes no lines below this level, so it follows what the log would show.
fn log_level() -> RDKafkaLogLevel {
    if tracing::enabled!(target: "sales_stream::kafka", tracing::Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Warning
    }
}

fn check(key: &str, trust: Trust) -> Result<(), SettingsError> {
    // librdkafka itself takes "topic.acks" for "acks" (`rd_kafka_topic_conf_set`).
    let bare = key.strip_prefix("topic.").unwrap_or(key);
    let is = |name: &str| name == key || name == bare;
    if let Some((_, instead)) = OWNED.iter().find(|(name, _)| is(name)) {
        return Err(SettingsError::Owned { key: key.to_owned(), instead });
    }
    if trust == Trust::SafeOptionsOnly && UNSAFE.iter().any(|name| is(name)) {
        return Err(SettingsError::Unsafe { key: key.to_owned() });
    }
    Ok(())
}

impl fmt::Display for ClientSettings {
    /// `brokers=…, key=value, secret=***`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "brokers={}", self.brokers)?;
        for (key, value) in &self.options {
            let shown = if SHOWN.contains(&key.as_str()) { value } else { "***" };
            write!(f, ", {key}={shown}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientSettings({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[(&str, &str)], trust: Trust) -> Result<ClientSettings, SettingsError> {
        let options =
            options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ClientSettings::new("localhost:9092", options, trust)
    }

    #[test]
    fn options_that_run_commands_or_load_code_need_permission() {
        for key in UNSAFE {
            let refused = settings(&[(key, "x")], Trust::SafeOptionsOnly).unwrap_err();
            assert!(refused.to_string().contains("--allow-unsafe-kafka-options"), "{refused}");
            assert!(settings(&[(key, "x")], Trust::AllowUnsafeOptions).is_ok());
        }
    }

    #[test]
    fn options_the_guarantees_rest_on_are_refused_with_what_to_use() {
        let check = |key, expected: &str| {
            let message =
                settings(&[(key, "x")], Trust::AllowUnsafeOptions).unwrap_err().to_string();
            assert!(message.contains(key) && message.contains(expected), "{message}");
        };
        check("group.id", "--group-id");
        check("bootstrap.servers", "--brokers");
        check("auto.offset.reset", "--starting-offsets");
        check("enable.auto.commit", "checkpoint");
        check("topic.acks", "in-sync");
        check("topic.auto.offset.reset", "--starting-offsets");
    }

    #[test]
    fn only_values_known_to_be_harmless_are_shown() {
        let settings = settings(
            &[
                ("security.protocol", "SASL_SSL"),
                ("sasl.password", "hunter2"),
                ("ssl.key.pem", "hunter3"),
                ("some.future.option", "hunter4"),
            ],
            Trust::SafeOptionsOnly,
        )
        .unwrap();
        let shown = format!("{settings} {settings:?}");
        assert!(shown.contains("security.protocol=SASL_SSL"), "{shown}");
        assert!(shown.contains("sasl.password=***"), "{shown}");
        assert!(!shown.contains("hunter"), "{shown}");
    }

    #[test]
    fn the_users_options_reach_the_client() {
        let settings = settings(&[("client.id", "mine")], Trust::SafeOptionsOnly).unwrap();
        let native = settings.client_config().create_native_config().unwrap();
        assert_eq!(native.get("client.id").unwrap(), "mine");
        assert_eq!(native.get("bootstrap.servers").unwrap(), "localhost:9092");
    }

    #[test]
    fn an_option_is_split_at_its_first_equals_sign() {
        assert_eq!(
            ClientSettings::parse_option("sasl.password=a=b"),
            Ok(("sasl.password".to_owned(), "a=b".to_owned()))
        );
        assert_eq!(ClientSettings::parse_option("secret"), Err(SettingsError::NotAPair));
        assert_eq!(ClientSettings::parse_option("=x"), Err(SettingsError::NotAPair));
    }

    #[test]
    fn a_broker_must_be_named() {
        let refused = ClientSettings::new(" ,", Vec::new(), Trust::SafeOptionsOnly);
        assert_eq!(refused, Err(SettingsError::NoBrokers));
    }
}
