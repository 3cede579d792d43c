//! Three questions to a port, each on a connection of its own, answered by its first bytes.
//!
//! Invariants: each has an end in [`CONNECT_TIMEOUT`] and [`ANSWER_TIMEOUT`] for an address; only an
//! answer that nothing but its protocol gives counts, everything else is a no. Not here: when to ask.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use super::Address;

/// Longest time until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest time from there to the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// So many addresses of a name are asked.
const MOST_ADDRESSES: usize = 4;

/// Whether it answers the beginning of a TLS connection as TLS does.
pub(super) fn speaks_tls(address: &Address) -> bool {
    const LARGEST_RECORD: usize = (1 << 14) + 256;
    let hello = client_hello(&address.host);
    any(address, |stream| {
        let [kind, major, _, length @ ..] = answer::<5>(stream, &hello)?;
        // A handshake, or an alert that says what is wrong with ours (RFC 8446, section 5.1).
        let is_record = matches!(kind, 0x15 | 0x16) && major == 3;
        Some(is_record && (1..=LARGEST_RECORD).contains(&usize::from(u16::from_be_bytes(length))))
    })
}

/// Whether it answers a question for the versions of Kafka's protocol, asked without TLS.
pub(super) fn speaks_kafka(address: &Address) -> bool {
    const API_VERSIONS: u16 = 18;
    const UNSUPPORTED_VERSION: u16 = 35;
    let request = kafka_request(API_VERSIONS, 0, &[]);
    any(address, |stream| {
        kafka_answer_code(stream, &request).map(|code| matches!(code, 0 | UNSUPPORTED_VERSION))
    })
}

/// Whether it is there for logins, without TLS: a port that is not answers that this is no time for one
/// (`ILLEGAL_SASL_STATE`), and one that is, whether it knows the mechanism. Nothing is logged in.
pub(super) fn takes_logins(address: &Address) -> bool {
    const SASL_HANDSHAKE: u16 = 17;
    const UNSUPPORTED_SASL_MECHANISM: u16 = 33;
    let request = kafka_request(SASL_HANDSHAKE, 1, &block16(b"PLAIN"));
    any(address, |stream| {
        kafka_answer_code(stream, &request)
            .map(|code| matches!(code, 0 | UNSUPPORTED_SASL_MECHANISM))
    })
}

/// Whether the question is answered with a yes at any address of the host.
fn any(address: &Address, question: impl Fn(&TcpStream) -> Option<bool>) -> bool {
    let Ok(addresses) = (address.host.as_str(), address.port).to_socket_addrs() else {
        return false;
    };
    let ask = |address: SocketAddr| {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
        question(&stream)
    };
    addresses.take(MOST_ADDRESSES).any(|address| ask(address) == Some(true))
}

/// The first bytes that come back; `None` if there are fewer, or not in time.
fn answer<const N: usize>(mut stream: &TcpStream, request: &[u8]) -> Option<[u8; N]> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT)).ok()?;
    stream.write_all(request).ok()?;
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let left =
            deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut bytes[filled..]) {
            Ok(0) => return None,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    Some(bytes)
}

/// What our requests are known by in their answers.
const CORRELATION: [u8; 4] = *b"port";

/// A request with Kafka's header, version 1.
fn kafka_request(kind: u16, version: u16, body: &[u8]) -> Vec<u8> {
    let (kind, version) = (kind.to_be_bytes(), version.to_be_bytes());
    let client = block16(b"sales-stream");
    let request = [&kind[..], &version, &CORRELATION, &client, body].concat();
    let length = u32::try_from(request.len()).expect("a request is small");
    [&length.to_be_bytes()[..], &request].concat()
}

/// The error code that Kafka's answer begins with, if what comes is one to our request.
fn kafka_answer_code(stream: &TcpStream, request: &[u8]) -> Option<u16> {
    const LARGEST_ANSWER: u32 = 1 << 20;
    /// The correlation and the code.
    const SMALLEST_ANSWER: u32 = 6;
    let [l0, l1, l2, l3, c0, c1, c2, c3, code @ ..] = answer::<10>(stream, request)?;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let is_ours = [c0, c1, c2, c3] == CORRELATION;
    let is_answer = is_ours && (SMALLEST_ANSWER..=LARGEST_ANSWER).contains(&length);
    is_answer.then(|| u16::from_be_bytes(code))
}

/// The least that a server of TLS 1.2 or 1.3 answers (RFC 8446, section 4.1.2). It offers no key, so that
/// no connection can come of it.
fn client_hello(host: &str) -> Vec<u8> {
    const SUITES: &[u8] = &[
        0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, 0xcc,
        0xa9, 0xcc, 0xa8, 0x00, 0x9c, 0x00, 0x9d, 0x00, 0x2f, 0x00, 0x35,
    ];
    const SIGNATURES: &[u8] =
        &[4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 8, 7, 4, 1, 5, 1, 6, 1, 2, 3, 2, 1];
    // x25519, secp256r1, secp384r1
    const GROUPS: &[u8] = &[0, 0x1d, 0, 0x17, 0, 0x18];
    const TLS_1_3_AND_1_2: &[u8] = &[4, 3, 4, 3, 3];
    let mut extensions = Vec::new();
    let mut extend = |number: u8, content: &[u8]| {
        extensions.extend_from_slice(&[0, number]);
        extensions.extend_from_slice(&block16(content));
    };
    // Some proxies choose by the name; a number is none (RFC 6066, section 3).
    if host.parse::<IpAddr>().is_err() {
        extend(0, &block16(&[&[0][..], &block16(host.as_bytes())].concat()));
    }
    extend(10, &block16(GROUPS));
    extend(11, &[1, 0]);
    extend(13, &block16(SIGNATURES));
    extend(43, TLS_1_3_AND_1_2);
    extend(51, &block16(&[]));
    // No key follows from this number, so it may be known.
    let random = [0x5a; 32];
    let no_session = [0];
    let no_compression = [1, 0];
    let body = [
        &[3, 3][..],
        &random,
        &no_session,
        &block16(SUITES),
        &no_compression,
        &block16(&extensions),
    ]
    .concat();
    let hello = [&[1, 0][..], &block16(&body)].concat();
    [&[0x16, 3, 1][..], &block16(&hello)].concat()
}

