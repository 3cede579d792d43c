//! What the ports of brokers speak, asked of the ports themselves before a start is given up for it.
//!
//! To librdkafka a port of another security protocol and a proxy whose broker is still down look alike:
//! both take the connection and close it. Its line only raises a suspicion here; what then counts is an
//! answer by the port, which a proxy alone cannot give.
//!
//! Invariants: a verdict rests on bytes that a broker sent; nobody waits for a question, which is put on a
//! thread of its own, one at a time; no secret and no name but the host's goes to the port. Start at
//! [`Ports::verdict`]. Not here: the questions' bytes (`probe`); what else is a refusal (`context`).

mod probe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// From the end of one round of questions to the next.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How long connections with TLS must be closed for want of a login before that is believed: a broker
/// that is going down does so too, but not for long and not with other failures left out.
const LOGIN_BELIEVED_AFTER: Duration = Duration::from_secs(3);

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    /// A name or number, the latter without brackets.
    host: String,
    port: u16,
}

/// What a port may want that the client does not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    /// The client speaks no TLS and the port may want it.
    Tls,
    /// The client speaks TLS and the port may not.
    NoTls,
    /// The client does not log in and the port may want it to.
    Login,
    /// The same, of a client with TLS.
    LoginInTls,
}

#[derive(Clone, Debug)]
struct Suspect {
    suspicion: Suspicion,
    /// librdkafka's line.
    line: String,
    since: Instant,
}

/// The ports of one client's brokers, until one has answered it.
#[derive(Debug, Default)]
pub(super) struct Ports {
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    suspects: BTreeMap<Address, Suspect>,
    verdict: Option<String>,
    /// The end of the latest round.
    asked: Option<Instant>,
    is_asking: bool,
    /// A broker has answered the client, so no port is asked any more.
    is_settled: bool,
}

impl Ports {
    /// Takes a line of librdkafka about a failed connection. One of another kind clears its port.
    pub(super) fn note_failure(&self, line: &str) {
        let Some((address, suspicion)) = read_line(line) else { return };
        let mut known = lock(&self.known);
        if known.is_settled {
            return;
        }
        let Some(suspicion) = suspicion else {
            known.suspects.remove(&address);
            return;
        };
        let earlier = known.suspects.get(&address).filter(|one| one.suspicion == suspicion);
        let since = earlier.map_or_else(Instant::now, |earlier| earlier.since);
        known.suspects.insert(address, Suspect { suspicion, line: line.to_owned(), since });
    }

    /// What a port was found to want that the client does not do. Does not wait: it has the suspected
    /// ports asked every [`ASK_AGAIN_AFTER`] and gives what was found out so far.
    pub(super) fn verdict(&self) -> Option<String> {
        let mut known = lock(&self.known);
        if known.is_due(Instant::now()) {
            let (suspects, shared) = (known.suspects.clone(), Arc::clone(&self.known));
            let thread = thread::Builder::new().name("kafka-port".into());
            // Without a thread the next call tries again.
            known.is_asking = thread.spawn(move || ask(&shared, &suspects)).is_ok();
        }
        known.verdict.clone()
    }

    /// Forgets everything, for good: a broker has answered.
    pub(super) fn settle(&self) {
        *lock(&self.known) = Known { is_settled: true, ..Known::default() };
    }
}

impl Known {
    fn is_due(&self, now: Instant) -> bool {
        let is_rested =
            self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN_AFTER);
        let is_open = self.verdict.is_none() && !self.is_settled;
        is_open && is_rested && !self.is_asking && !self.suspects.is_empty()
    }
}

/// Puts the suspects' questions in turn until one is found guilty.
fn ask(known: &Mutex<Known>, suspects: &BTreeMap<Address, Suspect>) {
    let guilty = suspects.iter().find(|(address, suspect)| suspect.is_guilty(address));
    let mut known = lock(known);
    known.is_asking = false;
    known.asked = Some(Instant::now());
    if let Some((_, suspect)) = guilty.filter(|_| !known.is_settled) {
        known.verdict = Some(format!("{} ({})", suspect.suspicion.advice(), suspect.line));
    }
}

impl Suspect {
    fn is_guilty(&self, address: &Address) -> bool {
        match self.suspicion {
            Suspicion::Tls => probe::speaks_tls(address),
            Suspicion::NoTls => probe::speaks_kafka(address),
            Suspicion::Login => probe::takes_logins(address),
            // librdkafka was answered within TLS before it was turned away, and nothing else has
            // happened since; that the port still speaks TLS tells that its broker is not gone.
            Suspicion::LoginInTls => {
                self.since.elapsed() >= LOGIN_BELIEVED_AFTER && probe::speaks_tls(address)
            }
        }
    }
}

