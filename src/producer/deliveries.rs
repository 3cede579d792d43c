//! What a producer's client learns on the side: deliveries that failed, and a refusal by the cluster.
//!
//! Not here: what a run does about it (`run`, `atomic`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::kafka::{ClientSettings, KafkaContext, Refusal};

/// Counts failed deliveries; passes log lines and errors on.
pub(super) struct Deliveries {
    context: KafkaContext,
    failed: AtomicU64,
    first: Mutex<Option<RDKafkaErrorCode>>,
}

impl Deliveries {
    pub(super) fn new(settings: &ClientSettings) -> Deliveries {
        let context = KafkaContext::new(settings);
        // The topic was looked up, so a broker has answered.
        context.note_answer();
        Deliveries { context, failed: AtomicU64::new(0), first: Mutex::new(None) }
    }

    /// Records whose delivery failed, or was given up.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Acquire)
    }

    /// Why the first of them failed; `None` where none was but given up.
    pub(super) fn first(&self) -> Option<RDKafkaErrorCode> {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the cluster turned the client away, if it did.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.context.refusal()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.context.log(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.context.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, _)) = result else { return };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // Given up by ourselves is no reason.
        if !matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(code);
        }
        self.failed.fetch_add(1, Ordering::Release);
    }
}
