//! What the server drives: a whole cluster, or a store alone.

use std::sync::Arc;

use crate::api::admission::quota;
use crate::api::{LogTarget, SessionTarget, User, namespaces};
use crate::error::ApiError;
use crate::faults::Faults;
use crate::kubelet::{Connection, Health};
use crate::log::ContainerLog;
use crate::resource::Resource;
use crate::runtime::{Session, SessionError, Waker};
use crate::store::Store;
use crate::time::Time;
use crate::world::World;

/// What the server needs of a cluster.
pub trait Cluster: Send + 'static {
    /// The objects, to read.
    fn store(&self) -> &Store;

    /// The objects, to write at `now`: what was due until then has happened.
    fn store_mut(&mut self, now: Time) -> &mut Store;

    /// Lets every component do what is due.
    fn advance(&mut self, now: Time);

    /// When `advance` has something to do even if nothing changes. None: only after a change.
    fn next_wakeup(&self) -> Option<Time>;

    /// A container's log.
    ///
    /// # Errors
    /// 404 without the node, 500 where its kubelet does not answer, 400 where it has no such log.
    fn open_log(&mut self, target: &LogTarget) -> Result<Option<Arc<ContainerLog>>, ApiError>;

    /// The connection to a node's kubelet over which its answers come. None: nothing ever happens to it.
    fn connection(&self, _node: &str) -> Option<Connection> {
        None
    }

    /// An exec or attach.
    ///
    /// # Errors
    /// 404 without the node or the container, 500 where the kubelet does not answer, or the runtime refuses.
    fn open_session(&mut self, now: Time, target: &SessionTarget) -> Result<Session, ApiError>;

    /// Sets who is told that something happened on its own.
    fn set_waker(&mut self, waker: Waker);

    /// Who may ask beside the admin.
    fn users(&self) -> Vec<User> {
        Vec::new()
    }

    /// Hands over the way to the API server, for a cluster whose script has something to say of it.
    fn set_faults(&mut self, _faults: Faults) {}
}

/// A store alone: an API server without nodes.
impl Cluster for Store {
    fn store(&self) -> &Store {
        self
    }

    fn store_mut(&mut self, _now: Time) -> &mut Store {
        self
    }

    fn advance(&mut self, now: Time) {
        namespaces::advance(now, self);
    }

    fn next_wakeup(&self) -> Option<Time> {
        None
    }

    fn open_log(&mut self, target: &LogTarget) -> Result<Option<Arc<ContainerLog>>, ApiError> {
        Err(ApiError::not_found(Resource::Nodes, &target.node))
    }

    fn open_session(&mut self, _now: Time, target: &SessionTarget) -> Result<Session, ApiError> {
        Err(ApiError::not_found(Resource::Nodes, &target.node))
    }

    fn set_waker(&mut self, _waker: Waker) {}
}

impl Cluster for World {
    fn store(&self) -> &Store {
        World::store(self)
    }

    fn store_mut(&mut self, now: Time) -> &mut Store {
        World::store_mut(self, now)
    }

    fn advance(&mut self, now: Time) {
        World::advance(self, now);
        // Kubelets end pods without the API's handlers: the quotas' controller notices.
        quota::refresh_all(now, &mut self.store);
    }

    fn next_wakeup(&self) -> Option<Time> {
        World::next_wakeup(self)
    }

    fn open_log(&mut self, target: &LogTarget) -> Result<Option<Arc<ContainerLog>>, ApiError> {
        answers(self, &target.node, "containerLogs")?;
        let Some(id) = &target.container else { return Ok(None) };
        let message = format!("unable to retrieve container logs for {id}");
        self.runtime().log(id).map(Some).ok_or_else(|| ApiError::bad_request(message))
    }

    fn connection(&self, node: &str) -> Option<Connection> {
        self.kubelets.get(node).map(|kubelet| kubelet.connection())
    }

    fn open_session(&mut self, now: Time, target: &SessionTarget) -> Result<Session, ApiError> {
        answers(self, &target.node, if target.attach { "attach" } else { "exec" })?;
        let opened = match target.attach {
            true => self.runtime_mut().attach(now, &target.container, target.request.stdin),
            false => self.runtime_mut().exec(now, &target.container, target.request.clone()),
        };
        opened.map_err(refused)
    }

    fn users(&self) -> Vec<User> {
        self.users.iter().map(|(name, rules)| User::with_rules(name, rules.clone())).collect()
    }

    fn set_faults(&mut self, faults: Faults) {
        World::set_faults(self, faults);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.runtime_mut().set_waker(waker);
    }
}

/// Whether the API server can reach a node's kubelet: its object is there, and the kubelet answers.
fn answers(world: &World, node: &str, path: &str) -> Result<(), ApiError> {
    if World::store(world).get(Resource::Nodes, "", node).is_none() {
        return Err(ApiError::not_found(Resource::Nodes, node));
    }
    let why = match world.kubelets.get(node).map(|kubelet| &kubelet.health) {
        Some(Health::Up) => return Ok(()),
        Some(Health::Down) => "connect: connection refused",
        Some(Health::Silent) => "i/o timeout",
        Some(Health::Off) | None => "connect: no route to host",
    };
    let address = world.kubelets.get(node).map_or(node, |kubelet| kubelet.ip());
    let message = format!("Get \"https://{address}:10250/{path}\": dial tcp {address}:10250: {why}");
    Err(ApiError::new(500, "InternalError", message))
}

fn refused(error: SessionError) -> ApiError {
    match error {
        SessionError::NotFound { .. } => ApiError::new(404, "NotFound", error.to_string()),
        SessionError::NotRunning | SessionError::NotExecutable { .. } | SessionError::Unsupported { .. } => {
            let message = format!("Internal error occurred: error executing command in container: {error}");
            ApiError::new(500, "InternalError", message)
        }
    }
}