impl Suspicion {
    fn advice(self) -> &'static str {
        match self {
            Suspicion::Tls => {
                "the broker closes connections without TLS: its port wants security.protocol=SSL or \
                 SASL_SSL"
            }
            Suspicion::NoTls => {
                "the broker closes connections with TLS: its port speaks none \
                 (security.protocol=PLAINTEXT or SASL_PLAINTEXT)"
            }
            Suspicion::Login | Suspicion::LoginInTls => {
                "the broker closes connections without a login: its port wants \
                 security.protocol=SASL_SSL or SASL_PLAINTEXT"
            }
        }
    }

    /// What a connection that failed in this way may mean; see `rd_kafka_broker_set_error`, which ends a
    /// line with the state the connection was in.
    fn of(protocol: &str, complaint: &str) -> Option<Suspicion> {
        let speaks_tls = protocol.ends_with("ssl");
        let is_in = |state: &str| complaint.contains(&format!(" in state {state}"));
        let is_closed = ["Disconnected", "Connection reset", "Broken pipe"]
            .iter()
            .any(|word| complaint.contains(word));
        // An alert of TLS, read as the length of an answer.
        let is_garbled = complaint.contains("Invalid response size");
        if is_in("SSL_HANDSHAKE") && is_closed {
            Some(Suspicion::NoTls)
        } else if !speaks_tls && is_in("APIVERSION_QUERY") && (is_closed || is_garbled) {
            Some(Suspicion::Tls)
        } else if !protocol.starts_with("sasl") && is_in("UP") && is_closed {
            // Versions may be asked for before a login, and nothing else.
            let login = if speaks_tls { Suspicion::LoginInTls } else { Suspicion::Login };
            Some(login)
        } else {
            None
        }
    }
}

/// Whose connection a line of librdkafka is about, and what may be behind it. It begins
/// `protocol://host:port/node: `, where nothing stands for `plaintext://`.
fn read_line(line: &str) -> Option<(Address, Option<Suspicion>)> {
    let (name, complaint) = line.split_once(": ")?;
    let (protocol, node) = name.split_once("://").unwrap_or(("plaintext", name));
    let (host, port) = node.split('/').next()?.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = Address { host: bare.unwrap_or(host).to_owned(), port: port.parse().ok()? };
    Some((address, Suspicion::of(&protocol.to_ascii_lowercase(), complaint)))
}

