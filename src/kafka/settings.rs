//! What a user may set on the product's Kafka clients, and how it is shown.
//!
//! Invariants: see the tables [`OWNED`], [`UNSAFE`], [`SHOWN`] and [`PASSED`]. An option is passed on only
//! if it is in one of the last two or was allowed by the user, and its value is shown only if it is in
//! `SHOWN`: librdkafka grows new ways to load code and new secrets with each release, so an unknown
//! option counts as both. Not here: the options of one kind of client (`producer`, `source/kafka`).

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
    ("log.connection.close", "the log level is set with --log-level"),
    ("log.queue", "the log level is set with RUST_LOG"),
    ("log_level", "the log level is set with RUST_LOG"),
    ("test.mock.num.brokers", "use `sales-stream broker`"),
];

/// Options that load code, end up in a shell, or make the client send what it reads from files to an
/// address of choice. The Kerberos ones are pasted unquoted into `sasl.kerberos.kinit.cmd`, which
/// librdkafka gives to `system` (`rdkafka_sasl_cyrus.c`).
const UNSAFE: &[&str] = &[
    "plugin.library.paths",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.token.endpoint.url",
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

/// Options that can do no harm in this process; a value may be a secret.
const PASSED: &[&str] = &[
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "broker.address.ttl",
    "broker.version.fallback",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.metrics.push",
    "enable.random.seed",
    "enable.sasl.oauthbearer.unsecure.jwt",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "https.ca.location",
    "https.ca.pem",
    "internal.termination.signal",
    "log.thread.name",
    "max.in.flight",
    "max.poll.interval.ms",
    "message.copy.max.bytes",
    "message.send.max.retries",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy",
    "offset.store.sync.interval.ms",
    "produce.offset.report",
    "queue.buffering.backpressure.threshold",
    "queuing.strategy",
    "reconnect.backoff.jitter.ms",
    "retry.backoff.max.ms",
    "sasl.kerberos.min.time.before.relogin",
    "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.password",
    "sasl.username",
    "socket.blocking.max.ms",
    "socket.max.fails",
    "ssl.ca.certificate.stores",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
    "sticky.partitioning.linger.ms",
    "topic.blacklist",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.sparse",
    "transaction.timeout.ms",
];

/// Options whose values name files, protocols and users: no secrets, so that they may stay in a message.
const NAMES: &[&str] = &[
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "sasl.username",
    "ssl.cipher.suites",
    "sasl.oauthbearer.method",
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
        "the Kafka option {key} can run commands, load code into this process or give files away: if \
         that is what you want, add --allow-unsafe-kafka-options"
    )]
    Unsafe {
        /// The option.
        key: String,
    },
    /// Whether it can do harm is not known.
    #[error(
        "the Kafka option {key} is not among those that are known to do no harm: look at its name \
         again, or add --allow-unsafe-kafka-options to pass it on nevertheless"
    )]
    Unlisted {
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

    /// The values that may be secrets, for taking them out of what the client library says.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        let is_told = |key: &str| SHOWN.contains(&key) || NAMES.contains(&key);
        let hides = |value: &str| value.len() > "***".len();
        let values = self.options.iter().filter(|(key, value)| !is_told(key) && hides(value));
        Secrets(values.map(|(_, value)| value.clone()).collect())
    }

    /// What makes connections less safe than they look, each a clause that names the option.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<&'static str> {
        let is = |wanted: &str, values: &[&str]| {
            let last = self.options.iter().rev().find(|(key, _)| key == wanted);
            last.is_some_and(|(_, value)| values.iter().any(|one| value.eq_ignore_ascii_case(one)))
        };
        let mut found = Vec::new();
        if is("enable.ssl.certificate.verification", &["false", "f", "0"]) {
            found.push(
                "enable.ssl.certificate.verification=false: brokers' certificates are not checked",
            );
        }
        if is("ssl.endpoint.identification.algorithm", &["none"]) {
            found.push(
                "ssl.endpoint.identification.algorithm=none: any host with a certificate of the CA \
                 passes for a broker",
            );
        }
        if is("security.protocol", &["sasl_plaintext"]) {
            found.push(
                "security.protocol=SASL_PLAINTEXT: the login and all records go over the network \
                 without encryption",
            );
        }
        found
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
            // Why a first connection is closed comes as a log line only.
            .set("log.connection.close", "true")
            .set_log_level(log_level());
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config
    }
}

/// librdkafka makes no lines below this level: as far as the log would show them, or the context needs.
fn log_level() -> RDKafkaLogLevel {
    if tracing::enabled!(target: "sales_stream::kafka", tracing::Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        // The context needs the lines about closed connections.
        RDKafkaLogLevel::Info
    }
}

fn check(key: &str, trust: Trust) -> Result<(), SettingsError> {
    // librdkafka itself takes "topic.acks" for "acks" (`rd_kafka_topic_conf_set`).
    let bare = key.strip_prefix("topic.").unwrap_or(key);
    let is = |name: &str| name == key || name == bare;
    if let Some((_, instead)) = OWNED.iter().find(|(name, _)| is(name)) {
        return Err(SettingsError::Owned { key: key.to_owned(), instead });
    }
    let is_in = |table: &[&str]| table.iter().any(|name| is(name));
    let key = || key.to_owned();
    match trust {
        Trust::AllowUnsafeOptions => Ok(()),
        Trust::SafeOptionsOnly if is_in(UNSAFE) => Err(SettingsError::Unsafe { key: key() }),
        Trust::SafeOptionsOnly if is_in(SHOWN) || is_in(PASSED) => Ok(()),
        Trust::SafeOptionsOnly => Err(SettingsError::Unlisted { key: key() }),
    }
}

