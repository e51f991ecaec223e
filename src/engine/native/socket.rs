//! Packets with descriptors over the socketpair (unix(7), `SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

use super::protocol::MAX_PACKET;

/// Both ends of a connection that keeps packets apart.
///
/// # Errors
/// What the kernel says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one packet, with at most one descriptor.
///
/// # Errors
/// `WouldBlock` when the socket is full and does not block; `BrokenPipe` when nobody reads.
pub fn send(socket: impl AsFd, packet: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds;
    if let Some(fd) = fd {
        fds = [fd];
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// One packet and its descriptor, unless this process has no room for that; `None` when the other
/// side is gone.
///
/// # Errors
/// `WouldBlock` when nothing is there and the socket does not block; `InvalidData` for a packet
/// over [`MAX_PACKET`] or with more than one descriptor.
pub fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut packet = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut packet)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    // A descriptor is also cut off where this process can open no more: its packet comes without it.
    let too_many = received.flags.contains(ReturnFlags::CTRUNC) && fd.is_some();
    if received.flags.contains(ReturnFlags::TRUNC) || too_many {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "packet too long"));
    }
    // No message of ours is empty, so an empty read is the end.
    if received.bytes == 0 {
        return Ok(None);
    }
    packet.truncate(received.bytes);
    Ok(Some((packet, fd)))
}
