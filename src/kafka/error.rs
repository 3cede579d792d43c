//! Failures of Kafka clients, sorted by what the operator does next.
//!
//! Invariant: no message holds an option's value (librdkafka's own text for a refused option does).
//!
//! Not here: exit codes (`cli` maps [`ErrorKind`] to one).

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaConfRes;

use super::{KafkaContext, Refusal};

/// What a failure asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No broker answered (in time): retry, or start one, or name another.
    Unreachable,
    /// Kafka answered and said no, or the client can never work again: the operator must change
    /// something.
    Refused,
    /// The client itself does not take the options it was given; nothing was sent.
    Usage,
    /// Anything else.
    Other,
}

/// A step that Kafka or its client let fail, as one sentence with what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KafkaFailure {
    attempted: String,
    kind: ErrorKind,
    reason: String,
    advice: String,
}

impl fmt::Display for KafkaFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.attempted, self.reason)?;
        if !self.advice.is_empty() {
            write!(f, ". {}", self.advice)?;
        }
        Ok(())
    }
}

impl KafkaFailure {
    /// Sorts `error`. `attempted` names the step and its object, as in "looking up topic sales".
    #[must_use]
    pub fn new(attempted: impl Into<String>, error: KafkaError) -> KafkaFailure {
        KafkaFailure {
            attempted: attempted.into(),
            kind: kind_of(&error),
            advice: advice_on(&error).to_owned(),
            reason: reason(&error),
        }
    }

    /// A refusal that the client reported on the side, while the step itself only timed out.
    #[must_use]
    pub fn refused(attempted: impl Into<String>, refusal: &Refusal) -> KafkaFailure {
        KafkaFailure {
            attempted: attempted.into(),
            kind: ErrorKind::Refused,
            reason: refusal.reason.clone(),
            advice: advice(refusal.code).to_owned(),
        }
    }

    /// Advises on starting a broker at, or choosing another than, the client's, if none was reached.
    #[must_use]
    pub fn of_client(mut self, context: &KafkaContext) -> KafkaFailure {
        if self.kind == ErrorKind::Unreachable {
            let why = context.unreached().unwrap_or(self.reason);
            self.reason = format!("no broker answered at {} ({why})", context.brokers());
            self.advice = "Name your cluster with --brokers host:port, start a broker to try \
                           things out with `sales-stream broker`, or watch it all at work with \
                           `sales-stream demo`"
                .to_owned();
        }
        self
    }

    /// What the failure asks for.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Sorts an error of the client library.
#[must_use]
pub fn kind_of(error: &KafkaError) -> ErrorKind {
    match error {
        KafkaError::MessageConsumptionFatal(_) => ErrorKind::Refused,
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => ErrorKind::Usage,
        _ => code_of(error).map_or(ErrorKind::Other, kind_of_code),
    }
}

pub(super) fn kind_of_code(code: RDKafkaErrorCode) -> ErrorKind {
    use RDKafkaErrorCode as Code;
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::TimedOutQueue
        | Code::MessageTimedOut
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::BrokerNotAvailable
        | Code::BrokerDestroy
        | Code::DestroyBroker => ErrorKind::Unreachable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL
        | Code::SecurityDisabled
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthDisabled
        | Code::DelegationTokenNotFound
        | Code::DelegationTokenAuthorizationFailed
        | Code::DelegationTokenExpired
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnacceptableCredential
        | Code::Fatal
        | Code::Fenced
        | Code::ProducerFenced => ErrorKind::Refused,
        _ => ErrorKind::Other,
    }
}

/// The code behind an error; `rdkafka_error_code` leaves admin operations out.
fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

fn reason(error: &KafkaError) -> String {
    match error {
        // The library's text for this one ends with the value, which may be a password.
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
            format!("the Kafka client has no option {key}")
        }
        KafkaError::ClientConfig(_, _, key, _) => {
            format!("the Kafka client does not take this value for the option {key}")
        }
        // Here the library quotes the value.
        KafkaError::ClientCreation(why) if why.contains("sasl.oauthbearer") => {
            "the Kafka client does not take its options of sasl.oauthbearer".to_owned()
        }
        // What does not fit together is told without values, but for a file's name.
        KafkaError::ClientCreation(why) => {
            format!("the Kafka client does not take its options: {why}")
        }
        other => match code_of(other) {
            Some(code) => code.to_string(),
            None => other.to_string(),
        },
    }
}

fn advice_on(error: &KafkaError) -> &'static str {
    match error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => {
            "See --kafka-option (or [run.kafka] of the spec); its names and values are librdkafka's, \
             listed in its CONFIGURATION.md"
        }
        other => code_of(other).map_or("", advice),
    }
}

fn advice(code: RDKafkaErrorCode) -> &'static str {
    use RDKafkaErrorCode as Code;
    match code {
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => {
            "Check --kafka-option security.protocol, sasl.mechanism, sasl.username and sasl.password"
        }
        Code::SSL => {
            "Where the certificate could not be verified: ssl.ca.location must name the CA that signed \
             it, it must be for the host name given with --brokers, and it must not have expired. Else \
             check --kafka-option security.protocol, and that the broker's port speaks TLS"
        }
        Code::SecurityDisabled => {
            "Check --kafka-option security.protocol and the port in --brokers"
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => {
            "Ask the cluster's administrator for the permission, or log in as somebody else"
        }
        Code::InvalidTopic => {
            "A topic's name has 1 to 249 letters, digits, dots, hyphens and underscores"
        }
        Code::InvalidReplicationFactor => {
            "The cluster has fewer brokers than that: give a smaller --replication, or none"
        }
        Code::MessageSizeTooLarge => {
            "Raise max.message.bytes of the topic, or send smaller records"
        }
        code if kind_of_code(code) == ErrorKind::Unreachable => {
            "Check that the brokers run and that --brokers names them"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_to_do_next() {
        let check = |error: KafkaError, expected| assert_eq!(kind_of(&error), expected, "{error}");
        check(
            KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure),
            ErrorKind::Unreachable,
        );
        check(KafkaError::Global(RDKafkaErrorCode::Authentication), ErrorKind::Refused);
        check(KafkaError::AdminOp(RDKafkaErrorCode::PolicyViolation), ErrorKind::Refused);
        check(
            KafkaError::MessageConsumptionFatal(RDKafkaErrorCode::OffsetOutOfRange),
            ErrorKind::Refused,
        );
        check(KafkaError::MessageConsumption(RDKafkaErrorCode::OffsetOutOfRange), ErrorKind::Other);
        check(KafkaError::ClientCreation("sasl".into()), ErrorKind::Usage);
        check(KafkaError::Canceled, ErrorKind::Other);
    }

    #[test]
    fn a_refused_option_is_named_without_its_value() {
        let error = rdkafka::ClientConfig::new()
            .set("security.protocol", "hunter2")
            .create_native_config()
            .err()
            .expect("no such protocol");
        assert!(error.to_string().contains("hunter2"), "what is being guarded against");
        let failure = KafkaFailure::new("setting up a Kafka client", error);
        let shown = format!("{failure} {failure:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("security.protocol"), "{shown}");
        assert_eq!(failure.kind(), ErrorKind::Usage);
    }
}
