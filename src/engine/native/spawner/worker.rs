//! The spawner itself: one loop over the service's requests and the deaths of its containers.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oncebox_guest::wire::Usage;
use rustix::event::{Timespec, epoll};
use rustix::process::{
    Signal, WaitId, WaitIdOptions, getegid, geteuid, getgroups, pidfd_send_signal, waitid,
};

use super::birth::{self, Plan};
use super::layers::LayerNames;
use super::uids::Uids;
use super::{Options, Privilege, sealed, template};
use crate::engine::hardening::seccomp::{self, Program};
use crate::engine::native::cgroup::{self, Group, Tree};
use crate::engine::native::protocol::{ContainerId, MakeLimits, Reply, Request, Root};
use crate::engine::native::socket;
use crate::engine::owner::Owner;
use crate::sys;

/// The event key of the connection; containers count from 1.
const CONNECTION: u64 = 0;

/// How long a group that is still busy waits for the next try.
const BUSY_RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// The spawner's state.
pub struct Worker<'a> {
    connection: &'a OwnedFd,
    events: OwnedFd,
    privilege: Privilege,
    user_namespace: bool,
    programs: Vec<&'static str>,
    layers: LayerNames,
    guest: OwnedFd,
    seccomp: Program,
    tree: Option<Tree>,
    uids: Uids,
    living: HashMap<ContainerId, Living>,
    /// Containers whose processes are gone and whose group the kernel still holds busy.
    dying: Vec<(ContainerId, Living, Usage)>,
}

struct Living {
    pidfd: OwnedFd,
    /// The group's name.
    group: Option<String>,
    outer_id: u32,
    /// Somebody asked for this end, and may want the last counters.
    killed: bool,
}

impl<'a> Worker<'a> {
    /// Prepares everything that containers share.
    ///
    /// # Errors
    /// What this machine lacks, in a sentence for people.
    pub fn new(connection: &'a OwnedFd, owner: &Owner, options: &Options) -> io::Result<Self> {
        let tree = match groups(owner) {
            Ok(tree) => Some(tree),
            Err(_) if options.accept_unenforced => None,
            Err(e) => {
                return Err(io::Error::other(format!(
                    "memory, CPU and process limits can't be enforced ({e}); run as root, or in a \
                     delegated cgroup v2 (systemd-run --user --scope -p Delegate=yes), or accept \
                     containers without them by ACCEPT_UNENFORCED=memory,cpu,pids"
                )));
            }
        };
        let guest = sealed(c"oncebox-guest", |file| file.write_all(crate::guest_binary::bytes()))?;
        // Above the numbers that the guest's own descriptors get.
        let guest = rustix::io::fcntl_dupfd_cloexec(&guest, 64)?;
        let privilege = enter_namespaces()?;
        let programs = template::enter(privilege, options.layers.as_deref())?;
        let events = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let key = epoll::EventData::new_u64(CONNECTION);
        epoll::add(&events, connection, key, epoll::EventFlags::IN)?;
        Ok(Self {
            connection,
            events,
            privilege,
            user_namespace: may_have_user_namespace(privilege)?,
            programs,
            layers: LayerNames::default(),
            guest,
            seccomp: seccomp::bpf().map_err(io::Error::other)?,
            tree,
            uids: Uids::new(owner.pid),
            living: HashMap::new(),
            dying: Vec::new(),
        })
    }

