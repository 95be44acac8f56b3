//! A registry that takes its time: the cluster's own, behind a forwarder that hands its bytes on little by little, or holds them back.

use crate::Error;
use crate::components::Components;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Images that only this registry has: one that comes whole is there for good.
pub(crate) const SLOW_IMAGE: &str = "slow.example/busybox:1";
pub(crate) const OTHER_SLOW_IMAGE: &str = "slow.example/busybox:2";

/// So many bytes, then a pause: a megabyte takes some seconds.
const PIECE: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(50);
/// More than a manifest and a configuration, and a small part of the layer.
const HALF_WAY: usize = 64 << 10;

/// How the images' bytes come.
#[derive(Clone)]
struct Pace {
    /// Whether a layer stops half-way, or only takes some seconds.
    holds: bool,
    /// Whether one has come half-way.
    half: Arc<AtomicBool>,
}

/// It is there until it is dropped: a pull that is under way then fails.
pub(crate) struct Registry {
    pace: Pace,
    serves: AbortHandle,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serves.abort();
    }
}

impl Registry {
    /// One from which the image takes some seconds.
    pub(crate) async fn slow(components: &Components, kubeconfig: &Path) -> Result<Self, Error> {
        Self::serve(components, kubeconfig, false).await
    }

    /// One from which the image never comes whole.
    pub(crate) async fn held(components: &Components, kubeconfig: &Path) -> Result<Self, Error> {
        Self::serve(components, kubeconfig, true).await
    }

    /// Starts the registry, and the forwarder at the address at which the nodes' containerds ask for images.
    async fn serve(components: &Components, kubeconfig: &Path, holds: bool) -> Result<Self, Error> {
        components.run(&["start", "registry"]).await?;
        let (host, node) = addresses(kubeconfig)?;
        let listener = TcpListener::bind((host.as_str(), 5000)).await?;
        let pace = Pace { holds, half: Arc::default() };
        let of_each = pace.clone();
        let serve = async move {
            // What it forwards ends with it.
            let mut forwards = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                forwards.spawn(forward(client, node.clone(), of_each.clone()));
            }
        };
        Ok(Self { pace, serves: tokio::spawn(serve).abort_handle() })
    }

    /// Whether an image is half there.
    pub(crate) fn is_half_way(&self) -> bool {
        self.pace.half.load(Ordering::Relaxed)
    }
}

/// This machine as the cluster sees it, and the cluster's node: two ends of one cable.
fn addresses(kubeconfig: &Path) -> Result<(String, String), Error> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let node = text
        .split_once("https://")
        .and_then(|(_, rest)| rest.split(':').next())
        .ok_or("no server in the kubeconfig")?;
    let net = node.strip_suffix(".2").ok_or("not a cluster of this machine's")?;
    Ok((format!("{net}.1"), node.to_owned()))
}

async fn forward(client: TcpStream, node: String, pace: Pace) -> std::io::Result<()> {
    let server = TcpStream::connect((node.as_str(), 5001)).await?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::try_join!(copy(&mut from_client, &mut to_server), paced(from_server, to_client, pace)).map(drop)
}

async fn paced(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    pace: Pace,
) -> std::io::Result<u64> {
    let (mut piece, mut sum) = (vec![0; PIECE], 0);
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            to.shutdown().await?;
            return Ok(sum as u64);
        }
        to.write_all(&piece[..read]).await?;
        sum += read;
        if sum > HALF_WAY {
            pace.half.store(true, Ordering::Relaxed);
            if pace.holds {
                std::future::pending::<()>().await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
