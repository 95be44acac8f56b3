//! The smallest Roles (docs/rbac.yaml): kpo runs under exactly these, and each right that is missing is named where it is missed.

use super::{WAITS_FOR_SETTINGS, is_waiting, same, shell};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Ended;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const ROLES: &str = include_str!("../../../../docs/rbac.yaml");
/// What `kpo run` is to have.
const FOR_RUN: [&str; 3] = ["kpo-run", "kpo-logs", "kpo-events"];

/// The rules of these Roles, one right each: resource and verb.
fn rights(roles: &[&str]) -> Result<Vec<(String, String)>, Error> {
    let mut rights = Vec::new();
    let documents = ROLES.split("\n---\n").map(serde_saphyr::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    for role in documents.iter().filter(|role| roles.contains(&role["metadata"]["name"].as_str().unwrap_or_default())) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            let strings = |key: &str| rule[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let (resources, verbs): (Vec<&str>, Vec<&str>) = (strings("resources"), strings("verbs"));
            rights.extend(resources.iter().flat_map(|r| verbs.iter().map(|v| ((*r).to_owned(), (*v).to_owned()))));
        }
    }
    Ok(rights)
}

/// A service account with some rights, and the kubeconfig of who has its token.
pub(super) struct Account(pub(super) PathBuf);

impl Drop for Account {
    fn drop(&mut self) {
        // It holds a token, which ends with the namespace.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Namespace<'_> {
    async fn account(&self, name: &str, rights: &[(String, String)]) -> Result<Account, Error> {
        self.authorise(name, rights).await?;
        let token = self.token(name, json!({"expirationSeconds": 600})).await?;
        self.kubeconfig(name, json!({ "token": token }))
    }

    /// A token of a service account, as asked for.
    pub(super) async fn token(&self, account: &str, spec: Value) -> Result<String, Error> {
        let asked =
            self.post(&self.path(&format!("serviceaccounts/{account}/token")), &json!({ "spec": spec })).await?;
        Ok(asked["status"]["token"].as_str().ok_or("no token")?.to_owned())
    }

    /// A service account that may run tasks.
    pub(super) async fn runner(&self, name: &str) -> Result<(), Error> {
        self.authorise(name, &rights(&FOR_RUN)?).await
    }

    async fn authorise(&self, name: &str, rights: &[(String, String)]) -> Result<(), Error> {
        let rules: Vec<Value> =
            rights.iter().map(|(r, v)| json!({"apiGroups": [""], "resources": [r], "verbs": [v]})).collect();
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name);
        let (metadata, group) = (json!({"name": name}), "rbac.authorization.k8s.io");
        let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": self.name});
        let role = json!({"kind": "Role", "name": name, "apiGroup": group});
        self.post(&self.path("serviceaccounts"), &json!({ "metadata": metadata })).await?;
        self.post(&format!("{rbac}/roles"), &json!({"metadata": metadata, "rules": rules})).await?;
        let binding = json!({"metadata": metadata, "subjects": [subject], "roleRef": role});
        self.post(&format!("{rbac}/rolebindings"), &binding).await?;
        let (resource, verb) = rights.last().ok_or("an account needs a right")?;
        self.wait("the Role is in force", || self.may(name, resource, verb)).await
    }

