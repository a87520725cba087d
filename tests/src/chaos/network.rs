//! What lies between the nodes: a proxy in front of every port that they use among
//! themselves, which can hold or delay what one node says to another, each direction for
//! itself.
//!
//! A proxy has to know who is calling. Nodes are processes of this machine, so it looks the
//! caller's port up in the kernel's table of connections and finds the process that owns it.
//! Nodes need no support for this.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

const CHUNK_BYTES: usize = 64 << 10;
/// A caller may not be in the kernel's table yet.
const OWNER_ATTEMPTS_MAX: u32 = 20;
const OWNER_RETRY_MS: u64 = 5;

/// What happens to bytes on their way from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// They arrive.
    #[default]
    Open,
    /// They wait until the link is open again; connections stay.
    Held,
    /// They arrive later.
    Slow {
        /// By so much, in milliseconds.
        delay_ms: u64,
    },
}

type Links = BTreeMap<(u64, u64), Link>;

/// The links between all nodes, and who the nodes are.
#[derive(Clone, Debug)]
pub struct Network {
    links: Arc<watch::Sender<Links>>,
    processes: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            links: Arc::new(watch::Sender::new(Links::new())),
            processes: Arc::default(),
        }
    }
}

impl Network {
    /// Sets what happens to what one node says to another.
    pub fn set(&self, from: u64, to: u64, link: Link) {
        self.links.send_modify(|links| {
            links.insert((from, to), link);
        });
    }

    /// Opens all links.
    pub fn heal(&self) {
        self.links.send_modify(Links::clear);
    }

    /// Says which process a node is.
    pub fn set_process(&self, node: u64, process: u32) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.insert(node, process);
    }

    /// Opens a port in front of `upstream`, a port of `node`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn proxy(&self, node: u64, upstream: String) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let network = self.clone();
        let task = tokio::spawn(async move {
            while let Ok((caller, from)) = listener.accept().await {
                let network = network.clone();
                let upstream = upstream.clone();
                tokio::spawn(async move {
                    // A broken connection is the business of those at its ends.
                    let _ = network.carry(caller, from, address, node, &upstream).await;
                });
            }
        });
        Ok(Proxy { address, task })
    }

    async fn carry(
        &self,
        caller: TcpStream,
        from: SocketAddr,
        proxy: SocketAddr,
        node: u64,
        upstream: &str,
    ) -> io::Result<()> {
        let Some(peer) = self.owner(from.port(), proxy.port()).await else {
            return Ok(());
        };
        self.pass(peer, node).await;
        let callee = TcpStream::connect(upstream).await?;
        caller.set_nodelay(true)?;
        callee.set_nodelay(true)?;
        let (caller_read, caller_write) = caller.into_split();
        let (callee_read, callee_write) = callee.into_split();
        tokio::try_join!(
            self.pump(caller_read, callee_write, peer, node),
            self.pump(callee_read, caller_write, node, peer),
        )?;
        Ok(())
    }

    async fn pump(
        &self,
        mut input: OwnedReadHalf,
        mut output: OwnedWriteHalf,
        from: u64,
        to: u64,
    ) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = input.read(&mut chunk).await?;
            self.pass(from, to).await;
            match chunk.get(..count) {
                Some(bytes) if count > 0 => output.write_all(bytes).await?,
                _ => return output.shutdown().await,
            }
        }
    }

    /// Waits as long as bytes wait on this link.
    async fn pass(&self, from: u64, to: u64) {
        let link = |links: &Links| links.get(&(from, to)).copied().unwrap_or_default();
        let mut links = self.links.subscribe();
        let open = links.wait_for(|links| link(links) != Link::Held).await;
        let delay_ms = match open.map(|links| link(&links)) {
            Ok(Link::Slow { delay_ms }) => delay_ms,
            _ => return,
        };
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }

    /// The node from whose port a connection to `to` comes.
    async fn owner(&self, from: u16, to: u16) -> Option<u64> {
        for _ in 0..OWNER_ATTEMPTS_MAX {
            if let Some(inode) = socket_inode(from, to) {
                let processes = self.processes.lock();
                let processes = processes.unwrap_or_else(PoisonError::into_inner).clone();
                let owner = processes.into_iter().find(|(_, id)| has_socket(*id, inode));
                if let Some((node, _)) = owner {
                    return Some(node);
                }
            }
            tokio::time::sleep(Duration::from_millis(OWNER_RETRY_MS)).await;
        }
        None
    }
}

/// A port in front of another one; closed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The inode of the socket that is bound to `from` and connected to `to`, both on loopback.
fn socket_inode(from: u16, to: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let local = format!("0100007F:{from:04X}");
    let remote = format!("0100007F:{to:04X}");
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let is_it = fields.nth(1)? == local && fields.next()? == remote;
        is_it.then(|| fields.nth(6)?.parse().ok()).flatten()
    })
}

fn has_socket(process: u32, inode: u64) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    let name = format!("socket:[{inode}]");
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .any(|target| target.as_os_str() == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(10);

    /// A connection through a proxy, from this process, which plays node 1, to node 2.
    async fn connected(network: &Network) -> (TcpStream, TcpStream, Proxy) {
        network.set_process(1, std::process::id());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let proxy = network.proxy(2, upstream).await.unwrap();
        let caller = TcpStream::connect(proxy.address()).await.unwrap();
        let (callee, _) = listener.accept().await.unwrap();
        (caller, callee, proxy)
    }

    async fn says(from: &mut TcpStream, to: &mut TcpStream, limit: Duration) -> bool {
        from.write_all(b"x").await.unwrap();
        let read = tokio::time::timeout(limit, to.read_u8()).await;
        read.is_ok_and(|read| read.unwrap() == b'x')
    }

    #[tokio::test]
    async fn each_direction_is_held_for_itself_and_what_was_held_arrives() {
        let network = Network::default();
        let (mut one, mut two, _proxy) = connected(&network).await;
        assert!(says(&mut one, &mut two, LONG).await);
        assert!(says(&mut two, &mut one, LONG).await);
        network.set(1, 2, Link::Held);
        assert!(!says(&mut one, &mut two, QUIET).await);
        assert!(says(&mut two, &mut one, LONG).await);
        network.heal();
        assert_eq!(two.read_u8().await.unwrap(), b'x');
        network.set(2, 1, Link::Held);
        assert!(says(&mut one, &mut two, LONG).await);
        assert!(!says(&mut two, &mut one, QUIET).await);
        network.set(2, 1, Link::Slow { delay_ms: 1 });
        assert_eq!(one.read_u8().await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn a_stranger_is_not_carried() {
        let network = Network::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let proxy = network.proxy(2, upstream).await.unwrap();
        let mut stranger = TcpStream::connect(proxy.address()).await.unwrap();
        let read = tokio::time::timeout(LONG, stranger.read(&mut [0])).await;
        assert_eq!(read.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn the_end_of_one_side_reaches_the_other() {
        let network = Network::default();
        let (one, mut two, _proxy) = connected(&network).await;
        drop(one);
        let read = tokio::time::timeout(LONG, two.read(&mut [0])).await;
        assert_eq!(read.unwrap().unwrap(), 0);
    }
}
