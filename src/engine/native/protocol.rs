//! What the service and the spawner say to each other: one packet a message, each far below
//! [`MAX_PACKET`], over an inherited `SOCK_SEQPACKET` socketpair.

use oncebox_guest::wire::{Malformed, Reader, Usage, Writer};

use crate::engine::ContainerSpec;
use crate::registry::LayerId;

/// The longest packet either side accepts: room for as many layers as an overlay can have.
pub const MAX_PACKET: usize = 20_480;

/// The longest reason that is passed on.
const MAX_REASON: usize = 2048;

/// Names one container for as long as a service lives; never used twice.
pub type ContainerId = u64;

/// From the service to the spawner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make a container; the packet carries one descriptor, the guest's end of its control stream.
    Make { id: ContainerId, limits: MakeLimits, root: Root },
    /// Give a waiting container other limits; [`Reply::Limited`] follows.
    Limit { id: ContainerId, limits: MakeLimits },
    /// Kill a container, if it still lives. [`Reply::Gone`] follows in any case.
    Kill { id: ContainerId },
}

/// What a container's root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// This machine's own `/usr`.
    Host,
    /// Folders of the store, the lowest first.
    Layers(Vec<LayerId>),
}

/// The limits of one container, in the words of `ContainerSpec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MakeLimits {
    pub memory: u64,
    pub cpu_millis: u32,
    pub pids: u32,
    pub tmp: u64,
}

/// From the spawner to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The spawner works. `groups` supplementary groups beside its own could not be given up
    /// (an ordinary user can't); `enforced` says whether cgroup limits hold.
    Hello { groups: u32, enforced: bool },
    /// The spawner can't work on this machine, and why.
    Refused { reason: String },
    /// A container was made; its guest speaks for itself from here on. `uid` is what it sees itself
    /// as; the pid is for people.
    Made { id: ContainerId, pid: u32, uid: u32 },
    /// A container was not made, and nothing of it is left.
    Failed { id: ContainerId, reason: String },
    /// The limits asked for hold, read back.
    Limited { id: ContainerId },
    /// They do not, and the container must not be used.
    NotLimited { id: ContainerId, reason: String },
    /// A container has ended and everything of it is gone, proven; its last counters.
    Gone { id: ContainerId, usage: Usage },
    /// The spawner died and a new one took its place: every container is dead.
    Restarted,
}

const MAKE: u8 = 1;
const KILL: u8 = 2;
const LIMIT: u8 = 3;
const HELLO: u8 = 65;
const REFUSED: u8 = 66;
const MADE: u8 = 67;
const FAILED: u8 = 68;
const GONE: u8 = 69;
const RESTARTED: u8 = 70;
const LIMITED: u8 = 71;
const NOT_LIMITED: u8 = 72;

impl Request {
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(64);
        let mut w = Writer::new(&mut packet);
        match self {
            Self::Make { id, limits, root } => {
                limits.write(w.u8(MAKE).u64(*id));
                root.write(&mut w);
            }
            Self::Limit { id, limits } => limits.write(w.u8(LIMIT).u64(*id)),
            Self::Kill { id } => {
                w.u8(KILL).u64(*id);
            }
        }
        packet
    }

    /// # Errors
    /// [`Malformed`] for anything that [`Request::encode`] does not make.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(packet);
        let request = match r.u8()? {
            MAKE => Self::Make {
                id: r.u64()?,
                limits: MakeLimits::read(&mut r)?,
                root: Root::read(&mut r)?,
            },
            LIMIT => Self::Limit { id: r.u64()?, limits: MakeLimits::read(&mut r)? },
            KILL => Self::Kill { id: r.u64()? },
            _ => return Err(Malformed("unknown request")),
        };
        r.end()?;
        Ok(request)
    }
}

impl MakeLimits {
    fn write(&self, w: &mut Writer<'_>) {
        w.u64(self.memory).u32(self.cpu_millis).u32(self.pids).u64(self.tmp);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { memory: r.u64()?, cpu_millis: r.u32()?, pids: r.u32()?, tmp: r.u64()? })
    }
}