    async fn may(&self, account: &str, resource: &str, verb: &str) -> Result<bool, Error> {
        let user = format!("system:serviceaccount:{}:{account}", self.name);
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let asked = json!({"namespace": self.name, "verb": verb, "resource": resource, "subresource": sub});
        let review = json!({"spec": {"user": user, "resourceAttributes": asked}});
        let answer = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// The target's clusters and contexts, with these credentials for a user.
    pub(super) fn kubeconfig(&self, account: &str, credentials: Value) -> Result<Account, Error> {
        let admin = kube::config::Kubeconfig::read_from(&self.target.kubeconfig)?;
        let (clusters, current) = (json!(admin.clusters), admin.current_context.unwrap_or_default());
        let found = admin.contexts.into_iter().find(|context| context.name == current);
        let cluster = found.and_then(|named| named.context).ok_or("the kubeconfig has no current context")?.cluster;
        let context = json!({"name": current, "context": {"cluster": cluster, "user": account}});
        let user = json!({"name": account, "user": credentials});
        let config = json!({"apiVersion": "v1", "kind": "Config", "clusters": clusters, "contexts": [context],
            "users": [user], "current-context": current});
        let path = std::env::temp_dir().join(format!("{}-{account}.kubeconfig", self.name));
        std::fs::write(&path, config.to_string())?;
        Ok(Account(path))
    }

    /// Runs a task that is evicted before it starts, and then runs.
    async fn evicted(&self, kubeconfig: &Path) -> Result<Ended, Error> {
        let flags = ["--set", WAITS_FOR_SETTINGS, "--set", "spec.terminationGracePeriodSeconds=1"];
        let started = self.start_as(kubeconfig, "run", &shell(&flags, "echo hello"))?;
        self.pod("task-1", "waits for its settings", is_waiting).await?;
        self.evict("task-1").await?;
        self.give_settings().await?;
        let ended = started.ended().await?;
        self.take_settings().await?;
        Ok(ended)
    }
}

pub(super) async fn smallest_roles(namespace: &Namespace<'_>) -> Result<(), Error> {
    let account = namespace.account("runs", &rights(&FOR_RUN)?).await?;
    namespace.evicted(&account.0).await?.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
    namespace.is_empty().await?;
    for how in ["message", "sidecar"] {
        let flags = ["--protect", "--result", "--results", how, "--results-image", "kpo.rs/sidecar:1"];
        let script = "mkdir -p /airflow/xcom; echo 1 > /airflow/xcom/return.json";
        let ended = namespace.start_as(&account.0, "run", &shell(&flags, script))?.ended().await?;
        ended.exits(0)?.never_says("forbidden")?;
        namespace.is_empty().await?;
    }
    Ok(())
}

pub(super) async fn smallest_role_to_follow(namespace: &Namespace<'_>) -> Result<(), Error> {
    let account = namespace.account("looks", &rights(&["kpo-follow"])?).await?;
    let task = namespace.start("run", &shell(&[], "sleep 3; echo hello"))?;
    namespace.pod("task-1", "runs", super::is_running).await?;
    namespace.start_as(&account.0, "why", &["task"])?.ended().await?.exits(0)?.never_says("forbidden")?;
    namespace.start_as(&account.0, "ls", &[""; 0])?.ended().await?.exits(0)?.never_says("forbidden")?;
    let ended = namespace.start_as(&account.0, "attach", &["task"])?.ended().await?;
    ended.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
    task.ended().await?.exits(0)?;
    namespace.is_empty().await
}

pub(super) async fn exec_with_its_role(namespace: &Namespace<'_>) -> Result<(), Error> {
    let flags = ["-o", "json", "--result", "--results", "exec", "--results-image", "kpo.rs/sidecar:1"];
    let run = shell(&flags, "mkdir -p /airflow/xcom; echo 1 > /airflow/xcom/return.json");
    let without = namespace.account("runs", &rights(&FOR_RUN)?).await?;
    let ended = namespace.start_as(&without.0, "run", &run)?.ended().await?;
    same("exit", &json!(ended.code), &json!(65))?;
    ended.says("resources: [pods/exec]")?;
    namespace.is_empty().await?;
    let with = namespace.account("execs", &rights(&["kpo-run", "kpo-logs", "kpo-events", "kpo-exec"])?).await?;
    let outcome = namespace.start_as(&with.0, "run", &run)?.ended().await?.exits(0)?.outcome()?;
    same("result", &outcome["result"], &json!(1))?;
    namespace.is_empty().await
}

/// Each right is taken away in turn: what is lost then is what docs/rbac.yaml says, and the rule to add is named.
pub(super) async fn each_right_missing(namespace: &Namespace<'_>) -> Result<(), Error> {
    let all = rights(&FOR_RUN)?;
    for missing in &all {
        let (resource, verb) = missing;
        let rest: Vec<_> = all.iter().filter(|right| *right != missing).cloned().collect();
        let account = namespace.account(&format!("no-{verb}-{}", resource.replace('/', "-")), &rest).await?;
        let rule = format!("{{apiGroups: [\"\"], resources: [{resource}], verbs: [{verb}]}}");
        match (resource.as_str(), verb.as_str()) {
            ("pods", "create") => {
                let ended = namespace.start_as(&account.0, "run", &shell(&[], "echo hello"))?.ended().await?;
                ended.exits(77)?.prints("")?.says("verbs: [create, get, list, watch, patch, delete]")?;
            }
            ("pods", "get") => {
                namespace.start_as(&account.0, "why", &["task"])?.ended().await?.exits(77)?.says(&rule)?;
                // A run needs it only where something went unseen.
                namespace.evicted(&account.0).await?.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
            }
            ("pods", "list") => {
                namespace.start_as(&account.0, "attach", &["task"])?.ended().await?.exits(77)?.says(&rule)?;
                namespace.evicted(&account.0).await?.exits(0)?.prints("hello\n")?.never_says("forbidden")?;
            }
            ("pods/log", _) => {
                namespace.evicted(&account.0).await?.exits(0)?.prints("")?.says(&rule)?;
            }
            _ => {
                namespace.evicted(&account.0).await?.exits(0)?.prints("hello\n")?.says(&rule)?;
            }
        }
        namespace.remove_leftovers().await?;
    }
    Ok(())
}
