//! A registry that takes its time: the cluster's own, behind a forwarder that hands its bytes on little by little.

use super::stage::Stage;
use crate::Error;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// So many bytes, then a pause: a megabyte takes some seconds.
const PIECE: usize = 16 << 10;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Slow(AbortHandle);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Slow {
    /// Starts the registry, and the forwarder at the address at which the node's containerd asks for images.
    pub(super) async fn serve(stage: &Stage<'_>) -> Result<Self, Error> {
        stage.components(&["start", "registry"]).await?;
        let (host, node) = addresses(stage)?;
        let listener = TcpListener::bind((host.as_str(), 5000)).await?;
        let serve = async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, node.clone()));
            }
        };
        Ok(Self(tokio::spawn(serve).abort_handle()))
    }

    /// An image that only this registry has.
    pub(super) fn image(&self) -> &'static str {
        "slow.example/busybox:1"
    }
}

/// This machine as the cluster sees it, and the cluster's node: two ends of one cable.
fn addresses(stage: &Stage<'_>) -> Result<(String, String), Error> {
    let text = std::fs::read_to_string(&stage.namespace.target.kubeconfig)?;
    let node = text
        .split_once("https://")
        .and_then(|(_, rest)| rest.split(':').next())
        .ok_or("no server in the kubeconfig")?;
    let net = node.strip_suffix(".2").ok_or("not a cluster of this machine's")?;
    Ok((format!("{net}.1"), node.to_owned()))
}

async fn forward(client: TcpStream, node: String) -> std::io::Result<()> {
    let server = TcpStream::connect((node.as_str(), 5001)).await?;
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::try_join!(copy(&mut from_client, &mut to_server), slowly(from_server, to_client)).map(drop)
}

async fn slowly(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) -> std::io::Result<u64> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            to.shutdown().await?;
            return Ok(0);
        }
        to.write_all(&piece[..read]).await?;
        tokio::time::sleep(PAUSE).await;
    }
}