impl Root {
    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Host => w.flag(true),
            Self::Layers(layers) => {
                let bytes: Vec<u8> = layers.iter().flat_map(|layer| layer.0).collect();
                w.flag(false).bytes(&bytes)
            }
        };
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.flag()? {
            return Ok(Self::Host);
        }
        let (layers, rest) = r.bytes()?.as_chunks();
        match rest {
            [] => Ok(Self::Layers(layers.iter().copied().map(LayerId).collect())),
            _ => Err(Malformed("a layer's name is cut short")),
        }
    }
}

impl From<&ContainerSpec> for Root {
    fn from(spec: &ContainerSpec) -> Self {
        spec.image.layers.as_ref().map_or(Self::Host, |layers| Self::Layers(layers.ids.clone()))
    }
}

impl From<&ContainerSpec> for MakeLimits {
    fn from(spec: &ContainerSpec) -> Self {
        let ContainerSpec { memory, cpu_millis, pids, tmp, .. } = *spec;
        Self { memory, cpu_millis, pids, tmp }
    }
}

impl Reply {
    pub fn encode(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(64);
        let mut w = Writer::new(&mut packet);
        match self {
            Self::Hello { groups, enforced } => w.u8(HELLO).u32(*groups).flag(*enforced),
            Self::Refused { reason } => w.u8(REFUSED).bytes(short(reason)),
            Self::Made { id, pid, uid } => w.u8(MADE).u64(*id).u32(*pid).u32(*uid),
            Self::Failed { id, reason } => w.u8(FAILED).u64(*id).bytes(short(reason)),
            Self::Limited { id } => w.u8(LIMITED).u64(*id),
            Self::NotLimited { id, reason } => w.u8(NOT_LIMITED).u64(*id).bytes(short(reason)),
            Self::Gone { id, usage } => {
                w.u8(GONE).u64(*id);
                usage.write(&mut w);
                &mut w
            }
            Self::Restarted => w.u8(RESTARTED),
        };
        packet
    }

    /// # Errors
    /// [`Malformed`] for anything that [`Reply::encode`] does not make.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(packet);
        let reply = match r.u8()? {
            HELLO => Self::Hello { groups: r.u32()?, enforced: r.flag()? },
            REFUSED => Self::Refused { reason: text(r.bytes()?) },
            MADE => Self::Made { id: r.u64()?, pid: r.u32()?, uid: r.u32()? },
            FAILED => Self::Failed { id: r.u64()?, reason: text(r.bytes()?) },
            LIMITED => Self::Limited { id: r.u64()? },
            NOT_LIMITED => Self::NotLimited { id: r.u64()?, reason: text(r.bytes()?) },
            GONE => Self::Gone { id: r.u64()?, usage: Usage::read(&mut r)? },
            RESTARTED => Self::Restarted,
            _ => return Err(Malformed("unknown reply")),
        };
        r.end()?;
        Ok(reply)
    }
}

/// Reasons are sentences of ours; this only keeps a long path in one from breaking the packet.
fn short(reason: &str) -> &[u8] {
    &reason.as_bytes()[..reason.len().min(MAX_REASON)]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_trip() {
        let limits = MakeLimits { memory: 1 << 40, cpu_millis: 500, pids: 64, tmp: 1 << 26 };
        for request in [
            Request::Make { id: 7, limits, root: Root::Host },
            Request::Make { id: 7, limits, root: Root::Layers(vec![LayerId([7; 32]); 500]) },
            Request::Make { id: 7, limits, root: Root::Layers(vec![]) },
            Request::Limit { id: 8, limits },
            Request::Kill { id: u64::MAX },
        ] {
            let packet = request.encode();
            assert!(packet.len() < MAX_PACKET);
            assert_eq!(Request::decode(&packet), Ok(request));
        }
        let usage = Usage { cpu_ns: Some(1), oom_kills: Some(2), ..Usage::default() };
        for reply in [
            Reply::Hello { groups: 0, enforced: true },
            Reply::Refused { reason: "no cgroups".into() },
            Reply::Made { id: 1, pid: 2, uid: 1000 },
            Reply::Failed { id: 1, reason: "x".repeat(MAX_REASON) },
            Reply::Limited { id: 2 },
            Reply::NotLimited { id: 2, reason: "busy".into() },
            Reply::Gone { id: 3, usage },
            Reply::Restarted,
        ] {
            let packet = reply.encode();
            assert!(packet.len() < MAX_PACKET);
            assert_eq!(Reply::decode(&packet), Ok(reply));
        }
    }
}