/// A panic elsewhere leaves at worst a question open.
fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::probe::tests::{Port, kafka_answer};
    use super::*;

    const CLOSED: &str = "Disconnected: connection closed by peer: receive 0 after POLLIN (after 2ms \
                          in state APIVERSION_QUERY)";

    /// Asks until there is a verdict or the ports were asked so often.
    fn verdict(ports: &Ports, port: &Port, questions: usize) -> Option<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = ports.verdict();
            let is_enough = port.connections() >= questions && !lock(&ports.known).is_asking;
            if found.is_some() || is_enough {
                return found.or_else(|| ports.verdict());
            }
            assert!(Instant::now() < deadline, "asked {} times", port.connections());
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_port_that_takes_and_closes_connections_is_never_found_guilty() {
        let port = Port::closing();
        let ports = Ports::default();
        ports.note_failure(&format!("127.0.0.1:{}/bootstrap: {CLOSED}", port.number()));
        assert_eq!(verdict(&ports, &port, 2), None);
        let suspect = |line: String| {
            let ports = Ports::default();
            ports.note_failure(&line);
            verdict(&ports, &port, port.connections() + 1)
        };
        let number = port.number();
        let with_tls = "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? \
                        (after 0ms in state SSL_HANDSHAKE)";
        assert_eq!(suspect(format!("ssl://127.0.0.1:{number}/bootstrap: {with_tls}")), None);
        let without_login = "Disconnected (after 0ms in state UP)";
        assert_eq!(suspect(format!("127.0.0.1:{number}/bootstrap: {without_login}")), None);
    }

    #[test]
    fn the_port_that_the_line_names_is_asked_and_its_answer_is_a_verdict() {
        let down = Port::closing();
        let tls = Port::answering(b"\x15\x03\x03\0\x02\x02\x46".to_vec());
        let ports = Ports::default();
        ports.note_failure(&format!("127.0.0.1:{}/bootstrap: {CLOSED}", down.number()));
        ports.note_failure(&format!("127.0.0.1:{}/bootstrap: {CLOSED}", tls.number()));
        let told = verdict(&ports, &tls, 1).unwrap();
        assert!(told.contains("without TLS") && told.contains("SASL_SSL"), "{told}");
        assert!(told.contains(&tls.number().to_string()) && told.contains(CLOSED), "{told}");
        ports.settle();
        assert_eq!(ports.verdict(), None);
    }

    #[test]
    fn a_broker_that_answers_meanwhile_settles_it() {
        let tls = Port::answering(b"\x16\x03\x03\0\x02\x02\x46".to_vec());
        let ports = Ports::default();
        let line = format!("127.0.0.1:{}/bootstrap: {CLOSED}", tls.number());
        ports.note_failure(&line);
        let suspects = lock(&ports.known).suspects.clone();
        ports.settle();
        ask(&ports.known, &suspects);
        ports.note_failure(&line);
        assert_eq!(ports.verdict(), None);
        assert!(lock(&ports.known).suspects.is_empty());
    }

    #[test]
    fn nobody_waits_for_a_port_that_never_answers() {
        let port = Port::silent();
        let ports = Ports::default();
        ports.note_failure(&format!("127.0.0.1:{}/bootstrap: {CLOSED}", port.number()));
        let started = Instant::now();
        assert_eq!(ports.verdict(), None);
        assert!(started.elapsed() < Duration::from_millis(500));
        assert_eq!(verdict(&ports, &port, 1), None);
    }

    #[test]
    fn a_login_in_tls_is_believed_only_after_a_while_without_another_failure() {
        let tls = Port::answering(b"\x16\x03\x03\0\x7a".to_vec());
        let address = Address { host: "127.0.0.1".into(), port: tls.number() };
        let line =
            format!("ssl://127.0.0.1:{}/1: Disconnected (after 0ms in state UP)", tls.number());
        let ports = Ports::default();
        let suspect = || lock(&ports.known).suspects.get(&address).cloned();
        ports.note_failure(&line);
        let first = suspect().unwrap();
        assert!(!first.is_guilty(&address));
        let long_ago = Instant::now().checked_sub(LOGIN_BELIEVED_AFTER).unwrap();
        assert!(Suspect { since: long_ago, ..first.clone() }.is_guilty(&address));
        ports.note_failure(&line);
        assert_eq!(suspect().unwrap().since, first.since, "the first of its kind counts");
        let port = tls.number();
        ports.note_failure(&format!(
            "ssl://127.0.0.1:{port}/1: Connect to ipv4#127.0.0.1:{port} failed: Connection refused \
             (after 0ms in state CONNECT)"
        ));
        assert!(suspect().is_none());
    }

    #[test]
    fn kafka_without_tls_is_found_behind_a_failed_handshake() {
        let plain = Port::answering(kafka_answer(0));
        let ports = Ports::default();
        ports.note_failure(&format!(
            "sasl_ssl://127.0.0.1:{}/bootstrap: SSL handshake failed: Disconnected: connecting to a \
             PLAINTEXT broker listener? (after 0ms in state SSL_HANDSHAKE)",
            plain.number()
        ));
        let told = verdict(&ports, &plain, 1).unwrap();
        assert!(told.contains("with TLS") && told.contains("PLAINTEXT"), "{told}");
    }

    #[test]
    fn a_closed_connection_raises_the_suspicion_that_fits_it() {
        let check = |line: &str, expected: Option<Suspicion>| {
            let (address, found) = read_line(line).unwrap();
            assert_eq!((address.host.as_str(), address.port), ("b", 1), "{line}");
            assert_eq!(found, expected, "{line}");
        };
        let versions = "Disconnected: receive 0 (after 2ms in state APIVERSION_QUERY)";
        check(&format!("b:1/bootstrap: {versions}"), Some(Suspicion::Tls));
        check(&format!("b:1/1: {versions}"), Some(Suspicion::Tls));
        check(&format!("sasl_plaintext://b:1/bootstrap: {versions}"), Some(Suspicion::Tls));
        check(&format!("ssl://b:1/bootstrap: {versions}"), None);
        check(
            "b:1/bootstrap: Receive failed: Invalid response size 352518912 (0..100000000): increase \
             receive.message.max.bytes (after 1ms in state APIVERSION_QUERY)",
            Some(Suspicion::Tls),
        );
        let up = "Disconnected: verify that security.protocol is correctly configured (after 0ms in \
                  state UP)";
        check(&format!("ssl://b:1/1: {up}"), Some(Suspicion::LoginInTls));
        check(&format!("sasl_ssl://b:1/1: {up}"), None);
        check("b:1/1: Send failed: Broken pipe (after 0ms in state UP)", Some(Suspicion::Login));
        check("b:1/1: 1 request(s) timed out: disconnect (after 60061ms in state UP)", None);
        check(
            "ssl://b:1/bootstrap: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker \
             listener? (after 0ms in state SSL_HANDSHAKE)",
            Some(Suspicion::NoTls),
        );
        check(
            "sasl_ssl://b:1/bootstrap: SSL handshake failed: SSL transport error: Broken pipe (after \
             0ms in state SSL_HANDSHAKE)",
            Some(Suspicion::NoTls),
        );
        check(
            "b:1/bootstrap: Connect failed: Connection refused (after 0ms in state CONNECT)",
            None,
        );
    }

    #[test]
    fn the_address_in_a_line_may_be_a_number_in_brackets() {
        let check = |line: &str, expected: Option<(&str, u16)>| {
            let found = read_line(line).map(|(address, _)| address);
            let found = found.as_ref().map(|address| (address.host.as_str(), address.port));
            assert_eq!(found, expected, "{line}");
        };
        check("[::1]:9092/bootstrap: x", Some(("::1", 9092)));
        check("sasl_ssl://[fe80::1]:9093/2: x", Some(("fe80::1", 9093)));
        check("SASL_SSL://kafka.example:9093/2: x", Some(("kafka.example", 9093)));
        check("GroupCoordinator: b:1: x", None);
        check("1/1 brokers are down", None);
        check("nothing of a broker", None);
        check("", None);
    }
}
