//! What a body changes outside of its namespace is taken back when it is done, whatever becomes of it: others share the cluster.

use crate::Error;
use crate::cluster::Namespace;
use crate::components::Components;
use serde_json::{Value, json};

/// How a change is taken back. Doing so twice does no harm.
#[derive(Debug)]
pub(crate) enum Undo {
    /// A merge patch of the object at this path.
    Merge(String, Value),
    /// The end of the object at this path.
    Delete(String),
    /// These words to the script that drives the cluster.
    Script(Vec<&'static str>),
}

impl Namespace<'_> {
    /// Remembers how something is taken back that is about to be changed.
    pub(crate) fn afterwards(&self, undo: Undo) {
        self.undo.borrow_mut().push(undo);
    }

    /// Takes everything back, the last change first; the first failure.
    pub(crate) async fn undo_all(&self) -> Result<(), Error> {
        let mut result = Ok(());
        while let Some(undo) = self.next_undo() {
            result = result.and(self.undo(&undo).await);
        }
        result
    }

    fn next_undo(&self) -> Option<Undo> {
        self.undo.borrow_mut().pop()
    }

    /// A fault of the body's may not be over: the API server is given time.
    async fn undo(&self, undo: &Undo) -> Result<(), Error> {
        let is_done = || async move {
            let result = match undo {
                Undo::Merge(path, body) => self.merge(path, body).await.map(drop),
                Undo::Delete(path) => self.delete(path, &json!({})).await.map(drop),
                Undo::Script(words) => return Components::here()?.run(words).await.map(|()| true),
            };
            Ok(result.map_or_else(|error| is_not_found(&error), |()| true))
        };
        self.wait(&format!("taken back: {undo:?}"), is_done).await
    }
}

/// Whether what was asked for is not there.
fn is_not_found(error: &Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}
