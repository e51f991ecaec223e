//! The few calls we make to the daemon, each with a deadline and a plain error.

mod images;

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, ContainerUpdateBody,
    SystemInfo, SystemVersion, VolumeCreateRequest,
};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, DownloadFromContainerOptions,
    ListContainersOptions, ListVolumesOptions, RemoveContainerOptions, RemoveVolumeOptions,
    UploadToContainerOptions,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::timeout;
use tokio_util::io::StreamReader;

pub(super) use self::images::ImageEvent;
use super::transport::Transport;
use super::version::ApiVersion;
use crate::engine::{Channel, EngineError};
use crate::internet::causes;

const PING: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(10);
const CREATE: Duration = Duration::from_secs(30);
const ATTACH: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(30);
const UPDATE: Duration = Duration::from_secs(10);
const REMOVE: Duration = Duration::from_secs(30);
const TRANSFER: Duration = Duration::from_secs(60);

/// A daemon, spoken to in one version of its API.
pub(crate) struct Daemon {
    docker: Docker,
    transport: Transport,
}

/// Why a call failed. The texts are the daemon's: for the log only.
#[derive(Debug)]
pub(crate) enum DaemonError {
    /// It answered with an HTTP status that means no.
    Refused { call: &'static str, status: u16, text: String },
    /// There is nobody to answer.
    Unreachable { call: &'static str, text: String },
    /// No answer within the deadline.
    Slow { call: &'static str, deadline: Duration },
    /// An answer that can't be read.
    Unreadable { call: &'static str, text: String },
}

impl Daemon {
    /// A client for a `DOCKER_HOST`; nothing is sent yet.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the value when it is of another form or leads nowhere.
    pub(crate) fn new(host: Option<&str>) -> Result<Self, EngineError> {
        Self::over(Transport::new(host)?)
    }

    /// The same daemon, with every further call in the given version.
    ///
    /// # Errors
    /// As [`Daemon::new`].
    pub(super) fn pinned(self, version: ApiVersion) -> Result<Self, EngineError> {
        Self::over(self.transport.pinned(version))
    }

    fn over(transport: Transport) -> Result<Self, EngineError> {
        Ok(Self { docker: transport.client()?, transport })
    }

    pub(super) async fn ping(&self) -> Result<(), DaemonError> {
        within("ping", PING, self.docker.ping()).await.map(drop)
    }

    pub(super) async fn version(&self) -> Result<SystemVersion, DaemonError> {
        within("version", PING, self.docker.version()).await
    }

    pub(super) async fn info(&self) -> Result<SystemInfo, DaemonError> {
        within("info", LOOK, self.docker.info()).await
    }

    pub(super) async fn create(
        &self,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<(), DaemonError> {
        let options = CreateContainerOptions { name: Some(name.into()), ..Default::default() };
        let answer = within("create", CREATE, self.docker.create_container(Some(options), body));
        for warning in answer.await?.warnings {
            tracing::debug!(container = name, warning, "daemon warns");
        }
        Ok(())
    }

    pub(super) async fn inspect(
        &self,
        name: &str,
    ) -> Result<ContainerInspectResponse, DaemonError> {
        within("inspect", LOOK, self.docker.inspect_container(name, None)).await
    }

    /// The container's three streams, before it is started.
    pub(crate) async fn attach(&self, name: &str) -> Result<Channel, DaemonError> {
        let options = AttachContainerOptions {
            stream: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let attached = self.docker.attach_container(name, Some(options));
        within("attach", ATTACH, attached).await.map(channel)
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), DaemonError> {
        within("start", START, self.docker.start_container(name, None)).await
    }

    /// Changes the limits of a container that runs.
    pub(super) async fn update(
        &self,
        name: &str,
        limits: ContainerUpdateBody,
    ) -> Result<(), DaemonError> {
        within("update", UPDATE, self.docker.update_container(name, limits)).await
    }

    /// Kills and removes a container with the volumes that were made for it alone.
    pub(super) async fn remove(&self, name: &str) -> Result<(), DaemonError> {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        within("remove", REMOVE, self.docker.remove_container(name, Some(options))).await
    }

    /// Every container that carries the label, in any state.
    pub(super) async fn list(&self, label: &str) -> Result<Vec<ContainerSummary>, DaemonError> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options =
            ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        within("list", LOOK, self.docker.list_containers(Some(options))).await
    }

    /// Makes a named volume, or finds the one there is, and says where the daemon has it.
    pub(super) async fn volume(&self, name: &str) -> Result<String, DaemonError> {
        let request = VolumeCreateRequest { name: Some(name.into()), ..Default::default() };
        let volume = within("create volume", LOOK, self.docker.create_volume(request)).await?;
        Ok(volume.mountpoint)
    }

    /// The volumes with this in their name that no container uses.
    pub(super) async fn idle_volumes(&self, part: &str) -> Result<Vec<String>, DaemonError> {
        let only = |value: &str| vec![value.to_owned()];
        let filters =
            HashMap::from([("name".into(), only(part)), ("dangling".into(), only("true"))]);
        let options = ListVolumesOptions { filters: Some(filters) };
        let found = within("list volumes", LOOK, self.docker.list_volumes(Some(options))).await?;
        Ok(found.volumes.into_iter().flatten().map(|volume| volume.name).collect())
    }

    /// Removes a volume, unless a container uses it.
    pub(super) async fn remove_volume(&self, name: &str) -> Result<(), DaemonError> {
        let options = RemoveVolumeOptions { force: false };
        within("remove volume", LOOK, self.docker.remove_volume(name, Some(options))).await
    }

    /// Unpacks a tar archive into a folder of a container.
    pub(super) async fn upload(
        &self,
        name: &str,
        path: &str,
        archive: Vec<u8>,
    ) -> Result<(), DaemonError> {
        let options = UploadToContainerOptions { path: path.into(), ..Default::default() };
        let body = bollard::body_full(Bytes::from(archive));
        within("upload", TRANSFER, self.docker.upload_to_container(name, Some(options), body)).await
    }

    /// A file or folder of a container as a tar archive, cut after `max` bytes.
    pub(super) async fn download(
        &self,
        name: &str,
        path: &str,
        max: usize,
    ) -> Result<Vec<u8>, DaemonError> {
        let options = DownloadFromContainerOptions { path: path.into() };
        let chunks = self.docker.download_from_container(name, Some(options));
        let read = async {
            let mut chunks = std::pin::pin!(chunks);
            let mut archive = Vec::new();
            while let Some(chunk) = chunks.try_next().await? {
                archive.extend_from_slice(&chunk);
                if archive.len() > max {
                    archive.truncate(max);
                    break;
                }
            }
            Ok(archive)
        };
        within("download", TRANSFER, read).await
    }
}

async fn within<T>(
    call: &'static str,
    deadline: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, DaemonError> {
    match timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(DaemonError::new(call, deadline, error)),
        Err(_) => Err(DaemonError::Slow { call, deadline }),
    }
}

/// The daemon's multiplexed stream as the two directions of a guest's channel.
fn channel(attached: AttachContainerResults) -> Channel {
    let stdout = attached.output.filter_map(|frame| {
        ready(match frame {
            Ok(LogOutput::StdOut { message }) => Some(Ok(message)),
            Ok(LogOutput::StdErr { message }) => {
                tracing::debug!(bytes = message.len(), "the guest wrote to its stderr");
                None
            }
            Ok(_) => Some(Err(io::Error::other("the daemon's stream is not framed"))),
            Err(Error::IOError { err }) => Some(Err(err)),
            Err(other) => Some(Err(io::Error::other(other))),
        })
    });
    Channel::new(StreamReader::new(Box::pin(stdout)), attached.input)
}

impl DaemonError {
    fn new(call: &'static str, deadline: Duration, error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code: status, message: text } => {
                Self::Refused { call, status, text }
            }
            Error::RequestTimeoutError => Self::Slow { call, deadline },
            Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. } => Self::Unreachable { call, text: causes(&error) },
            other => Self::Unreadable { call, text: causes(&other) },
        }
    }

    /// The daemon answered this call with a no.
    pub(super) fn refuses(&self, name: &str) -> bool {
        matches!(self, Self::Refused { call, .. } if *call == name)
    }

    /// The HTTP status of a refusal.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { call, status, text } => write!(f, "{call}: HTTP {status}: {text}"),
            Self::Unreachable { call, text } | Self::Unreadable { call, text } => {
                write!(f, "{call}: {text}")
            }
            Self::Slow { call, deadline } => write!(f, "{call}: no answer in {deadline:?}"),
        }
    }
}

