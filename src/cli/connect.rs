//! Where Kafka is and how to talk to it: the options that every command with a Kafka client takes.
//!
//! Not here: which options are refused (`crate::kafka`).

use clap::Args;

/// Where Kafka is and how to talk to it.
///
/// Options for librdkafka are kept as they were typed and read later, because a complaint by the
/// command line's reader would show their values.
#[derive(Clone, Default, Args)]
#[command(next_help_heading = "Kafka")]
pub struct ConnectArguments {
    /// Kafka's brokers, several with commas between them [default: localhost:9092]
    #[arg(long, value_name = "HOST:PORT", env = "SALES_STREAM_BROKERS")]
    pub brokers: Option<String>,
    /// A setting of librdkafka, for example security.protocol=SASL_SSL; may be repeated
    ///
    /// Passed on to the Kafka client (TLS, SASL, timeouts, buffers). Settings that the guarantees rest
    /// on cannot be changed. In the environment, where secrets are better kept than in arguments: one
    /// NAME=VALUE a line.
    #[arg(
        long,
        value_name = "NAME=VALUE",
        env = "SALES_STREAM_KAFKA_OPTIONS",
        allow_hyphen_values = true
    )]
    pub kafka_option: Vec<String>,
    /// Let through --kafka-option settings that run commands or load code
    #[arg(long, env = "SALES_STREAM_ALLOW_UNSAFE_KAFKA_OPTIONS")]
    pub allow_unsafe_kafka_options: bool,
}

/// Without the values of options: one may be a password.
impl std::fmt::Debug for ConnectArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectArguments")
            .field("brokers", &self.brokers)
            .field("kafka_option", &self.kafka_option.len())
            .field("allow_unsafe_kafka_options", &self.allow_unsafe_kafka_options)
            .finish()
    }
}
