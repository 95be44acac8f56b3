//! Service accounts with the Roles of docs/rbac.yaml: on a real cluster kpo runs under exactly these.

use crate::Error;
use crate::cluster::Namespace;
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The account as which kpo runs.
const OWN: &str = "kpo";
/// No body takes longer than its token lasts.
const LASTS: Duration = Duration::from_secs(4 * 3600);
const ROLES: &str = include_str!("../../../docs/rbac.yaml");
/// What `kpo run` is to have.
pub(crate) const FOR_RUN: [&str; 3] = ["kpo-run", "kpo-logs", "kpo-events"];

/// The rules of these Roles, one right each: resource and verb.
pub(crate) fn rights(roles: &[&str]) -> Result<Vec<(String, String)>, Error> {
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
pub(crate) struct Account(PathBuf);

impl Drop for Account {
    fn drop(&mut self) {
        // It holds a token, which ends with the namespace.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Account {
    /// Its kubeconfig.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Namespace<'_> {
    pub(crate) async fn account(&self, name: &str, rights: &[(String, String)]) -> Result<Account, Error> {
        self.authorise(name, rights).await?;
        let token = self.token(name, json!({"expirationSeconds": LASTS.as_secs()})).await?;
        self.kubeconfig_of(name, json!({ "token": token }))
    }

    /// A token of a service account, as asked for.
    pub(crate) async fn token(&self, account: &str, spec: Value) -> Result<String, Error> {
        let asked =
            self.post(&self.path(&format!("serviceaccounts/{account}/token")), &json!({ "spec": spec })).await?;
        Ok(asked["status"]["token"].as_str().ok_or("no token")?.to_owned())
    }

    /// The account as which kpo runs here.
    pub(crate) async fn own_account(&self) -> Result<Account, Error> {
        self.account(OWN, &rights(&FOR_RUN)?).await
    }

    /// Gives it the rights of another Role. The lab has no Roles: there everybody may do everything.
    pub(crate) async fn may_also(&self, role: &str) -> Result<(), Error> {
        if self.account.is_none() { Ok(()) } else { self.grant(role, OWN, &rights(&[role])?).await }
    }

    /// A service account that may run tasks.
    pub(crate) async fn runner(&self, name: &str) -> Result<(), Error> {
        self.authorise(name, &rights(&FOR_RUN)?).await
    }

    async fn authorise(&self, name: &str, rights: &[(String, String)]) -> Result<(), Error> {
        self.post(&self.path("serviceaccounts"), &json!({"metadata": {"name": name}})).await?;
        self.grant(name, name, rights).await
    }

    /// Gives an account the rights of a Role, and waits until that is in force.
    async fn grant(&self, name: &str, account: &str, rights: &[(String, String)]) -> Result<(), Error> {
        let rules: Vec<Value> =
            rights.iter().map(|(r, v)| json!({"apiGroups": [""], "resources": [r], "verbs": [v]})).collect();
        let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name);
        let (metadata, group) = (json!({"name": name}), "rbac.authorization.k8s.io");
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": self.name});
        let role = json!({"kind": "Role", "name": name, "apiGroup": group});
        self.post(&format!("{rbac}/roles"), &json!({"metadata": metadata, "rules": rules})).await?;
        let binding = json!({"metadata": metadata, "subjects": [subject], "roleRef": role});
        self.post(&format!("{rbac}/rolebindings"), &binding).await?;
        let (resource, verb) = rights.last().ok_or("an account needs a right")?;
        self.wait("the Role is in force", || self.may(account, resource, verb)).await
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
    pub(crate) fn kubeconfig_of(&self, account: &str, credentials: Value) -> Result<Account, Error> {
        let admin = kube::config::Kubeconfig::read_from(&self.target.kubeconfig)?;
        let (clusters, current) = (json!(admin.clusters), admin.current_context.unwrap_or_default());
        let found = admin.contexts.into_iter().find(|context| context.name == current);
        let cluster = found.and_then(|named| named.context).ok_or("the kubeconfig has no current context")?.cluster;
        let context = json!({"name": current, "context": {"cluster": cluster, "user": account}});
        let user = json!({"name": account, "user": credentials});
        let config = json!({"apiVersion": "v1", "kind": "Config", "clusters": clusters, "contexts": [context],
            "users": [user], "current-context": current});
        let path = std::env::temp_dir().join(format!("{}-{account}.kubeconfig", self.name));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?
            .write_all(config.to_string().as_bytes())?;
        Ok(Account(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Airflow's Helm chart gives to its pod launcher (chart/templates/rbac/pod-launcher-role.yaml in apache/airflow, chart 1.18), without
    /// `pods/exec`, which only `--results=exec` needs.
    const POD_LAUNCHER: [(&str, &[&str]); 3] = [
        ("pods", &["create", "list", "get", "patch", "watch", "delete"]),
        ("pods/log", &["get"]),
        ("events", &["list"]),
    ];

    #[test]
    fn who_may_launch_pods_in_airflows_chart_may_run_tasks() {
        let has = |resource: &str, verb: &str| {
            POD_LAUNCHER.iter().any(|(known, verbs)| *known == resource && verbs.contains(&verb))
        };
        for (resource, verb) in rights(&FOR_RUN).expect("the Roles are there") {
            assert!(has(&resource, &verb), "{verb} {resource}");
        }
    }

    #[test]
    fn no_role_has_a_right_on_nodes_and_only_one_may_exec() {
        let all = ["kpo-run", "kpo-logs", "kpo-events", "kpo-exec", "kpo-follow"];
        for role in all {
            let rights = rights(&[role]).expect("it is there");
            assert!(!rights.is_empty(), "{role}");
            assert!(rights.iter().all(|(resource, _)| resource != "nodes"), "{role}");
            assert_eq!(rights.iter().any(|(resource, _)| resource == "pods/exec"), role == "kpo-exec", "{role}");
        }
        let named = ROLES.matches("kind: Role\n").count();
        assert_eq!(named, all.len());
    }
}
