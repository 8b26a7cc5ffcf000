//! Requests that no client would send: any bytes, and messages of the right shape with any content, to every method
//! there is. The service says what is wrong with them, and goes on.
//!
//! `PROPTEST_CASES` is how many are sent; `make fuzz` sends more.

use std::{collections::HashMap, time::Duration};

use h2::client::SendRequest;
use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, TestCaseError, TestRunner},
};
use prost::{Message as _, bytes::Bytes};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value,
};
use tokio::{runtime::Handle, task::block_in_place, time::timeout};
use tonic::{Code, Status};

use crate::harness::{
    client::{Client, Issued, Refusal},
    raw::{self, Call, socket},
    server::{Server, directory, setting},
};

/// Deepest message in a message.
const DEPTH: u8 = 4;
/// Longest that a call may take, and more than the service's own deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service, and a token that must go on being good.
struct Target {
    server: Server,
    client: Client,
    connection: SendRequest<Bytes>,
    good: Issued,
    /// What texts are made of, beside noise: names that mean something to the service.
    words: Vec<String>,
}

impl Drop for Target {
    fn drop(&mut self) {
        // A user who is named like a token is in the journal, which the harness would look at.
        let _ = std::fs::remove_file(self.server.dir().join("tokenward.db"));
    }
}

// === impl Target ===

impl Target {
    async fn start() -> Self {
        let settings = vec![
            setting("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "10s"),
            setting("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "10s"),
            setting("TOKENWARD_SERVER__REQUEST_TIMEOUT", "20s"),
            setting("TOKENWARD_COHERENCE__MAX_STALENESS", "0s"),
            // A user who is named like a token would be found in the audit trail.
            setting("TOKENWARD_LOG__LEVEL", "info,tokenward::audit=off"),
        ];
        let server = Server::start_in(directory(), &settings).await;
        let client = server.client();
        let (good, victim) = (client.issue("good").await, client.issue("victim").await);
        let revision = client.revoke(&client.issue("victim").await.secret).await.revision;
        let (connection, ended) = h2::client::handshake(socket(server.url()).await).await.expect("HTTP/2 begins");
        tokio::spawn(ended);
        let words = vec![victim.secret, victim.token_id, revision, "victim".to_owned(), "active".to_owned()];
        Self { server, client, connection, good, words }
    }

    /// Sends it, and judges the answer.
    #[expect(clippy::disallowed_methods, reason = "proptest's runner is not async, and nobody else is on this thread")]
    fn takes(&self, method: &MethodDescriptor, message: Vec<u8>) -> Result<(), TestCaseError> {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let answered = async {
            let status = timeout(PATIENCE, self.send(&path, message, method.is_server_streaming())).await;
            let status = status.map_err(|_| TestCaseError::fail(format!("{path}: no answer")))?;
            judge(&path, &status.map_err(|error| TestCaseError::fail(format!("{path}: {error}")))?)?;
            let alive = timeout(PATIENCE, self.client.authenticate(&self.good.secret)).await;
            let alive = alive.is_ok_and(|answer| answer.active);
            if alive { Ok(()) } else { Err(TestCaseError::fail(format!("the service does not go on after {path}"))) }
        };
        block_in_place(|| Handle::current().block_on(answered))
    }

    async fn send(&self, path: &str, message: Vec<u8>, streams: bool) -> Result<Status, h2::Error> {
        let client = self.connection.clone().ready().await?;
        let response = Call::new(path, message).request(client, self.server.url())?.await?;
        if streams && Status::from_header_map(response.headers()).is_none() {
            // A stream that has begun may last for ever.
            return Ok(Status::ok(""));
        }
        raw::status(response).await
    }

    /// A message with any content in the method's own shape, as a tape says.
    fn message(&self, method: &MethodDescriptor, tape: &[u8]) -> Vec<u8> {
        Maker { words: &self.words, tape: tape.iter() }.message(&method.input(), 0).encode_to_vec()
    }
}

/// A status is about the request, never about the service.
fn judge(path: &str, status: &Status) -> Result<(), TestCaseError> {
    match status.code() {
        Code::Ok => Ok(()),
        Code::InvalidArgument
        | Code::NotFound
        | Code::OutOfRange
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::ResourceExhausted
        | Code::Unimplemented
        // An answer that reflects a revision to come.
        | Code::Unavailable => {
            let refusal = Refusal::of(status);
            let named = refusal.code != Code::InvalidArgument || !refusal.fields.is_empty() || refusal.reason == "INVALID_REQUEST";
            if named { Ok(()) } else { Err(TestCaseError::fail(format!("{path}: says nothing: {status:?}"))) }
        }
        _ => Err(TestCaseError::fail(format!("{path}: {status:?}"))),
    }
}

/// Makes a message of a tape; an empty one makes an empty message.
struct Maker<'a> {
    words: &'a [String],
    tape: std::slice::Iter<'a, u8>,
}

// === impl Maker ===

impl Maker<'_> {
    fn next(&mut self) -> u8 {
        self.tape.next().copied().unwrap_or_default()
    }

