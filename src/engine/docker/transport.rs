//! The way to the daemon: a Unix socket or TCP, over connections that are kept for the next call.
//! The API's client by itself opens one for each.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, body_full};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyperlocal::UnixConnector;

use super::version::ApiVersion;
use crate::engine::EngineError;

const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Connections kept for the next call, and for how long: less than a proxy on the way would keep
/// them, so that none is closed just when it is used again.
const IDLE: usize = 8;
const IDLE_TIME: Duration = Duration::from_secs(10);

/// TCP only: for a connection to stand, and to learn that the other side has vanished, which an
/// idle stream of events would never notice by itself.
const CONNECT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;

/// The API client's own deadline, only so that it is longer than each of ours. In seconds.
const CLIENT: u64 = 300;

pub(super) type Answer = Result<Response<Incoming>, Error>;
type Call = dyn Fn(BollardRequest) -> BoxFuture<'static, Answer> + Send + Sync;

/// A daemon's address and the connections to it.
#[derive(Clone)]
pub(super) struct Transport {
    call: Arc<Call>,
    /// What every URI begins with.
    base: String,
    /// Put into every call; without one a daemon answers in its newest.
    version: Option<ApiVersion>,
}

/// The Unix socket that a `DOCKER_HOST` leads to.
pub(crate) fn socket(host: Option<&str>) -> Option<&Path> {
    host.unwrap_or(DEFAULT_HOST).strip_prefix("unix://").map(Path::new)
}

impl Transport {
    /// For a `DOCKER_HOST`; nothing is sent yet.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the value when it is of another form or leads nowhere.
    pub(super) fn new(host: Option<&str>) -> Result<Self, EngineError> {
        let host = host.unwrap_or(DEFAULT_HOST);
        let refused = |reason: &dyn fmt::Display| {
            EngineError::Unavailable(format!("no Docker daemon at {host}: {reason}"))
        };
        let tcp = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"));
        let (call, base) = if let Some(path) = host.strip_prefix("unix://") {
            if !Path::new(path).exists() {
                return Err(refused(&"there is no such socket"));
            }
            let uri = hyper::Uri::from(hyperlocal::Uri::new(path, ""));
            let name = uri.authority().ok_or_else(|| refused(&"not a path"))?.clone();
            (caller(UnixConnector), format!("unix://{name}"))
        } else if let Some(address) = tcp {
            (caller(tcp_connector()), format!("http://{}", address.trim_end_matches('/')))
        } else {
            let forms = "unix:///path or tcp://host:port";
            return Err(EngineError::Unavailable(format!("DOCKER_HOST is {host:?}, not {forms}")));
        };
        Ok(Self { call, base, version: None })
    }

    /// The same way, with every further call in the given version.
    pub(super) fn pinned(self, version: ApiVersion) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The API's client over these connections.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] when the address can't be used.
    pub(super) fn client(&self) -> Result<Docker, EngineError> {
        let transport = self.clone();
        let send = move |request| transport.send(request);
        Docker::connect_with_custom_transport(send, Some(&self.base), CLIENT, API_DEFAULT_VERSION)
            .map_err(|e| EngineError::Unavailable(format!("DOCKER_HOST: {e}")))
    }

    /// A bare call, for an answer whose head and body come at different times. `credentials` are
    /// for the registry that the daemon will ask.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        credentials: Option<HeaderValue>,
    ) -> Answer {
        let mut request = BollardRequest::new(body_full(Bytes::new()));
        *request.method_mut() = method;
        *request.uri_mut() = format!("{}{path}", self.base).parse().map_err(invalid)?;
        if let Some(value) = credentials {
            request.headers_mut().insert("x-registry-auth", value);
        }
        self.send(request).await
    }

    fn send(&self, mut request: BollardRequest) -> BoxFuture<'static, Answer> {
        let pinned = self.version.and_then(|version| version.pin(&request.uri().to_string()));
        match pinned.map(|uri| uri.parse()).transpose() {
            Ok(Some(uri)) => *request.uri_mut() = uri,
            Ok(None) => {}
            Err(error) => return std::future::ready(Err(invalid(error))).boxed(),
        }
        (self.call)(request)
    }
}

fn caller<C>(connector: C) -> Arc<Call>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .pool_max_idle_per_host(IDLE)
        .build(connector);
    Arc::new(move |request: BollardRequest| {
        let answer = client.request(request);
        async move { answer.await.map_err(Error::from) }.boxed()
    })
}

fn tcp_connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT));
    // A job is a few small writes.
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_AGAIN));
    connector.set_keepalive_retries(Some(KEEPALIVE_TRIES));
    connector
}

fn invalid(error: hyper::http::uri::InvalidUri) -> Error {
    Error::from(std::io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use super::super::daemon::Daemon;
    use super::super::fake::{Answer, Fake};

    #[tokio::test]
    async fn a_connection_is_kept_for_the_next_call() {
        let fake = Fake::start(|_, _| Answer::ok("OK")).await;
        let daemon = Daemon::new(Some(&fake.host())).unwrap();
        for _ in 0..3 {
            daemon.ping().await.unwrap();
        }
        assert_eq!(fake.connections(), 1);
    }

    #[tokio::test]
    async fn a_kept_connection_does_not_outlive_its_daemon() {
        let fake = Fake::start(|_, _| Answer::ok("OK")).await;
        let daemon = Daemon::new(Some(&fake.host())).unwrap();
        daemon.ping().await.unwrap();
        fake.hang_up().await;
        daemon.ping().await.unwrap();
        assert_eq!(fake.connections(), 2);
    }
}
