//! The calls about images.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bollard::models::{
    ImageDeleteResponseItem, ImageHistoryResponseItem, ImageInspect, ImagePruneResponse,
    ImageSummary,
};
use bollard::query_parameters::{
    ListContainersOptions, ListImagesOptions, PruneImagesOptions, RemoveImageOptions,
};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::{Daemon, DaemonError, LOOK, within};
use crate::internet::causes;

/// For the daemon to find the registry, to be let in there, and to read a manifest: only then does
/// its answer begin.
const MANIFEST: Duration = Duration::from_secs(30);
/// For layers to be deleted.
const REMOVE: Duration = Duration::from_secs(60);
const PRUNE: Duration = Duration::from_secs(300);

/// The longest line that is read, and the longest refusal.
const LONGEST: usize = 64 << 10;

impl Daemon {
    pub(in crate::engine::docker) async fn inspect_image(
        &self,
        name: &str,
    ) -> Result<ImageInspect, DaemonError> {
        within("inspect image", LOOK, self.docker.inspect_image(name)).await
    }

    /// What happens to images, from now on.
    pub(in crate::engine::docker) async fn image_events(&self) -> Result<ImageEvents, DaemonError> {
        // The daemon answers before it begins to listen. What happened in between is among the
        // latest events that it remembers, and it tells all of those first.
        const PATH: &str = "/events?since=0&filters=%7B%22type%22%3A%5B%22image%22%5D%7D";
        let call = self.transport.call(Method::GET, PATH, None);
        let answer = within("events", LOOK, call).await?;
        let body = granted("events", answer).await?;
        Ok(ImageEvents(Lines::new("events", body)))
    }

    /// Has the daemon pull an image. It gives up when what is answered here is dropped, and so it
    /// does when this future is.
    pub(in crate::engine::docker) async fn pull_image(
        &self,
        name: &str,
        tag_or_digest: &str,
        platform: &str,
        credentials: Option<HeaderValue>,
    ) -> Result<Lines, DaemonError> {
        // Of all that a reference may hold, only the brackets of an address mean something else in
        // a query.
        let name = name.replace('[', "%5B").replace(']', "%5D");
        let path =
            format!("/images/create?fromImage={name}&tag={tag_or_digest}&platform={platform}");
        let call = self.transport.call(Method::POST, &path, credentials);
        let answer = within("pull", MANIFEST, call).await?;
        granted("pull", answer).await.map(|body| Lines::new("pull", body))
    }

    pub(in crate::engine::docker) async fn images(&self) -> Result<Vec<ImageSummary>, DaemonError> {
        let all = None::<ListImagesOptions>;
        within("list images", LOOK, self.docker.list_images(all)).await
    }

    /// How an image came about, the latest step first.
    pub(in crate::engine::docker) async fn history(
        &self,
        name: &str,
    ) -> Result<Vec<ImageHistoryResponseItem>, DaemonError> {
        within("image history", LOOK, self.docker.image_history(name)).await
    }

    /// Whether a container was made from the image of this id, in whatever state it is.
    pub(in crate::engine::docker) async fn uses_image(
        &self,
        id: &str,
    ) -> Result<bool, DaemonError> {
        let filters = Some(HashMap::from([("ancestor".to_owned(), vec![id.to_owned()])]));
        let options = ListContainersOptions { all: true, filters, ..Default::default() };
        let found = within("list", LOOK, self.docker.list_containers(Some(options))).await?;
        // The daemon also lists containers of images that were built upon this one.
        Ok(found.iter().any(|container| container.image_id.as_deref() == Some(id)))
    }

    /// Removes a name, and with the last one the image, unless a container has it.
    pub(in crate::engine::docker) async fn remove_image(
        &self,
        name: &str,
    ) -> Result<Vec<ImageDeleteResponseItem>, DaemonError> {
        let options = RemoveImageOptions { force: false, noprune: false, ..Default::default() };
        within("remove image", REMOVE, self.docker.remove_image(name, Some(options), None)).await
    }

    /// Removes the images that no name with a tag leads to and no container uses.
    pub(in crate::engine::docker) async fn prune_images(
        &self,
    ) -> Result<ImagePruneResponse, DaemonError> {
        let dangling = HashMap::from([("dangling".to_owned(), vec!["true".to_owned()])]);
        let options = PruneImagesOptions { filters: Some(dangling) };
        within("prune images", PRUNE, self.docker.prune_images(Some(options))).await
    }
}

/// The daemon's word that images change, for as long as the connection stands.
pub(in crate::engine::docker) struct ImageEvents(Lines);

/// What happened to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::docker) enum ImageEvent {
    /// Its registry was asked for what this name leads to, which may be what it led to before.
    Pulled(String),
    Other,
}

impl ImageEvents {
    /// Waits for the next; `None` when none will come any more.
    pub(in crate::engine::docker) async fn next(&mut self) -> Option<ImageEvent> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Event {
            action: String,
            actor: Actor,
        }
        #[derive(Deserialize)]
        struct Actor {
            #[serde(rename = "ID")]
            id: String,
        }
        let line = self.0.next().await.ok()??;
        Some(match serde_json::from_slice::<Event>(&line) {
            Ok(event) if event.action == "pull" => ImageEvent::Pulled(event.actor.id),
            _ => ImageEvent::Other,
        })
    }
}

/// What the daemon says line by line while it works; dropping it ends the connection.
pub(in crate::engine::docker) struct Lines {
    call: &'static str,
    body: Incoming,
    buffer: BytesMut,
    /// So much of the buffer holds no end of a line.
    searched: usize,
}

impl Lines {
    fn new(call: &'static str, body: Incoming) -> Self {
        Self { call, body, buffer: BytesMut::new(), searched: 0 }
    }

    /// The next line that is not empty; `None` after the last. A wait that was given up loses
    /// nothing.
    ///
    /// # Errors
    /// When the connection breaks, or a line has no end.
    pub(in crate::engine::docker) async fn next(&mut self) -> Result<Option<Bytes>, DaemonError> {
        let call = self.call;
        loop {
            let unsearched = self.buffer.iter().skip(self.searched);
            let line = match unsearched.copied().position(|byte| byte == b'\n') {
                Some(position) => self.buffer.split_to(self.searched + position + 1),
                None if self.buffer.len() > LONGEST => self.buffer.split(),
                None => {
                    self.searched = self.buffer.len();
                    match frame(&mut self.body).await {
                        Some(Ok(frame)) => {
                            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
                            continue;
                        }
                        Some(Err(error)) => {
                            return Err(DaemonError::Unreachable { call, text: causes(&error) });
                        }
                        None if self.buffer.is_empty() => return Ok(None),
                        None => self.buffer.split(),
                    }
                }
            };
            self.searched = 0;
            if line.len() > LONGEST {
                let text = format!("a line of more than {LONGEST} bytes");
                return Err(DaemonError::Unreadable { call, text });
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line.freeze()));
            }
        }
    }
}

async fn frame(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// The body of an answer that is no refusal.
async fn granted(call: &'static str, answer: Response<Incoming>) -> Result<Incoming, DaemonError> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let (status, mut body) = (answer.status(), answer.into_body());
    if status == StatusCode::OK {
        return Ok(body);
    }
    let mut read = BytesMut::new();
    let all = async {
        while let Some(Ok(frame)) = frame(&mut body).await
            && read.len() < LONGEST
        {
            read.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    };
    // What came of it is enough for the log.
    let _ = timeout(LOOK, all).await;
    let text = match serde_json::from_slice::<Refusal>(&read) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(&read).into_owned(),
    };
    Err(DaemonError::Refused { call, status: status.as_u16(), text })
}
