//! The script at a service: sent by HTTP, and followed by its events.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::Stopped;
use super::events::{Event, Parser};
use super::output::Output;
use super::request::{Body, body};
use super::server::Server;
use crate::execution::request::Execution;
use crate::execution::runtime::Names;
use crate::execution::transcript::Stream;
use crate::internet::tls;
use crate::registry::client::retry_after;

/// For a connection to stand, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Between two signs of life of the service, which gives one every 15 s once a script has begun.
/// Before that, a request may be on its way for long.
const SILENCE: Duration = Duration::from_secs(120);
/// A service that is busy is asked again for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// A problem document, at most.
const MAX_PROBLEM: usize = 64 << 10;
const EVENTS: &str = "text/event-stream";

/// Runs it and passes on what it prints, if that is asked for; the answer's document.
pub(super) async fn run(
    server: &Server,
    execution: &Execution,
    names: &Names,
    mut output: Option<&mut Output>,
) -> Result<Vec<u8>, Stopped> {
    let mut response = accepted(server, body(execution, names).map_err(Stopped::Usage)?).await?;
    let mut parser = Parser::default();
    let mut events = Vec::new();
    loop {
        let piece = response.chunk().await.map_err(|e| lost(&e))?;
        let piece = piece.ok_or_else(|| Stopped::Failed("the service broke off".into()))?;
        let pushed = parser.push(&piece, &mut events);
        pushed.map_err(|_| Stopped::Failed("the service does not end an event".into()))?;
        for event in events.drain(..) {
            match event.name.as_str() {
                "stdout" => pass(output.as_deref_mut(), Stream::Stdout, &event).await?,
                "stderr" => pass(output.as_deref_mut(), Stream::Stderr, &event).await?,
                "result" => return Ok(event.data),
                "error" => return Err(Problem::read(&event.data).into()),
                // `started`, and what later services may say.
                _ => {}
            }
        }
    }
}

/// Sends it until the service takes it.
async fn accepted(server: &Server, body: Body) -> Result<Response, Stopped> {
    let client = client(server).map_err(Stopped::Failed)?;
    let Body { content_type, bytes } = body;
    let body = bytes::Bytes::from(bytes);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut request = client
            .post(server.execute.clone())
            .header(ACCEPT, EVENTS)
            .header(CONTENT_TYPE, &content_type)
            .body(body.clone());
        if let Some(authorization) = &server.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let response = request.send().await.map_err(|e| lost(&e))?;
        let status = response.status();
        if status == StatusCode::OK {
            let answered = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
            return match answered.is_some_and(|text| text.starts_with(EVENTS)) {
                true => Ok(response),
                false => Err(Stopped::Failed("whoever answers is no service of this kind".into())),
            };
        }
        let busy =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let wait = retry_after(response.headers(), SystemTime::now()).filter(|_| busy);
        match wait {
            Some(wait) if Instant::now() + wait < until => sleep(wait).await,
            _ => return Err(problem(response).await.into()),
        }
    }
}

fn client(server: &Server) -> Result<Client, String> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls(b"")?)
        // A key is for whom it was given to.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("oncebox/", env!("CARGO_PKG_VERSION")));
    let builder = if server.is_here() { builder.no_proxy() } else { builder };
    builder.build().map_err(|e| format!("no client for HTTP: {e}"))
}

/// The data of `stdout` and `stderr`.
#[derive(Deserialize)]
struct Piece {
    content: Option<String>,
    content_base64: Option<String>,
}

async fn pass(output: Option<&mut Output>, stream: Stream, event: &Event) -> Result<(), Stopped> {
    let Some(output) = output else { return Ok(()) };
    let garbled = || Stopped::Failed("an event of the service is not understood".into());
    let piece: Piece = serde_json::from_slice(&event.data).map_err(|_| garbled())?;
    let bytes = match piece {
        Piece { content: Some(text), .. } => text.into_bytes(),
        Piece { content_base64: Some(text), .. } => STANDARD.decode(text).map_err(|_| garbled())?,
        _ => return Err(garbled()),
    };
    output.write(stream, &bytes).await.map_err(Stopped::from)
}

/// What is wrong, in the service's words (RFC 9457).
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    status: u16,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    field: Option<String>,
}

impl Problem {
    fn read(document: &[u8]) -> Self {
        serde_json::from_slice(document).unwrap_or_default()
    }
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        let Problem { status, code, detail, field } = problem;
        let detail = if detail.is_empty() { "the service does not say why".into() } else { detail };
        match field {
            // The caller must change something.
            Some(field) if status == 400 || code == "files_refused" => {
                Self::Usage(format!("{field}: {detail}"))
            }
            _ if status == 400 => Self::Usage(detail),
            _ => Self::Failed(format!("the service answers {status}: {detail}")),
        }
    }
}

async fn problem(mut response: Response) -> Problem {
    let status = response.status().as_u16();
    let mut document = Vec::new();
    let read = async {
        while let Ok(Some(piece)) = response.chunk().await {
            document.extend_from_slice(&piece);
            if document.len() > MAX_PROBLEM {
                break;
            }
        }
    };
    // What is there by then says something or nothing.
    let _ = timeout(CONNECT, read).await;
    Problem { status, ..Problem::read(&document) }
}

/// The error's own words hold the address, which the caller knows, and not why.
fn lost(error: &reqwest::Error) -> Stopped {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        why = cause.to_string();
        source = cause.source();
    }
    let what = match error.is_connect() {
        true => "the service can't be reached",
        false => "the connection to the service is lost",
    };
    Stopped::Failed(format!("{what}: {why}"))
}
