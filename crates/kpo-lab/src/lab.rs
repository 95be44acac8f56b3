//! A running cluster.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use tokio::task::JoinHandle;

use crate::api::{Tokens, User};
use crate::clock::Clock;
use crate::faults::{Faults, Seen};
use crate::process::{ProcessOptions, ProcessRuntime};
use crate::script::Script;
use crate::server::tls::{self, ServeError};
use crate::server::{Cluster, LabService, RequestKind, Shared};
use crate::time::Time;
use crate::world::World;

/// How a lab is run.
#[derive(Clone, Debug, Default)]
pub struct LabOptions {
    /// What its clock shows at first. None: the wall clock with sockets, [`Lab::EPOCH`] without.
    pub base: Option<Time>,
    /// The port on the loopback interface. None or 0: any.
    pub port: Option<u16>,
}

/// A running cluster: an API server, whatever components the cluster has, and faults. Dropping it ends it.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// use kpo_lab::{Lab, LabOptions, NodeSpec, Resource, ScriptedRuntime, World};
/// let world = World::new(Lab::EPOCH, 1, Box::new(ScriptedRuntime::new()));
/// let lab = Lab::in_process(world, LabOptions::default());
/// lab.with(|_, world| world.add_node(NodeSpec::named("node-1")));
/// assert_eq!(lab.with(|_, world| world.store().list(Resource::Nodes, None).count()), 1);
/// # }
/// ```
pub struct Lab<C: Cluster = World> {
    shared: Arc<Shared<C>>,
    tasks: Vec<JoinHandle<()>>,
    endpoint: Option<Endpoint>,
    /// The kubeconfigs that were written, locked as long as this process lives: a sweep tells those of dead labs by that.
    written: Mutex<Vec<File>>,
}

/// How a lab's kubeconfig begins.
const HEAD: &str = "apiVersion: v1\nkind: Config\ncurrent-context: lab\n";

/// Where a lab with sockets is to be found.
struct Endpoint {
    address: std::net::SocketAddr,
    authority: String,
    token: String,
    /// Who may ask beside the admin, each with a token.
    users: Vec<(String, User)>,
}

impl Endpoint {
    /// A kubeconfig with a context for each user and token, the first of them the current one.
    fn kubeconfig<'a>(&self, users: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.authority);
        let (mut contexts, mut credentials) = (String::new(), String::new());
        for (name, token) in users {
            // A JSON string is a YAML string, whatever is in it.
            let name = serde_json::Value::from(name);
            contexts +=
                &format!("- name: {name}\n  context:\n    cluster: lab\n    user: {name}\n    namespace: default\n");
            credentials += &format!("- name: {name}\n  user:\n    token: {token}\n");
        }
        format!(
            "{HEAD}\
             clusters:\n- name: lab\n  cluster:\n    server: https://{}\n    certificate-authority-data: {authority}\n\
             contexts:\n{contexts}users:\n{credentials}",
            self.address
        )
    }
}

impl<C: Cluster> std::fmt::Debug for Lab<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lab").field("address", &self.endpoint.as_ref().map(|at| at.address)).finish_non_exhaustive()
    }
}

impl<C: Cluster> Drop for Lab<C> {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.end();
    }
}

/// Why a script's cluster does not come up.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Containers cannot be run as local processes.
    #[error("containers cannot be run here")]
    Runtime(#[source] std::io::Error),
    /// The lab's own API server refuses what the script says.
    #[error("the lab's API server refuses what the script says: {0}")]
    Refused(String),
    /// The API server does not come up.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl Lab {
    /// A cluster with an HTTPS server on the loopback interface in which a script plays, by the wall clock: its containers are local processes, but
    /// for those of which the script says what they do. `on_refusal` is told what of the script comes to nothing, and why.
    ///
    /// # Errors
    /// [`LiveError`].
    pub async fn live(script: &Script, on_refusal: impl Fn(&str) + Send + 'static) -> Result<Lab, LiveError> {
        /// UIDs and generated names follow from it: such a lab lives alone, so they need not differ from another's.
        const SEED: u64 = 1;
        let runtime = ProcessRuntime::new(ProcessOptions::default()).map_err(LiveError::Runtime)?;
        let mut world = World::new(Time::wall_clock(), SEED, Box::new(script.runtime_beside(Box::new(runtime))));
        world.play(script);
        if let Some(why) = world.refusals().first() {
            return Err(LiveError::Refused(why.clone()));
        }
        world.on_refusal(on_refusal);
        Ok(Lab::serve(world, LabOptions::default()).await?)
    }

    /// The instant at which a lab without sockets begins, unless told otherwise: 2026-11-24T00:00:00Z. Its runs are the same each time.
    pub const EPOCH: Time = Time::from_secs(1_795_478_400);
}

impl<C: Cluster> Lab<C> {
    /// A lab without sockets, on tokio's clock: paused, it is a simulation. Needs a tokio runtime.
    pub fn in_process(cluster: C, options: LabOptions) -> Lab<C> {
        Lab::new(cluster, options.base.unwrap_or(Lab::EPOCH))
    }