    /// Works until the service is gone; then everything of ours is gone as well.
    ///
    /// # Errors
    /// What the kernel refuses that it must not; a new spawner is to take over.
    pub fn run(mut self) -> io::Result<()> {
        let own = getegid();
        let groups = getgroups()?.into_iter().filter(|group| *group != own).count();
        self.reply(&Reply::Hello {
            groups: match self.privilege {
                Privilege::Root => 0,
                Privilege::User => u32::try_from(groups).unwrap_or(u32::MAX),
            },
            enforced: self.tree.is_some(),
        })?;
        self.serve()?;
        self.end()
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            for key in self.wait()? {
                if key != CONNECTION {
                    self.bury(key - 1)?;
                } else if !self.request()? {
                    return Ok(());
                }
            }
            self.bury_again()?;
        }
    }

    fn wait(&self) -> io::Result<Vec<u64>> {
        let mut ready = [const { std::mem::MaybeUninit::uninit() }; 64];
        let timeout = (!self.dying.is_empty()).then_some(&BUSY_RETRY);
        match epoll::wait(&self.events, &mut ready, timeout) {
            Ok((ready, _)) => Ok(ready.iter().map(|event| event.data.u64()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }

    /// Handles one request; `false` when the service is gone.
    fn request(&mut self) -> io::Result<bool> {
        let (packet, fd) = match socket::receive(self.connection) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
            Err(e) => return Err(e),
        };
        match Request::decode(&packet).map_err(io::Error::other)? {
            Request::Make { id, limits, root } => match self.make(id, &limits, &root, fd) {
                Ok((reply, pidfd)) => self.reply_with(&reply, Some(pidfd.as_fd()))?,
                Err(e) => self.reply(&Reply::Failed { id, reason: e.to_string() })?,
            },
            Request::Limit { id, limits } => {
                let reply = match self.limit(id, &limits) {
                    Ok(()) => Reply::Limited { id },
                    Err(e) => Reply::NotLimited { id, reason: e.to_string() },
                };
                self.reply(&reply)?;
            }
            Request::Kill { id } => {
                if let Some(living) = self.living.get_mut(&id) {
                    living.killed = true;
                    kill(&living.pidfd)?;
                    if let (Some(name), Some(tree)) = (&living.group, &self.tree) {
                        // What dies slowly dies all the same.
                        let _ = tree.find(name).and_then(|group| group.unthrottle());
                    }
                }
            }
        }
        Ok(true)
    }

    fn make(
        &mut self,
        id: ContainerId,
        limits: &MakeLimits,
        root: &Root,
        control: Option<OwnedFd>,
    ) -> io::Result<(Reply, OwnedFd)> {
        let control = control.ok_or_else(|| io::Error::other("no control stream"))?;
        if self.living.contains_key(&id) {
            return Err(io::Error::other("this id is taken"));
        }
        let outer_id = match self.privilege {
            Privilege::Root => {
                self.uids.take().ok_or_else(|| io::Error::other("no uid is free"))?
            }
            Privilege::User => 0,
        };
        let made = self.make_as(outer_id, id, limits, root, control);
        if made.is_err() {
            self.uids.give_back(outer_id);
        }
        made
    }

    fn make_as(
        &mut self,
        outer_id: u32,
        id: ContainerId,
        limits: &MakeLimits,
        root: &Root,
        control: OwnedFd,
    ) -> io::Result<(Reply, OwnedFd)> {
        let root = match root {
            Root::Host => birth::Root::Host(&self.programs),
            Root::Layers(layers) => birth::Root::Layers(self.layers.names(layers)?),
        };
        let name = format!("c{id}");
        let group = match &self.tree {
            Some(tree) => Some(tree.group(&name, limits)?),
            None => None,
        };
        let counters = group.as_ref().map_or([const { None }; 5], Group::counters);
        let plan = Plan {
            privilege: self.privilege,
            guest: self.guest.as_fd(),
            seccomp: &self.seccomp,
            root,
            group: group.as_ref(),
            counters,
            control,
            tmp_bytes: limits.tmp,
            pids: limits.pids,
            outer_id,
            user_namespace: self.user_namespace,
        };
        let birthplace = group.as_ref().and_then(Group::birthplace);
        let (pid, pidfd) = match sys::clone(birth::NAMESPACES, birthplace) {
            Ok(sys::Cloned::Child) => birth::become_guest(plan),
            Ok(sys::Cloned::Parent(pid, pidfd)) => (pid, pidfd),
            Err(e) => {
                drop(plan);
                self.remove(group.is_some().then_some(&name))?;
                return Err(io::Error::new(e.kind(), format!("clone3: {e}")));
            }
        };
        drop(plan);
        let for_service = pidfd.try_clone()?;
        let key = epoll::EventData::new_u64(id + 1);
        epoll::add(&self.events, &pidfd, key, epoll::EventFlags::IN)?;
        let group = group.is_some().then_some(name);
        self.living.insert(id, Living { pidfd, group, outer_id, killed: false });
        let uid = if self.user_namespace { template::INNER_ID } else { outer_id };
        Ok((Reply::Made { id, pid: pid.as_raw_pid().cast_unsigned(), uid }, for_service))
    }

    fn limit(&self, id: ContainerId, limits: &MakeLimits) -> io::Result<()> {
        let gone = || io::Error::other("the container is gone");
        let living = self.living.get(&id).ok_or_else(gone)?;
        match (&living.group, &self.tree) {
            (Some(name), Some(tree)) => tree.find(name)?.limit(limits),
            // What stands in for a group was set for good.
            _ => Err(io::Error::other("without cgroups limits can't be changed")),
        }
    }

    /// Reaps a container whose PID 1 has ended, and with it, by the kernel, everything inside.
    fn bury(&mut self, id: ContainerId) -> io::Result<()> {
        let Some(living) = self.living.remove(&id) else { return Ok(()) };
        epoll::delete(&self.events, &living.pidfd)?;
        let exit = reap(living.pidfd.as_fd())?;
        // A guest that ends well has told what was used.
        let untold = living.killed || exit != Some(0);
        let usage = match (&living.group, &self.tree) {
            (Some(name), Some(tree)) if untold => tree.find(name)?.usage(),
            _ => Usage::default(),
        };
        self.dying.push((id, living, usage));
        Ok(())
    }

    fn bury_again(&mut self) -> io::Result<()> {
        for (id, living, usage) in std::mem::take(&mut self.dying) {
            match self.remove(living.group.as_ref()) {
                Ok(()) => {
                    self.uids.give_back(living.outer_id);
                    self.reply(&Reply::Gone { id, usage })?;
                }
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    self.dying.push((id, living, usage));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The service is gone: nothing of its containers may stay.
    fn end(mut self) -> io::Result<()> {
        for living in self.living.values() {
            kill(&living.pidfd)?;
        }
        let ids: Vec<ContainerId> = self.living.keys().copied().collect();
        for id in ids {
            self.bury(id)?;
        }
        self.bury_again()?;
        while !self.dying.is_empty() {
            let _ = rustix::thread::nanosleep(&BUSY_RETRY);
            self.bury_again()?;
        }
        self.tree.as_ref().map_or(Ok(()), Tree::remove)
    }

    fn remove(&self, group: Option<&String>) -> io::Result<()> {
        match (group, &self.tree) {
            (Some(name), Some(tree)) => tree.remove_group(name),
            _ => Ok(()),
        }
    }

    fn reply(&self, reply: &Reply) -> io::Result<()> {
        self.reply_with(reply, None)
    }

    /// A service that no longer listens is found out by the next read.
    fn reply_with(&self, reply: &Reply, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        match socket::send(self.connection, &reply.encode(), fd) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            result => result,
        }
    }
}

/// Our groups, after those of dead instances are gone.
fn groups(owner: &Owner) -> io::Result<Tree> {
    let mountinfo = cgroup::mountinfo::read()?;
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let layout = cgroup::discover(&mountinfo, &own).map_err(io::Error::other)?;
    cgroup::sweep(&layout, owner)?;
    Tree::open(&layout, owner).map_err(io::Error::other)
}

/// A mount namespace of its own, and for an ordinary user the user namespace that allows it.
fn enter_namespaces() -> io::Result<Privilege> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if uid == 0 && sys::unshare(libc::CLONE_NEWNS).is_ok() {
        return Ok(Privilege::Root);
    }
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS).map_err(|e| {
        io::Error::other(format!(
            "this kernel lets uid {uid} have no user namespace ({e}); run as root, or allow them \
             (sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0, \
             kernel.apparmor_restrict_unprivileged_userns=0)"
        ))
    })?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    Ok(Privilege::User)
}

/// Tries it, in a process that is thrown away.
fn may_have_user_namespace(privilege: Privilege) -> io::Result<bool> {
    match sys::clone(0, None)? {
        sys::Cloned::Child => {
            if privilege == Privilege::Root {
                let id = rustix::fs::Uid::from_raw(u32::MAX - 2);
                let _ = rustix::thread::set_thread_res_uid(id, id, id);
            }
            sys::exit_now(i32::from(sys::unshare(libc::CLONE_NEWUSER).is_err()));
        }
        sys::Cloned::Parent(_, pidfd) => Ok(reap(pidfd.as_fd())? == Some(0)),
    }
}

/// Waits for one child to be dead; its exit code, if it had one.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(status) => return Ok(status.and_then(|status| status.exit_status())),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn kill(pidfd: &OwnedFd) -> io::Result<()> {
    match pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