    fn message(&mut self, descriptor: &MessageDescriptor, depth: u8) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            if !self.next().is_multiple_of(3) {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: u8) -> Value {
        let kind = field.kind();
        if let (true, Kind::Message(entry)) = (field.is_map(), &kind) {
            let value = entry.map_entry_value_field().kind();
            let count = self.next() % 4;
            let entries = (0..count).map(|_| (MapKey::String(self.text()), self.scalar(&value, depth)));
            return Value::Map(entries.collect::<HashMap<_, _>>());
        }
        if field.is_list() {
            let count = match self.next() {
                255 => 200,
                count => count % 5,
            };
            return Value::List((0..count).map(|_| self.scalar(&kind, depth)).collect());
        }
        self.scalar(&kind, depth)
    }

    fn scalar(&mut self, kind: &Kind, depth: u8) -> Value {
        match kind {
            Kind::String => Value::String(self.text()),
            Kind::Bool => Value::Bool(self.next().is_multiple_of(2)),
            Kind::Int32 => Value::I32(self.small()),
            Kind::Int64 => Value::I64(self.large()),
            Kind::Enum(_) => Value::EnumNumber(match self.next() {
                number @ 0..200 => i32::from(number % 8),
                _ => self.small(),
            }),
            Kind::Message(descriptor) if depth < DEPTH => Value::Message(self.message(descriptor, depth + 1)),
            other => Value::default_value(other),
        }
    }

    fn small(&mut self) -> i32 {
        const EDGES: [i32; 8] = [0, 1, -1, i32::MIN, i32::MAX, 999_999_999, 1_000_000_000, -1_000_000_000];
        match self.next() {
            edge @ 0..200 => EDGES[usize::from(edge) % EDGES.len()],
            _ => i32::from_le_bytes(std::array::from_fn(|_| self.next())),
        }
    }

    fn large(&mut self) -> i64 {
        // Among them the first and the last second of the years that protobuf's Timestamp has, and beyond.
        const EDGES: [i64; 10] =
            [0, 1, -1, 3_600, i64::MIN, i64::MAX, -62_135_596_800, 253_402_300_799, 253_402_300_800, 315_576_000_001];
        match self.next() {
            edge @ 0..200 => EDGES[usize::from(edge) % EDGES.len()],
            _ => i64::from_le_bytes(std::array::from_fn(|_| self.next())),
        }
    }

    fn text(&mut self) -> String {
        match self.next() {
            word @ 0..120 => self.words[usize::from(word) % self.words.len()].clone(),
            120..130 => String::new(),
            130..140 => "x".repeat(usize::from(self.next()) * 40),
            140..150 => "\0\u{202e}\u{fffd}\r\n".repeat(usize::from(self.next() % 3) + 1),
            // A revision, a page token or a token_id, almost.
            150..190 => {
                let word = usize::from(self.next()) % self.words.len();
                let mut text = self.words[word].clone();
                text.truncate(usize::from(self.next()));
                text.push(char::from(self.next() & 0x7f));
                text
            }
            _ => {
                let length = usize::from(self.next() % 40);
                (0..length).map(|_| char::from(self.next())).collect()
            }
        }
    }
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(tokenward::proto::DESCRIPTORS).expect("our own descriptors are well-formed");
    let ours = pool.services().filter(|service| service.full_name().starts_with("tokenward."));
    ours.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn runner() -> TestRunner {
    // A failure is printed with its input; there is no file of old ones beside a binary's tests.
    TestRunner::new(Config { failure_persistence: None, ..Config::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_are_answered_by_every_method() {
    let (target, methods) = (Target::start().await, methods());
    assert!(methods.len() >= 14, "{methods:?}");
    let bytes = (0..methods.len(), vec(any::<u8>(), 0..200));
    runner().run(&bytes, |(method, bytes)| target.takes(&methods[method], bytes)).expect("each is answered");
    // Those that are a message almost.
    let damaged = (0..methods.len(), vec(any::<u8>(), 0..300), any::<u16>(), any::<u8>());
    let outcome = runner().run(&damaged, |(method, tape, place, value)| {
        let mut message = target.message(&methods[method], &tape);
        let length = message.len().max(1);
        if let Some(byte) = message.get_mut(usize::from(place) % length) {
            *byte = value;
        }
        target.takes(&methods[method], message)
    });
    outcome.expect("each is answered");
    assert!(!target.server.output().contains("panicked"), "{}", target.server.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_content_is_answered_by_every_method() {
    let (target, methods) = (Target::start().await, methods());
    let content = (0..methods.len(), vec(any::<u8>(), 0..300));
    let outcome = runner().run(&content, |(method, tape)| {
        let method = &methods[method];
        target.takes(method, target.message(method, &tape))
    });
    outcome.expect("each is answered");
    assert!(!target.server.output().contains("panicked"), "{}", target.server.output());
}
