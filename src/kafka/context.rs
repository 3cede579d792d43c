//! The context of every Kafka client: librdkafka's log lines and errors become tracing events, few
//! enough to read while a broker is down.
//!
//! Invariants: the same complaint is logged once, and then at most once every
//! [`REPEAT_AFTER`] with the number left out; a refusal by the cluster is remembered, because the
//! call that suffers from it only sees a timeout. Until a broker has answered, failed connections
//! are remembered instead of logged: whoever asks says it in a sentence. No secret of the settings
//! is in any of it, whatever the library says.
//!
//! Not here: delivery reports (`producer`), statistics (`source/kafka`).

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
    mismatch: Mutex<Option<Mismatch>>,
    throttle: Mutex<Throttle>,
}

/// Connections that are closed as by a port that speaks another protocol, before any answer.
#[derive(Debug)]
struct Mismatch {
    since: Instant,
    times: u32,
    /// What the client needs instead.
    advice: &'static str,
    reason: String,
    /// No other failure came since.
    is_latest: bool,
}

/// How long a port must look as if it spoke another protocol: a broker that is just going down, or a
/// proxy before it, closes connections the same way.
const MISMATCH_BELIEVED_AFTER: Duration = Duration::from_secs(3);

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
            mismatch: Mutex::new(None),
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
        *lock(&self.mismatch) = None;
    }

    /// As [`KafkaContext::refusal`]; also where the brokers' port has for some seconds looked like one
    /// for another security protocol, and no broker has answered yet.
    #[must_use]
    pub fn refusal_at_start(&self) -> Option<Refusal> {
        self.refusal().or_else(|| lock(&self.mismatch).as_ref()?.as_refusal(Instant::now()))
    }

    /// Looks whether a failed connection tells of another security protocol.
    fn note_failure(&self, line: &str) {
        if self.answered.load(Ordering::Relaxed) {
            return;
        }
        let mut mismatch = lock(&self.mismatch);
        let Some(advice) = protocol_advice(line) else {
            if let Some(mismatch) = &mut *mismatch {
                mismatch.is_latest = false;
            }
            return;
        };
        let since = mismatch.as_ref().map_or_else(Instant::now, |earlier| earlier.since);
        let times = mismatch.as_ref().map_or(1, |earlier| earlier.times.saturating_add(1));
        let reason = line.to_owned();
        *mismatch = Some(Mismatch { since, times, advice, reason, is_latest: true });
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
            self.note_failure(line);
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
        let kind = kind_of_code(code);
        if kind == ErrorKind::Refused {
            *lock(&self.refusal) = Some(Refusal { code, reason: reason.clone() });
        }
        if kind == ErrorKind::Unreachable && !self.answered.load(Ordering::Relaxed) {
            debug!(target: "sales_stream::kafka", brokers = self.brokers, reason, "Kafka cannot be reached yet");
            // That all are down is no reason.
            if code != RDKafkaErrorCode::AllBrokersDown {
                self.note_failure(reason);
                *lock(&self.unreached) = Some(reason.clone());
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

impl Mismatch {
    fn as_refusal(&self, now: Instant) -> Option<Refusal> {
        let is_believed =
            self.is_latest && now.saturating_duration_since(self.since) >= MISMATCH_BELIEVED_AFTER;
        is_believed.then(|| Refusal {
            code: RDKafkaErrorCode::SecurityDisabled,
            reason: format!("{} ({} times: {})", self.advice, self.times, self.reason),
        })
    }
}

/// What a connection that was closed before anything was answered means for the settings. librdkafka's
/// line names the protocol in front of the broker and ends with the state the connection was in.
fn protocol_advice(line: &str) -> Option<&'static str> {
    let (speaks_tls, logs_in) = (line.contains("ssl://"), line.contains("sasl_"));
    let is_in = |state: &str| line.contains(&format!(" in state {state}"));
    if line.contains("connecting to a PLAINTEXT broker listener?") {
        Some(
            "the broker closes connections with TLS: its port seems to speak none \
             (security.protocol=PLAINTEXT or SASL_PLAINTEXT)",
        )
    } else if !speaks_tls && is_in("APIVERSION_QUERY") && line.contains("Disconnected") {
        Some(
            "the broker closes connections without TLS: its port seems to want \
             security.protocol=SSL or SASL_SSL",
        )
    } else if !logs_in && is_in("UP") {
        // Versions may be asked for before a login, and nothing else.
        Some(
            "the broker closes connections without a login: its port seems to want \
             security.protocol=SASL_SSL or SASL_PLAINTEXT",
        )
    } else {
        None
    }
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
        context.note_answer();
        fail(RDKafkaErrorCode::BrokerTransportFailure, "connection reset");
        assert_eq!(context.unreached(), None);
    }

    #[test]
    fn a_port_of_another_protocol_is_a_refusal_once_it_has_seemed_so_for_a_while() {
        let context = context();
        let closed = "broker:9092/bootstrap: Disconnected: connection closed by peer: receive 0 \
                      after POLLIN (after 2ms in state APIVERSION_QUERY)";
        let fail = |line| context.log(RDKafkaLogLevel::Info, "FAIL", line);
        let refusal = || {
            let later = Instant::now() + MISMATCH_BELIEVED_AFTER;
            lock(&context.mismatch).as_ref().and_then(|mismatch| mismatch.as_refusal(later))
        };
        fail(closed);
        assert_eq!(context.refusal_at_start(), None);
        let reason = refusal().unwrap().reason;
        assert!(reason.contains("SASL_SSL") && reason.contains(closed), "{reason}");
        // A broker that went down.
        fail("Connect to broker:9092 failed: Connection refused");
        assert_eq!(refusal(), None);
        fail(closed);
        assert!(refusal().unwrap().reason.contains("2 times"));
        context.note_answer();
        fail(closed);
        assert_eq!(refusal(), None);
    }

    #[test]
    fn a_closed_connection_tells_what_the_port_wants() {
        let check = |line: &str, expected: Option<&str>| {
            let advice = protocol_advice(line);
            let fits = match (advice, expected) {
                (Some(advice), Some(expected)) => advice.contains(expected),
                (advice, expected) => advice == expected,
            };
            assert!(fits, "{line}: {advice:?}");
        };
        let versions = "Disconnected: receive 0 (after 2ms in state APIVERSION_QUERY)";
        check(&format!("b:1/bootstrap: {versions}"), Some("without TLS"));
        check(&format!("sasl_plaintext://b:1/bootstrap: {versions}"), Some("without TLS"));
        check(&format!("ssl://b:1/bootstrap: {versions}"), None);
        check("ssl://b:1: Disconnected (after 0ms in state UP)", Some("without a login"));
        check("b:1: Send failed: Broken pipe (after 0ms in state UP)", Some("without a login"));
        check("sasl_ssl://b:1: Disconnected (after 0ms in state UP)", None);
        check(
            "ssl://b:1: SSL handshake failed: connecting to a PLAINTEXT broker listener? (after 0ms \
             in state SSL_HANDSHAKE)",
            Some("with TLS"),
        );
        check("b:1: Connect failed: Connection refused (after 0ms in state CONNECT)", None);
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
