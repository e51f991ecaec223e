//! What happens to the process before it has threads: limits are raised, the spawner starts, and
//! privileges go.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use super::socket::Socket;
use super::{Launched, executions, privileges};
use crate::config::{EngineChoice, Settings, User};
use crate::execution::store::Place;

/// Descriptors beside those of connections: of containers, images and stores.
const BESIDE_CONNECTIONS: u64 = 512;

/// What has to be there before the process gives up its privileges, and what it gets behind that.
pub(super) struct Prepared {
    pub(super) launched: Option<Launched>,
    pub(super) executions: Place,
    pub(super) runtime: tokio::runtime::Runtime,
}

impl Prepared {
    /// To be called while there is one thread.
    ///
    /// # Errors
    /// A sentence that says what can't be had or given up.
    pub(super) fn before_threads(settings: &Settings) -> Result<Self, String> {
        raise_descriptor_limit(settings.http.max_connections);
        let (launched, executions) = match (settings.engine, &settings.user) {
            (EngineChoice::Docker, None) => (None, executions::place(settings, None)?),
            (EngineChoice::Docker, Some(user)) => {
                become_user_of_docker(settings, user)?;
                // What it opens from here on, that user may open.
                (None, executions::place(settings, None)?)
            }
            (_, user) => {
                let owner = user.as_ref().map(privileges::ids).transpose()?;
                let launched = Launched::now(settings, owner);
                let executions = executions::place(settings, owner)?;
                if let Some(user) = user {
                    privileges::become_user(user, None)?;
                }
                (Some(launched), executions)
            }
        };
        // HTTP has threads of its own, as many as there are cores; here is what goes on behind it.
        let threads =
            std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build();
        let runtime = runtime.map_err(|e| format!("no threads: {e}"))?;
        Ok(Self { launched, executions, runtime })
    }
}

/// On the docker engine nothing needs root but the way to the daemon's socket, and for that its group
/// will do.
fn become_user_of_docker(settings: &Settings, user: &User) -> Result<(), String> {
    let ids = privileges::ids(user)?;
    executions::make_folder(settings, ids);
    let socket = Socket::find(settings)?;
    let group = socket.as_ref().and_then(|socket| socket.group_for(ids));
    privileges::become_user(user, group)?;
    socket.map_or(Ok(()), |socket| socket.can_be_used_by(ids.0))
}

/// Every container takes a few descriptors, here and in the spawner. The soft limit is low only for
/// the sake of old programs that use select(2).
fn raise_descriptor_limit(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        warn!(%error, "the limit of open files stays as it is");
    }
    if let Some(most) = limit.maximum.filter(|most| *most < connections as u64 + BESIDE_CONNECTIONS)
    {
        warn!(
            "{most} open files may be too few for {connections} connections, MAX_CONNECTIONS, and what \
             executions need beside them; lower it, or raise the limit (ulimit -Hn)"
        );
    }
}
