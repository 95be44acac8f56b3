//! A bearer token that the caller gives.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::sync::OnceCell;
use tower::{BoxError, Layer, Service};

use super::CredentialError;

/// Gives a bearer token, or one line on why there is none (which may be shown: no secret in it).
///
/// ```
/// use kpo::hook::TokenCallback;
/// let callback = TokenCallback::new(|| async { Ok("token from a vault".to_owned()) });
/// assert_eq!(format!("{callback:?}"), "TokenCallback");
/// ```
#[derive(Clone)]
pub struct TokenCallback(Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>);

impl TokenCallback {
    /// From a closure. It is asked before the first request, and again after each 401; in between the token is kept.
    pub fn new<F, Fut>(callback: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(callback())))
    }

    async fn header(&self) -> Result<HeaderValue, CredentialError> {
        let token = (self.0)().await.map_err(CredentialError::Callback)?;
        let mut value =
            HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| CredentialError::Characters)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for TokenCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCallback")
    }
}

/// Puts the callback's token on each request; asks for it once.
#[derive(Clone)]
pub(super) struct TokenLayer {
    callback: TokenCallback,
    token: Arc<OnceCell<HeaderValue>>,
}

impl TokenLayer {
    pub(super) fn new(callback: TokenCallback) -> Self {
        Self { callback, token: Arc::default() }
    }
}

impl<S> Layer<S> for TokenLayer {
    type Service = TokenService<S>;

    fn layer(&self, inner: S) -> TokenService<S> {
        TokenService { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct TokenService<S> {
    inner: S,
    layer: TokenLayer,
}

impl<S, B> Service<Request<B>> for TokenService<S>
where
    S: Service<Request<B>, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<S::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let layer = self.layer.clone();
        // The service that was polled ready is the one to call (tower, `Service`, "Be careful when cloning inner services").
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            let token = layer.token.get_or_try_init(|| layer.callback.header()).await?;
            request.headers_mut().insert(AUTHORIZATION, token.clone());
            inner.call(request).await
        })
    }
}