    /// A lab with an HTTPS server on the loopback interface.
    ///
    /// # Errors
    /// [`ServeError`] where it cannot listen.
    pub async fn serve(cluster: C, options: LabOptions) -> Result<Lab<C>, ServeError> {
        let listening = tls::listen(options.port.unwrap_or(0)).await?;
        let token = tls::random_token()?;
        let users = cluster.users().into_iter().map(|user| Ok((tls::random_token()?, user)));
        let users: Vec<(String, User)> = users.collect::<Result<_, ServeError>>()?;
        let mut lab = Lab::new(cluster, options.base.unwrap_or_else(Time::wall_clock));
        lab.grant(&token, User::admin());
        users.iter().for_each(|(token, user)| lab.grant(token, user.clone()));
        let accept = tls::accept(lab.shared.clone(), (listening.listener, listening.acceptor));
        lab.tasks.push(tokio::spawn(accept));
        lab.endpoint = Some(Endpoint { address: listening.address, authority: listening.authority, token, users });
        Ok(lab)
    }

    fn new(mut cluster: C, base: Time) -> Lab<C> {
        crate::api::namespaces::bootstrap(base, cluster.store_mut(base));
        let shared = Shared::new(Clock::starting_at(base), cluster, Tokens::default());
        shared.with(|_, cluster| cluster.set_faults(shared.faults.clone()));
        let driver = tokio::spawn(shared.clone().drive());
        Lab { shared, tasks: vec![driver], endpoint: None, written: Mutex::default() }
    }

    /// The API server as a tower service, for `kube::Client::new(lab.service(), "default")`; requests without a token are the admin's.
    pub fn service(&self) -> LabService<C> {
        self.service_as(User::admin())
    }

    /// The same for another user.
    pub fn service_as(&self, user: User) -> LabService<C> {
        LabService::new(self.shared.clone(), user)
    }

    /// What the cluster's clock shows.
    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Does something with the cluster itself, at its present time. Watches see what changes.
    pub fn with<T>(&self, act: impl FnOnce(Time, &mut C) -> T) -> T {
        let result = self.shared.with(|now, cluster| {
            cluster.advance(now);
            act(now, cluster)
        });
        // Not everything that was done is a change of the store.
        self.shared.wake.notify_one();
        result.expect("a component of the cluster panicked: see what was printed before")
    }

    /// The faults of the way to the API server.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Makes a token a user's.
    pub fn grant(&self, token: &str, user: User) {
        self.shared.tokens().grant(token, user);
    }

    /// Makes a token invalid from now on (401).
    pub fn expire(&self, token: &str) {
        let now = self.now();
        self.shared.tokens().expire(token, now);
    }

    /// Forgets all changes so far: watches that have not read them, and lists of the past, get 410.
    pub fn compact(&self) {
        self.with(|now, cluster| cluster.store_mut(now).compact());
    }

    /// How often each kind of request came, from the beginning.
    pub fn requests(&self) -> BTreeMap<RequestKind, u64> {
        self.shared.counts()
    }

    /// The requests one by one, in the order of their arrival; the last 100,000.
    pub fn journal(&self) -> Vec<Seen> {
        self.shared.journal()
    }

    /// `https://127.0.0.1:port`. None without sockets.
    pub fn url(&self) -> Option<String> {
        self.endpoint.as_ref().map(|endpoint| format!("https://{}", endpoint.address))
    }

    /// The admin's bearer token. None without sockets.
    pub fn token(&self) -> Option<&str> {
        self.endpoint.as_ref().map(|endpoint| endpoint.token.as_str())
    }

    /// A kubeconfig for the admin, and with a context for each other user: YAML, with the authority's certificate and the tokens in it. None without
    /// sockets.
    pub fn kubeconfig(&self) -> Option<String> {
        let endpoint = self.endpoint.as_ref()?;
        let others = endpoint.users.iter().map(|(token, user)| (user.name.as_str(), token.as_str()));
        Some(endpoint.kubeconfig([("lab", endpoint.token.as_str())].into_iter().chain(others)))
    }

    /// A kubeconfig with another token. None without sockets.
    pub fn kubeconfig_for(&self, token: &str) -> Option<String> {
        Some(self.endpoint.as_ref()?.kubeconfig([("lab", token)].into_iter()))
    }

    /// Writes the admin's kubeconfig to a new file, readable by its owner only.
    ///
    /// # Errors
    /// [`ServeError::Kubeconfig`] where the file is there already or cannot be written, or there is no socket to write of.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<(), ServeError> {
        let missing = || std::io::Error::other("a lab without sockets has no kubeconfig");
        let text = self.kubeconfig().ok_or_else(missing);
        let written = text.and_then(|text| private_file(path, &text));
        let file = written.map_err(|source| ServeError::Kubeconfig { path: path.to_owned(), source })?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push(file);
        Ok(())
    }
}

/// Whether a text is a kubeconfig that a lab wrote.
pub(crate) fn is_kubeconfig(text: &str) -> bool {
    text.starts_with(HEAD)
}

/// The open file is locked.
fn private_file(path: &Path, text: &str) -> std::io::Result<File> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // Where a file system knows no locks, a sweep cannot take one either.
    let _ = file.lock_shared();
    file.write_all(text.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_can_be_read_whatever_its_users_are_called() {
        let endpoint = Endpoint {
            address: "127.0.0.1:1".parse().expect("an address"),
            authority: String::new(),
            token: String::new(),
            users: Vec::new(),
        };
        let names = ["lab", "a: b", "1", "no", "#"];
        let text = endpoint.kubeconfig(names.iter().map(|name| (*name, "t")));
        assert!(is_kubeconfig(&text));
        let read: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
        for (index, name) in names.iter().enumerate() {
            assert_eq!(
                (&read["contexts"][index]["name"], &read["users"][index]["name"]),
                (&(*name).into(), &(*name).into())
            );
            assert_eq!(read["contexts"][index]["context"]["user"], *name);
        }
    }
}
