//! What the bodies run against.

use crate::Error;
use crate::container::NO_IMAGE;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a lab may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster, and the command line that is tried on it.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kpo: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) client: Client,
    /// One that waits as long as a watch is silent.
    pub(crate) patient: Client,
    /// The lab, if it is one.
    lab: Option<Child>,
}

impl Target {
    /// Whether this is the lab.
    pub(crate) fn is_lab(&self) -> bool {
        self.lab.is_some()
    }

    /// `lab`, or the path of a kubeconfig.
    pub(crate) async fn open(kpo: &str, target: &str) -> Result<Self, Error> {
        let kpo = PathBuf::from(kpo);
        let (lab, kubeconfig) = match target {
            "lab" => {
                let (lab, kubeconfig) = lab(&kpo).await?;
                (Some(lab), kubeconfig)
            }
            path => (None, PathBuf::from(path)),
        };
        let patient = client(&kubeconfig, None).await?;
        let client = client(&kubeconfig, Some(Duration::from_secs(30))).await?;
        let version = client.apiserver_version().await?.git_version;
        let name = format!("{} {version}", if lab.is_some() { "lab" } else { "cluster" });
        Ok(Self { name, kpo, kubeconfig, client, patient, lab })
    }

    /// Ends the lab, if it is one, so that it can clear away what it has made. It ends without that where this is not reached.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let Some(mut lab) = self.lab else { return Ok(()) };
        if let Some(pid) = lab.id() {
            Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().await?;
        }
        tokio::time::timeout(PATIENCE, lab.wait()).await??;
        if self.kubeconfig.exists() { Err("the lab has left its kubeconfig behind".into()) } else { Ok(()) }
    }
}

async fn config(kubeconfig: &Path) -> Result<Config, Error> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?)
}

/// A client of this kubeconfig's that hands on what it is given: it waits as long as its caller, and leaves compressed bytes as they are.
pub(crate) async fn forwarding_client(kubeconfig: &Path) -> Result<Client, Error> {
    let mut config = config(kubeconfig).await?;
    (config.read_timeout, config.disable_compression) = (None, true);
    Ok(Client::try_from(config)?)
}

/// A client of this kubeconfig's, which gives up after so long a silence.
pub(crate) async fn client(kubeconfig: &Path, silence: Option<Duration>) -> Result<Client, Error> {
    let mut config = config(kubeconfig).await?;
    config.read_timeout = silence;
    Ok(Client::try_from(config)?)
}

/// What the lab consists of: as many nodes as the real cluster, and an image that nobody has, since any other name pulls there.
fn script() -> String {
    format!("node node-1\nnode node-2\nimage {NO_IMAGE} fails \"not found\"\n")
}

/// Starts a lab and waits until it says that it serves.
async fn lab(kpo: &Path) -> Result<(Child, PathBuf), Error> {
    let own = |ending: &str| std::env::temp_dir().join(format!("kpo-conformance-{}.{ending}", std::process::id()));
    let (kubeconfig, written) = (own("kubeconfig"), own("lab"));
    std::fs::write(&written, script())?;
    // A lab that was killed has left its own, and writes over none.
    let _ = std::fs::remove_file(&kubeconfig);
    let mut command = Command::new(kpo);
    command.arg("lab").arg("--script").arg(&written).arg("--kubeconfig").arg(&kubeconfig).kill_on_drop(true);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().ok_or("the lab has no stderr")?).lines();
    let first = lines.next_line().await?;
    std::fs::remove_file(&written)?;
    if first.is_none() || !kubeconfig.exists() {
        return Err(format!("the lab did not come up: {}", first.unwrap_or_default()).into());
    }
    // It goes on talking: somebody has to listen.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, kubeconfig))
}
