//! The context of every Kafka client: librdkafka's log lines and errors become tracing events, few
//! enough to read while a broker is down.
//!
//! Invariants: the same complaint is logged once, and then at most once every
//! [`REPEAT_AFTER`] with the number left out; a refusal by the cluster is remembered, because the
//! call that suffers from it only sees a timeout. Until a broker has answered, failed connections
//! are remembered instead of logged: whoever asks says it in a sentence. No secret of the settings
//! is in any of it, whatever the library says.
//!
//! Not here: what ports speak (`port`), delivery reports (`producer`), statistics (`source/kafka`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::{debug, error, info, warn};

use super::error::{ErrorKind, kind_of_code};
use super::port::Ports;
use super::settings::{ClientSettings, Secrets};

/// How long a repeated complaint stays quiet.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

/// Why a cluster turned a client away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// Its sentence, with the broker's own words.
    pub reason: String,
}

/// Logs for a client and remembers a refusal. Other contexts hold one and pass `log` and `error` on.
#[derive(Debug)]
pub struct KafkaContext {
    brokers: String,
    secrets: Secrets,
    refusal: Mutex<Option<Refusal>>,
    answered: AtomicBool,
    unreached: Mutex<Option<String>>,
    ports: Ports,
    throttle: Mutex<Throttle>,
}

impl KafkaContext {
    /// The context of a client with these settings, whose brokers are what the log and errors call the
    /// cluster.
    #[must_use]
    pub fn new(settings: &ClientSettings) -> KafkaContext {
        KafkaContext {
            brokers: settings.brokers().to_owned(),
            secrets: settings.secrets(),
            refusal: Mutex::new(None),
            answered: AtomicBool::new(false),
            unreached: Mutex::new(None),
            ports: Ports::default(),
            throttle: Mutex::new(Throttle::default()),
        }
    }

    /// What the log and errors call the cluster.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The latest refusal by the cluster (login, TLS, permission, a fatal state), if any.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        lock(&self.refusal).clone()
    }

    /// Notes that a broker has answered: from now on a failed connection is worth a log line.
    pub fn note_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
        *lock(&self.unreached) = None;
        self.ports.settle();
    }

    /// As [`KafkaContext::refusal`]; also where a broker's port was found to speak another security
    /// protocol, and no broker has answered yet. Does not wait: callers ask again and again.
    #[must_use]
    pub fn refusal_at_start(&self) -> Option<Refusal> {
        self.refusal().or_else(|| {
            let reason = self.ports.verdict()?;
            Some(Refusal { code: RDKafkaErrorCode::SecurityDisabled, reason })
        })
    }

    /// Takes a line about a failed connection.
    fn note_failure(&self, line: &str) {
        if !self.answered.load(Ordering::Relaxed) {
            self.ports.note_failure(line);
            *lock(&self.unreached) = Some(line.to_owned());
        }
    }

    /// Why the latest connection failed, as long as no broker has answered.
    #[must_use]
    pub fn unreached(&self) -> Option<String> {
        lock(&self.unreached).clone()
    }

    fn admit(&self, complaint: &str) -> Option<u64> {
        lock(&self.throttle).admit(complaint, Instant::now())
    }
}

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let line = &self.secrets.hidden_in(line);
        if facility == "FAIL" {
            self.note_failure(without_thread(line));
        }
        // A failed connection comes again as an error, with a code.
        let is_error_too = matches!(facility, "FAIL" | "ERROR");
        if is_error_too || matches!(level, RDKafkaLogLevel::Debug | RDKafkaLogLevel::Info) {
            debug!(target: "sales_stream::kafka", facility, line, "Kafka client log");
            return;
        }
        let Some(left_out) = self.admit(facility) else {
            return;
        };
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                warn!(target: "sales_stream::kafka", facility, line, left_out, "Kafka client log");
            }
            _ => info!(target: "sales_stream::kafka", facility, line, left_out, "Kafka client log"),
        }
    }

    fn error(&self, problem: KafkaError, reason: &str) {
        let reason = &self.secrets.hidden_in(reason);
        let code = problem.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // The end of a partition is news, not trouble.
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        let kind =
            if is_cut_off(code, reason) { ErrorKind::Unreachable } else { kind_of_code(code) };
        if kind == ErrorKind::Refused {
            *lock(&self.refusal) = Some(Refusal { code, reason: reason.clone() });
        }
        if kind == ErrorKind::Unreachable && !self.answered.load(Ordering::Relaxed) {
            debug!(target: "sales_stream::kafka", brokers = self.brokers, reason, "Kafka cannot be reached yet");
            // That all are down is no reason.
            if code != RDKafkaErrorCode::AllBrokersDown {
                self.note_failure(reason);
            }
            return;
        }
        let Some(left_out) = self.admit(&format!("{code:?}")) else {
            return;
        };
        let brokers = &self.brokers;
        match kind {
            ErrorKind::Refused => {
                error!(target: "sales_stream::kafka", %brokers, reason, left_out, "Kafka refused the client");
            }
            ErrorKind::Unreachable => {
                warn!(target: "sales_stream::kafka", %brokers, reason, left_out, "Kafka cannot be reached, trying again");
            }
            ErrorKind::Usage | ErrorKind::Other => {
                warn!(target: "sales_stream::kafka", %brokers, reason, left_out, "Kafka client error");
            }
        }
    }

    /// Statistics are for those who asked for them; here they would only fill the log.
    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for KafkaContext {}

