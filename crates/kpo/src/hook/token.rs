//! Bearer tokens that a callback gives, or a file holds.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use tokio::{sync::Mutex, time::Instant};
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
}

impl fmt::Debug for TokenCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCallback")
    }
}

/// Where a token comes from.
#[derive(Clone)]
pub(super) enum TokenSource {
    /// Asked once: a 401 makes a new client.
    Callback(TokenCallback),
    /// Read again and again: whoever mounts it there replaces it long before it ends.
    File(PathBuf),
}

/// How long a file's token is used before it is read again, as client-go does (`transport.NewCachedFileTokenSource`).
const READ_EVERY: Duration = Duration::from_secs(60);

impl TokenSource {
    async fn token(&self) -> Result<String, CredentialError> {
        match self {
            TokenSource::Callback(callback) => (callback.0)().await.map_err(CredentialError::Callback),
            TokenSource::File(path) => read(path),
        }
    }

    /// How long a token of it is used. `None`: as long as the client.
    fn lasts(&self) -> Option<Duration> {
        match self {
            TokenSource::Callback(_) => None,
            TokenSource::File(_) => Some(READ_EVERY),
        }
    }
}

/// A file's token. As client-go, without the white space around it: files end with a line feed.
pub(super) fn read(path: &Path) -> Result<String, CredentialError> {
    let error = |reason: String| CredentialError::TokenFile { path: path.display().to_string(), reason };
    let text = std::fs::read_to_string(path).map_err(|source| error(source.to_string()))?;
    match text.trim() {
        "" => Err(error("it is empty".to_owned())),
        token => Ok(token.to_owned()),
    }
}

pub(super) fn header(token: &str) -> Result<HeaderValue, CredentialError> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| CredentialError::Characters)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A token in use, and when it was had.
type Kept = Option<(HeaderValue, Instant)>;

/// Puts a source's token on each request.
#[derive(Clone)]
pub(super) struct TokenLayer {
    source: TokenSource,
    kept: Arc<Mutex<Kept>>,
}

impl TokenLayer {
    pub(super) fn new(source: TokenSource) -> Self {
        Self { source, kept: Arc::default() }
    }

    /// The token kept, or another. A file that can no longer be read leaves the one that it held (kubernetes#68164).
    async fn header(&self) -> Result<HeaderValue, CredentialError> {
        let mut kept = self.kept.lock().await;
        let is_fresh = |at: &Instant| self.source.lasts().is_none_or(|lasts| at.elapsed() < lasts);
        if let Some((value, _)) = kept.as_ref().filter(|(_, at)| is_fresh(at)) {
            return Ok(value.clone());
        }
        let value = match (self.source.token().await.and_then(|token| header(&token)), kept.take()) {
            (Ok(value), _) => value,
            (Err(_), Some((value, _))) => value,
            (Err(error), None) => return Err(error),
        };
        *kept = Some((value.clone(), Instant::now()));
        Ok(value)
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
            request.headers_mut().insert(AUTHORIZATION, layer.header().await?);
            inner.call(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDir;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_file_is_read_again_each_minute_and_may_go() {
        let dir = TestDir::new("token-file");
        let layer = TokenLayer::new(TokenSource::File(dir.write("token", "a\n")));
        let sent = async || layer.header().await.unwrap().to_str().unwrap().to_owned();
        assert_eq!(sent().await, "Bearer a");
        let path = dir.write("token", "b\n");
        advance(Duration::from_secs(59)).await;
        assert_eq!(sent().await, "Bearer a");
        advance(Duration::from_secs(1)).await;
        assert_eq!(sent().await, "Bearer b");
        std::fs::remove_file(path).unwrap();
        advance(Duration::from_secs(3600)).await;
        assert_eq!(sent().await, "Bearer b");
    }
}
