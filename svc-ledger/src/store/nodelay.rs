//! Turns Nagle's algorithm off on connections to the server. sqlx 0.9.0 leaves it on (transact-rs/sqlx issue 4335) and hides its
//! sockets; a batch of more than 64 KiB leaves rustls in several pieces, and the last waits 40 ms for the acknowledgement of the
//! one before, which the server's kernel delays: 256 transfers in flight then make 2,600 a second in place of 18,000. The change
//! is in sqlx's repository; this file goes with the release that has it.
//!
//! A socket's number can be read from `/proc/self/fd`, but safe code can do nothing with a number. So the socket is sent to
//! ourselves (`SCM_RIGHTS`) and arrives as a second handle on it, which can be asked and set. That needs no privilege and no system
//! call that a container forbids. Carrying a changed copy of the driver was refused: 17,000 lines for one.

use std::io::{IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// Sets TCP_NODELAY on every connection of this process to a server's port; returns on how many.
pub(super) fn set(port: u16) -> Result<usize> {
    let (sender, receiver) = UnixDatagram::pair()?;
    let mut set = 0;
    for socket in sockets()? {
        // Whoever it belongs to may have closed it since.
        let Ok(handle) = duplicate(socket, &sender, &receiver) else { continue };
        let Some(stream) = handle.map(TcpStream::from) else { continue };
        if stream.peer_addr().is_ok_and(|peer| peer.port() == port) {
            stream.set_nodelay(true)?;
            set += 1;
        }
    }
    Ok(set)
}

/// The numbers of this process's sockets.
fn sockets() -> Result<Vec<RawFd>> {
    let mut sockets = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // The folder's own handle is in the list, and may be gone.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let number: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if target.to_string_lossy().starts_with("socket:") {
            sockets.extend(number);
        }
    }
    Ok(sockets)
}

/// Another handle on what a number stands for.
fn duplicate(number: RawFd, sender: &UnixDatagram, receiver: &UnixDatagram) -> Result<Option<OwnedFd>> {
    let (numbers, byte) = ([number], [0]);
    let rights = [ControlMessage::ScmRights(&numbers)];
    let content = [IoSlice::new(&byte)];
    sendmsg::<UnixAddr>(sender.as_raw_fd(), &content, &rights, MsgFlags::MSG_DONTWAIT, None)?;
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    recvmsg(receiver, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let handle = control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmRights(mut handles) = message else { return None };
        handles.next()
    });
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_connections_to_the_port_are_set() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        let streams = ports.map(|port| TcpStream::connect(("127.0.0.1", port)).unwrap());
        assert_eq!(set(ports[0]).unwrap(), 1);
        assert_eq!(streams.map(|stream| stream.nodelay().unwrap()), [true, false]);
    }
}