/// `content` behind its length in two bytes.
fn block16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("no part of a question is so long");
    [&length.to_be_bytes()[..], content].concat()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// A port on which something listens for the rest of the test process.
    pub(in super::super) struct Port {
        number: u16,
        connections: Arc<AtomicUsize>,
    }

    impl Port {
        fn with(on_connection: impl Fn(TcpStream) + Send + 'static) -> Port {
            Port::at("127.0.0.1:0", on_connection).unwrap()
        }

        fn at(
            address: &str,
            on_connection: impl Fn(TcpStream) + Send + 'static,
        ) -> std::io::Result<Port> {
            let listener = TcpListener::bind(address)?;
            let number = listener.local_addr()?.port();
            let connections = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&connections);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    on_connection(stream.unwrap());
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
            Ok(Port { number, connections })
        }

        /// A proxy whose broker is down.
        pub(in super::super) fn closing() -> Port {
            Port::with(drop)
        }

        /// Says the same to everybody who says anything.
        pub(in super::super) fn answering(answer: Vec<u8>) -> Port {
            Port::with(move |stream| say(&stream, &answer))
        }

        /// Never says anything.
        pub(in super::super) fn silent() -> Port {
            let kept = std::sync::Mutex::new(Vec::new());
            Port::with(move |stream| kept.lock().unwrap().push(stream))
        }

        pub(in super::super) fn number(&self) -> u16 {
            self.number
        }

        /// Connections that are through (or are kept).
        pub(in super::super) fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }

        fn address(&self) -> Address {
            Address { host: "127.0.0.1".into(), port: self.number }
        }

        fn answers_to(&self) -> [bool; 3] {
            let address = self.address();
            [speaks_tls(&address), speaks_kafka(&address), takes_logins(&address)]
        }
    }

    fn say(mut stream: &TcpStream, answer: &[u8]) {
        let mut question = [0; 1024];
        let _ = stream.read(&mut question);
        let _ = stream.write_all(answer);
    }

    /// The beginning of an answer to a request of ours.
    pub(in super::super) fn kafka_answer(code: u16) -> Vec<u8> {
        [&[0, 0, 0, 10][..], &CORRELATION, &code.to_be_bytes(), &[0; 4]].concat()
    }

    #[test]
    fn a_port_that_closes_connections_answers_nothing() {
        assert_eq!(Port::closing().answers_to(), [false; 3]);
        let nobody = Address { host: "127.0.0.1".into(), port: 1 };
        assert!(!speaks_tls(&nobody) && !speaks_kafka(&nobody) && !takes_logins(&nobody));
    }

    #[test]
    fn an_alert_or_a_handshake_is_tls() {
        for kind in [0x15, 0x16] {
            let port = Port::answering(vec![kind, 3, 3, 0, 2, 2, 70]);
            assert_eq!(port.answers_to(), [true, false, false]);
        }
    }

    #[test]
    fn an_answer_to_our_request_is_kafka_and_its_code_tells_whether_it_takes_logins() {
        let check = |code, expected| {
            assert_eq!(Port::answering(kafka_answer(code)).answers_to(), expected, "{code}");
        };
        check(0, [false, true, true]);
        check(33, [false, false, true]);
        // What a port without logins says to one.
        check(34, [false, false, false]);
        check(35, [false, true, false]);
    }

    #[test]
    fn garbage_answers_nothing() {
        let mut other_request = kafka_answer(0);
        other_request[7] ^= 1;
        let mut endless = kafka_answer(0);
        endless[0] = 0x16;
        let garbage: [&[u8]; 7] = [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            &[0; 64],
            &[0xff; 64],
            &[0x16, 3, 3],
            &other_request,
            &endless,
        ];
        for answer in garbage {
            assert_eq!(Port::answering(answer.to_vec()).answers_to(), [false; 3], "{answer:?}");
        }
    }

    #[test]
    fn a_port_that_never_answers_is_waited_for_only_so_long() {
        let started = Instant::now();
        assert!(!speaks_tls(&Port::silent().address()));
        // One byte at a time does not lengthen it.
        let slow = Port::with(|mut stream| {
            for byte in kafka_answer(0) {
                let _ = stream.write_all(&[byte]);
                thread::sleep(ANSWER_TIMEOUT / 4);
            }
        });
        assert!(!speaks_kafka(&slow.address()));
        assert!(started.elapsed() >= 2 * ANSWER_TIMEOUT);
        assert!(started.elapsed() < 2 * ANSWER_TIMEOUT + Duration::from_secs(10));
    }

    #[test]
    fn a_name_and_a_number_of_ipv6_are_asked() {
        let answer = |stream: TcpStream| say(&stream, &kafka_answer(0));
        let by_name = Port::with(answer);
        assert!(speaks_kafka(&Address { host: "localhost".into(), port: by_name.number }));
        assert!(!speaks_kafka(&Address { host: "no.such.host.invalid".into(), port: 9092 }));
        match Port::at("[::1]:0", answer) {
            Ok(port) => {
                assert!(speaks_kafka(&Address { host: "::1".into(), port: port.number }));
            }
            Err(error) => eprintln!("no IPv6 on this machine: {error}"),
        }
    }
}