/// Whether a connection that went away has the code of a refusal, as librdkafka gives to what happens to
/// it in a handshake or login (`rd_kafka_transport_ssl_io_update`, `rd_kafka_broker_handle_SaslHandshake`).
fn is_cut_off(code: RDKafkaErrorCode, reason: &str) -> bool {
    match code {
        RDKafkaErrorCode::SSL => reason.contains("SSL transport error: "),
        RDKafkaErrorCode::Authentication => {
            reason.contains("handshake failed: Local: Broker transport failure")
        }
        _ => false,
    }
}

/// A line of the log as it comes as an error: without the name of librdkafka's thread in front.
fn without_thread(line: &str) -> &str {
    let rest = line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: "));
    rest.map_or(line, |(_, rest)| rest)
}

/// Neither value can be left half written, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When each complaint was let through last, and how often it was left out since.
#[derive(Debug, Default)]
struct Throttle {
    complaints: HashMap<String, (Instant, u64)>,
}

impl Throttle {
    /// `Some(left out since the last time)` if the complaint may be logged now.
    fn admit(&mut self, complaint: &str, now: Instant) -> Option<u64> {
        match self.complaints.get_mut(complaint) {
            None => {
                self.complaints.insert(complaint.to_owned(), (now, 0));
                Some(0)
            }
            Some((last, left_out)) if now.saturating_duration_since(*last) < REPEAT_AFTER => {
                *left_out += 1;
                None
            }
            Some((last, left_out)) => {
                *last = now;
                Some(std::mem::take(left_out))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Trust;

    fn context() -> KafkaContext {
        let password = ("sasl.password".to_owned(), "hunter2".to_owned());
        let settings =
            ClientSettings::new("broker:9092", vec![password], Trust::SafeOptionsOnly).unwrap();
        KafkaContext::new(&settings)
    }

    #[test]
    fn a_repeated_complaint_is_let_through_twice_a_minute_with_its_count() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.admit("down", start), Some(0));
        assert_eq!(throttle.admit("down", start + Duration::from_secs(1)), None);
        assert_eq!(throttle.admit("other", start + Duration::from_secs(1)), Some(0));
        assert_eq!(throttle.admit("down", start + Duration::from_secs(29)), None);
        assert_eq!(throttle.admit("down", start + Duration::from_secs(30)), Some(2));
        assert_eq!(throttle.admit("down", start + Duration::from_secs(61)), Some(0));
    }

    #[test]
    fn why_no_broker_answers_is_remembered_until_one_does() {
        let context = context();
        let fail = |code, reason| context.error(KafkaError::Global(code), reason);
        fail(RDKafkaErrorCode::BrokerTransportFailure, "connection refused");
        fail(RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(context.unreached().as_deref(), Some("connection refused"));
        // A closed one is in the log alone.
        let line = "[thrd:[::1]:9092/bootstrap]: [::1]:9092/bootstrap: Disconnected";
        context.log(RDKafkaLogLevel::Info, "FAIL", line);
        assert_eq!(context.unreached().as_deref(), Some("[::1]:9092/bootstrap: Disconnected"));
        context.note_answer();
        fail(RDKafkaErrorCode::BrokerTransportFailure, "connection reset");
        assert_eq!(context.unreached(), None);
    }

    #[test]
    fn a_connection_cut_off_in_a_handshake_or_login_is_no_refusal() {
        let context = context();
        let fail = |code, reason: &str| context.error(KafkaError::Global(code), reason);
        fail(
            RDKafkaErrorCode::SSL,
            "ssl://b:1/1: SSL handshake failed: SSL transport error: Broken pipe",
        );
        assert_eq!(context.refusal(), None);
        fail(
            RDKafkaErrorCode::Authentication,
            "sasl_ssl://b:1/1: SASL PLAIN mechanism handshake failed: Local: Broker transport failure: \
             broker's supported mechanisms: ",
        );
        assert_eq!(context.refusal(), None);
        fail(RDKafkaErrorCode::SSL, "ssl://b:1/1: SSL handshake failed: certificate verify failed");
        assert_eq!(context.refusal().unwrap().code, RDKafkaErrorCode::SSL);
    }

    #[test]
    fn only_a_refusal_is_remembered() {
        let context = context();
        context.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(context.refusal(), None);
        context.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "wrong: hunter2");
        let expected =
            Refusal { code: RDKafkaErrorCode::Authentication, reason: "wrong: ***".into() };
        assert_eq!(context.refusal(), Some(expected));
    }
}
