//! A TCP proxy that can cut, refuse and stall: faults that a loopback connection does not have by itself.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    Closed,
    Stalled,
}

struct State {
    mode: Mode,
    streams: Vec<TcpStream>,
}

/// A proxy to one address. Its threads end when its connections do.
#[derive(Clone)]
pub(crate) struct Proxy(Arc<(Mutex<State>, Condvar)>, SocketAddr);

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let state = State { mode: Mode::Open, streams: Vec::new() };
        let proxy = Self(Arc::new((Mutex::new(state), Condvar::new())), address);
        let accepting = proxy.clone();
        thread::spawn(move || {
            for inbound in listener.incoming() {
                accepting.connect(inbound.expect("a connection"), target);
            }
        });
        proxy
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.1
    }

    /// Ends all connections; new ones are let through.
    pub(crate) fn cut(&self) {
        for stream in self.state().streams.drain(..) {
            // The other side may have ended it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends all connections and lets no new ones through.
    pub(crate) fn close(&self) {
        self.set(Mode::Closed);
        self.cut();
    }

    /// Carries nothing any more, in either direction.
    pub(crate) fn stall(&self) {
        self.set(Mode::Stalled);
    }

    /// Lets everything through again.
    pub(crate) fn open(&self) {
        self.set(Mode::Open);
    }

    fn set(&self, mode: Mode) {
        self.state().mode = mode;
        self.0.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().expect("no thread panics with the lock")
    }

    fn connect(&self, inbound: TcpStream, target: SocketAddr) {
        if self.state().mode == Mode::Closed {
            return;
        }
        let outbound = TcpStream::connect(target).expect("the target listens");
        for (from, to) in [(&inbound, &outbound), (&outbound, &inbound)] {
            let (from, to) = (from.try_clone().expect("a clone"), to.try_clone().expect("a clone"));
            let proxy = self.clone();
            thread::spawn(move || proxy.carry(from, to));
        }
        self.state().streams.extend([inbound, outbound]);
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let state = self.state();
            drop(self.0.1.wait_while(state, |state| state.mode == Mode::Stalled).expect("no thread panics"));
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        // Either side may have ended already.
        let _ = to.shutdown(Shutdown::Both);
    }
}
