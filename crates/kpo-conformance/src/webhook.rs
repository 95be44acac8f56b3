//! A mutating webhook of the suite's own, as meshes and agents have one: it puts containers into the pods of one namespace.

use crate::Error;
use crate::cluster::Namespace;
use crate::components::Components;
use crate::container::container;
use crate::undo::Undo;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

/// It serves until it is dropped. The cluster asks it until its body is done: whoever makes pods keeps it so long.
pub(crate) struct Webhook(JoinHandle<()>);

impl Drop for Webhook {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Webhook {
    /// Patches (RFC 6902) each pod that is created in the namespace, once the API server has heard of it. The API server has to reach us: where it is
    /// not on this machine this cannot be run.
    pub(crate) async fn start(namespace: &Namespace<'_>, patch: Value) -> Result<Self, Error> {
        Self::start_for(namespace, patch, json!({})).await
    }

    /// The same for a patch that needs more of a pod's spec to be there.
    pub(crate) async fn start_for(namespace: &Namespace<'_>, patch: Value, more: Value) -> Result<Self, Error> {
        Components::here()?;
        let host = address_towards(namespace)?;
        let made = generate_simple_self_signed([host.to_string()])?;
        let listener = TcpListener::bind((host, 0)).await?;
        let address = listener.local_addr()?;
        let serves = Self(tokio::spawn(serve(listener, acceptor(&made)?, patch)));
        namespace.post(CONFIGURATIONS, &configuration(&namespace.name, address, &made.cert.pem())).await?;
        namespace.afterwards(Undo::Delete(format!("{CONFIGURATIONS}/{}", namespace.name)));
        namespace.is_patched(more).await?;
        Ok(serves)
    }
}

impl Namespace<'_> {
    /// Waits until a pod that is only tried is patched: the API server hears of its webhooks by and by.
    async fn is_patched(&self, more: Value) -> Result<(), Error> {
        let mut spec = json!({"containers": [container("base", "true")]});
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let (path, pod) = (&self.path("pods?dryRun=All"), &json!({"metadata": {"name": "tried"}, "spec": spec}));
        let is_so = || async move { Ok(shape(&self.post(path, pod).await?["spec"]) != shape(&pod["spec"])) };
        self.wait("the webhook is asked", is_so).await
    }
}

/// How many containers and gates there are.
fn shape(spec: &Value) -> [usize; 3] {
    ["initContainers", "containers", "schedulingGates"].map(|key| spec[key].as_array().map_or(0, Vec::len))
}

/// Ours, as the API server sees it.
fn address_towards(namespace: &Namespace<'_>) -> Result<IpAddr, Error> {
    let config = kube::config::Kubeconfig::read_from(&namespace.target.kubeconfig)?;
    let server = config.clusters.first().and_then(|one| one.cluster.as_ref()?.server.clone()).ok_or("no server")?;
    let server: http::Uri = server.parse()?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((server.host().ok_or("no host")?, server.port_u16().unwrap_or(443)))?;
    Ok(socket.local_addr()?.ip())
}

fn configuration(name: &str, address: SocketAddr, authority: &str) -> Value {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]});
    let client = json!({"url": format!("https://{address}/"), "caBundle": STANDARD.encode(authority)});
    let webhook = json!({"name": "inject.kpo.rs", "clientConfig": client, "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "timeoutSeconds": 10,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}});
    json!({"metadata": {"name": name}, "webhooks": [webhook]})
}

fn acceptor(made: &CertifiedKey<rcgen::KeyPair>) -> Result<TlsAcceptor, Error> {
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    Ok(TlsAcceptor::from(Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key)?)))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, patch: Value) {
    let patch: Arc<str> = STANDARD.encode(patch.to_string()).into();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, patch) = (acceptor.clone(), Arc::clone(&patch));
        tokio::spawn(async move {
            // A connection that breaks is the API server's to notice.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answers = service_fn(move |request| answer(request, Arc::clone(&patch)));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answers).await;
        });
    }
}

async fn answer(request: Request<Incoming>, patch: Arc<str>) -> Result<Response<Full<Bytes>>, Error> {
    let review: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
    let response =
        json!({"uid": review["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": &*patch});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    let body = Full::new(Bytes::from(review.to_string()));
    Ok(Response::builder().header("content-type", "application/json").body(body)?)
}