impl From<DaemonError> for EngineError {
    fn from(error: DaemonError) -> Self {
        let text = error.to_string();
        match error {
            DaemonError::Refused { status: 503, .. } | DaemonError::Unreachable { .. } => {
                Self::Unavailable(text)
            }
            // Only what is asked for can make these fail for good; in anything else it is the
            // daemon that is in trouble, or on its way down.
            DaemonError::Refused { call, status: 500.., .. }
                if !matches!(call, "create" | "start" | "update") =>
            {
                Self::Unavailable(text)
            }
            DaemonError::Slow { .. } => Self::Slow(text),
            DaemonError::Refused { .. } | DaemonError::Unreadable { .. } => Self::Make(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_does_not_answer_is_slow() {
        let deadline = Duration::from_millis(1);
        let error = within("ping", deadline, std::future::pending::<Result<(), _>>()).await;
        let error = EngineError::from(error.unwrap_err());
        assert_eq!(error.to_string(), "engine too slow: ping: no answer in 1ms");
    }

    #[test]
    fn errors_are_told_apart_by_what_helps() {
        let refused = |status| {
            let text = "no".into();
            EngineError::from(DaemonError::Refused { call: "create", status, text })
        };
        assert!(matches!(refused(503), EngineError::Unavailable(_)));
        assert!(matches!(refused(400), EngineError::Make(_)));
        assert!(matches!(refused(500), EngineError::Make(_)));
        let text = "going down".into();
        let looking = DaemonError::Refused { call: "inspect", status: 500, text };
        assert!(matches!(EngineError::from(looking), EngineError::Unavailable(_)));
        let broken = Error::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        let error = DaemonError::new("ping", PING, broken);
        assert!(matches!(EngineError::from(error), EngineError::Unavailable(_)));
    }

    #[tokio::test]
    async fn only_stdout_reaches_the_channel() {
        let frame = |message: &'static [u8]| Bytes::from_static(message);
        let mut report = Vec::new();
        oncebox_guest::wire::Report::Started.encode(&mut report);
        let (first, second) = report.split_at(2);
        let output = futures_util::stream::iter([
            Ok(LogOutput::StdOut { message: Bytes::copy_from_slice(first) }),
            Ok(LogOutput::StdErr { message: frame(b"not for the channel") }),
            Ok(LogOutput::StdOut { message: Bytes::copy_from_slice(second) }),
            Ok(LogOutput::Console { message: frame(b"unframed") }),
        ]);
        let input = Box::pin(tokio::io::sink());
        let mut channel = channel(AttachContainerResults { output: Box::pin(output), input });
        let report = channel.next().await.unwrap();
        assert_eq!(report, Some(oncebox_guest::wire::Report::Started));
        assert!(matches!(channel.next().await, Err(EngineError::Lost(_))));
    }
}