/// Values that no log and no error may show.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

/// So many bytes of a secret in a row give it away.
const TELLING_BYTES: usize = 6;

impl Secrets {
    /// `text` with stars for every part of it that is a part of a secret, too: the client library quotes
    /// the rest of a value that it cannot read.
    #[must_use]
    pub fn hidden_in(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for secret in &self.0 {
            // A shorter one could be any word; only the whole of it is hidden.
            let window = TELLING_BYTES.min(secret.len());
            // It ends: what is taken out is longer than the stars.
            while let Some(found) = shared(&hidden, secret, window) {
                hidden.replace_range(found, "***");
            }
        }
        hidden
    }
}

/// Where the first part of `text` is that is also in `secret`, `window` bytes at least, as long as it goes.
fn shared(text: &str, secret: &str, window: usize) -> Option<std::ops::Range<usize>> {
    let is_in_secret =
        |range: std::ops::Range<usize>| text.get(range).is_some_and(|part| secret.contains(part));
    let start = (0..=text.len().checked_sub(window)?)
        .find(|start| is_in_secret(*start..*start + window))?;
    let end = (start + window..=text.len())
        .take_while(|end| !text.is_char_boundary(*end) || is_in_secret(start..*end))
        .filter(|end| text.is_char_boundary(*end))
        .last()?;
    Some(start..end)
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
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

    /// The names in the table that the linked librdkafka prints of its own options.
    fn names_of_librdkafka() -> Vec<String> {
        let file = tempfile::tempfile().unwrap();
        let kept = file.try_clone().unwrap();
        // SAFETY: the descriptor is handed over to the stream, which is closed once.
        unsafe {
            let stream = libc::fdopen(std::os::fd::IntoRawFd::into_raw_fd(file), c"w".as_ptr());
            assert!(!stream.is_null());
            rdkafka::bindings::rd_kafka_conf_properties_show(stream.cast());
            libc::fclose(stream);
        }
        let mut table = String::new();
        std::io::Seek::rewind(&mut &kept).unwrap();
        std::io::Read::read_to_string(&mut &kept, &mut table).unwrap();
        table
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(name, _)| name.trim().to_owned())
            .filter(|name| name.contains('.') || ["acks", "debug", "retries"].contains(&&**name))
            .collect()
    }

    #[test]
    fn every_option_of_the_linked_librdkafka_is_judged_once() {
        let names = names_of_librdkafka();
        assert!(names.len() > 150, "the table was read: {}", names.len());
        for name in names {
            let owned = OWNED.iter().filter(|(key, _)| *key == name).count();
            let others =
                [UNSAFE, SHOWN, PASSED].map(|t| t.iter().filter(|key| **key == name).count());
            // Those are set by code, or only read.
            let is_no_option = name.ends_with("_cb") || name == "builtin.features";
            let expected = usize::from(!is_no_option);
            assert_eq!(owned + others.iter().sum::<usize>(), expected, "{name}");
        }
    }

    #[test]
    fn an_option_that_nobody_judged_needs_permission() {
        for key in ["some.future.option", "ssl_key", "test.mock.broker.rtt", "topic.nothing"] {
            let refused = settings(&[(key, "hunter2")], Trust::SafeOptionsOnly).unwrap_err();
            assert!(matches!(refused, SettingsError::Unlisted { .. }), "{refused:?}");
            assert!(!refused.to_string().contains("hunter2"));
            assert!(settings(&[(key, "x")], Trust::AllowUnsafeOptions).is_ok(), "{key}");
        }
        assert!(settings(&[("topic.linger.ms", "5")], Trust::SafeOptionsOnly).is_ok());
    }

    #[test]
    fn secrets_and_their_ends_are_taken_out_of_sentences() {
        let settings = settings(
            &[
                ("sasl.oauthbearer.config", "principal=me hunter2=rabbit"),
                ("sasl.password", "pässwörd"),
                ("ssl.ca.location", "/etc/ssl/ca.pem"),
            ],
            Trust::SafeOptionsOnly,
        )
        .unwrap();
        let check = |text, expected| assert_eq!(settings.secrets().hidden_in(text), expected);
        check("Unrecognized, beginning at:hunter2=rabbit", "Unrecognized, beginning at:***");
        check("no /etc/ssl/ca.pem, wrong pässwörd!", "no /etc/ssl/ca.pem, wrong ***!");
        check("nothing to hide", "nothing to hide");
        check("", "");
        assert!(!format!("{:?}", settings.secrets()).contains("hunter"));
    }

    #[test]
    fn what_weakens_a_connection_is_named() {
        let check = |key, value, expected: usize| {
            let settings = settings(&[(key, value)], Trust::SafeOptionsOnly).unwrap();
            assert_eq!(settings.weaknesses().len(), expected, "{key}={value}");
        };
        check("enable.ssl.certificate.verification", "False", 1);
        check("enable.ssl.certificate.verification", "true", 0);
        check("ssl.endpoint.identification.algorithm", "none", 1);
        check("security.protocol", "sasl_plaintext", 1);
        check("security.protocol", "sasl_ssl", 0);
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
            Trust::AllowUnsafeOptions,
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
