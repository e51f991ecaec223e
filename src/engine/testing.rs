//! A guest played by a test, over an in-memory stream with the real frames: for what a real one
//! does not do on demand.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use oncebox_guest::wire::{self, HEADER_LEN, MAX_ORDER, Order, Posture, Report, Usage};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::{Channel, Container, ContainerSpec, EngineError, Hold};

/// Both ends: the service's, and the one the test plays.
pub(crate) fn pair() -> (Channel, Guest) {
    let (service, guest) = duplex(64 * 1024);
    let (reader, writer) = tokio::io::split(service);
    (Channel::new(reader, writer), Guest(guest))
}

/// A container whose guest has reported ready, its guest, and a token that is cancelled when the
/// container has been killed.
pub(crate) async fn container(usage: Option<Usage>) -> (Container, Guest, CancellationToken) {
    let (gone, freed) = Default::default();
    container_of(Held { gone, freed, usage, limits_stay: false, mute: false }).await
}

/// The same, held like this.
pub(crate) async fn container_of(held: Held) -> (Container, Guest, CancellationToken) {
    let (channel, mut guest) = pair();
    let gone = held.gone.clone();
    guest.say(&Report::Ready(Posture::default())).await;
    let hold = Box::new(held);
    let container = Container::ready(channel, hold, |_| Ok(())).await;
    let Ok(container) = container else { panic!("the guest was ready") };
    (container, guest, gone)
}

/// What the engine would hold.
pub(crate) struct Held {
    pub(crate) gone: CancellationToken,
    /// Cancelled when it is held to no limit of the processor any more.
    pub(crate) freed: CancellationToken,
    pub(crate) usage: Option<Usage>,
    /// It can't be given other limits.
    pub(crate) limits_stay: bool,
    /// What would carry the guest's words is stuck.
    pub(crate) mute: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gone.cancel();
    }
}

impl Hold for Held {
    fn limit<'a>(&'a mut self, _spec: &'a ContainerSpec) -> BoxFuture<'a, Result<(), EngineError>> {
        let stay = self.limits_stay;
        async move { if stay { Err(EngineError::Make("busy".into())) } else { Ok(()) } }.boxed()
    }

    fn carrier(&mut self) -> Option<BoxFuture<'_, Result<(), EngineError>>> {
        let mute = self.mute;
        let answer = async move { if mute { std::future::pending().await } else { Ok(()) } };
        Some(answer.boxed())
    }

    fn unthrottle(&mut self) -> BoxFuture<'_, ()> {
        async { self.freed.cancel() }.boxed()
    }

    fn finished(self: Box<Self>) {}

    fn post_mortem(self: Box<Self>) -> BoxFuture<'static, Option<Usage>> {
        async move { self.usage }.boxed()
    }
}

/// The guest's end of the stream; dropping it closes the stream.
pub(crate) struct Guest(DuplexStream);

/// A job as the guest got it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) head: wire::Job,
    pub(crate) files: Vec<(String, bool, Vec<u8>)>,
    pub(crate) stdin: Option<Vec<u8>>,
}

impl Guest {
    pub(crate) async fn say(&mut self, report: &Report<'_>) {
        let mut frame = Vec::new();
        report.encode(&mut frame);
        self.say_bytes(&frame).await;
    }

    /// Anything, also what is no frame. The service may be gone already.
    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        let _ = self.try_say_bytes(bytes).await;
    }

    /// Whether the service still listened.
    pub(crate) async fn try_say_bytes(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    async fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; HEADER_LEN];
        self.0.read_exact(&mut head).await.unwrap();
        let (kind, len) = wire::header(head, MAX_ORDER).unwrap();
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).await.unwrap();
        (kind, payload)
    }

    async fn data(&mut self, size: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size {
            let (kind, payload) = self.hear().await;
            let Ok(Order::Data(chunk)) = Order::decode(kind, &payload) else {
                panic!("expected data")
            };
            bytes.extend_from_slice(chunk);
        }
        bytes
    }

    /// Takes the order to start an interpreter ahead.
    pub(crate) async fn take_prestart(&mut self) -> wire::Prestart {
        let (kind, payload) = self.hear().await;
        match Order::decode(kind, &payload) {
            Ok(Order::Prestart(wanted)) => wanted,
            other => panic!("expected an order to start ahead, got {other:?}"),
        }
    }

    /// Waits for the first order, which nobody needs any more; whether it was to start an
    /// interpreter ahead. False where the service is gone.
    pub(crate) async fn asked_to_prestart(&mut self) -> bool {
        let mut head = [0; HEADER_LEN];
        if self.0.read_exact(&mut head).await.is_err() {
            return false;
        }
        let (kind, len) = wire::header(head, MAX_ORDER).unwrap();
        let mut payload = vec![0; len];
        self.0.read_exact(&mut payload).await.unwrap();
        matches!(Order::decode(kind, &payload), Ok(Order::Prestart(_)))
    }

    /// Takes everything up to the word to go, and says that the script was started.
    pub(crate) async fn take_job(&mut self) -> Taken {
        let taken = self.take_job_silently().await;
        self.say(&Report::Started).await;
        taken
    }

    pub(crate) async fn take_job_silently(&mut self) -> Taken {
        let mut taken = Taken::default();
        loop {
            let (kind, payload) = self.hear().await;
            match Order::decode(kind, &payload).unwrap() {
                Order::Job(head) => taken.head = head,
                Order::File { path, executable, size } => {
                    let path = String::from_utf8(path.to_vec()).unwrap();
                    let content = self.data(size).await;
                    taken.files.push((path, executable, content));
                }
                Order::Stdin { size } => taken.stdin = Some(self.data(size).await),
                Order::Go => return taken,
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Waits for the order to stop.
    pub(crate) async fn told_to_stop(&mut self) {
        let (kind, payload) = self.hear().await;
        assert_eq!(Order::decode(kind, &payload), Ok(Order::Stop));
    }
}
