//! A proxy in front of a Docker Engine. It records the calls of the Engine API that it receives,
//! and can hold, reject or change the calls that a test selects.
//!
//! Every other call is forwarded unchanged, including streams such as `/events`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::{lock, wait_until};

/// A call of the Engine API, such as `DELETE /containers/4f2a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub method: String,
    /// The path without the API version and the query.
    pub path: String,
    /// The query, which may be empty.
    pub query: String,
}

impl Call {
    fn of(request: &Request<Incoming>) -> Self {
        let path = request.uri().path();
        let is_version = |part: &str| part.starts_with('v') && part.contains('.');
        let unversioned = path
            .strip_prefix('/')
            .and_then(|path| path.split_once('/'))
            .filter(|(first, _)| is_version(first))
            .map(|(_, rest)| format!("/{rest}"));
        Self {
            method: request.method().to_string(),
            path: unversioned.unwrap_or_else(|| path.to_owned()),
            query: request.uri().query().unwrap_or_default().to_owned(),
        }
    }

    /// Returns whether the call has this method, and the path names this object by id or by name.
    pub fn is(&self, method: &str, object: &Object) -> bool {
        self.method == method && self.names(object)
    }

    /// Returns whether the path names this object by id or by name.
    pub fn names(&self, object: &Object) -> bool {
        let mut parts = self.path.split('/');
        parts.any(|part| part == object.id || part == object.name)
    }

    /// Returns whether the call lists all containers, or those that a filter selects.
    pub fn lists_containers(&self) -> bool {
        self.method == "GET" && self.path == "/containers/json"
    }

    /// Returns whether the call lists all containers of the Engine that may belong to deckies, and
    /// not only those with certain ids.
    pub fn lists_all_containers(&self) -> bool {
        self.lists_containers() && !self.query.contains("%22id%22")
    }
}

/// A container or a network of the Engine.
#[derive(Debug, Clone)]
pub struct Object {
    pub id: String,
    pub name: String,
}

/// The proxy's treatment of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The call gets no response. It is forwarded when the faults are removed.
    Held,
    /// The call gets an error response with this status and message, and is not forwarded.
    Rejected(u16, String),
    /// The call is forwarded, and the JSON of the response is changed.
    Changed(fn(&mut Value)),
}

type Selection = Box<dyn Fn(&Call) -> bool + Send + Sync>;

/// A running proxy. Dropping this value closes its socket and its connections.
pub struct EngineProxy {
    socket: PathBuf,
    route: Arc<Route>,
    listener: JoinHandle<()>,
}

struct Route {
    /// The socket of the Engine.
    engine: PathBuf,
    /// The faults and the calls that they apply to. The last fault that selects a call applies.
    faults: Mutex<Vec<(Selection, Fault)>>,
    calls: Mutex<Vec<Call>>,
    /// The number of times that the faults have been removed.
    removals: watch::Sender<u64>,
}

impl EngineProxy {
    /// Starts a proxy for the Engine with the socket `engine`. The Engine does not need to run.
    pub fn start(engine: &Path) -> Result<Self> {
        let socket = engine.with_extension("proxy");
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("listen on {}", socket.display()))?;
        let route = Arc::new(Route {
            engine: engine.to_owned(),
            faults: Mutex::default(),
            calls: Mutex::default(),
            removals: watch::Sender::default(),
        });
        let shared = route.clone();
        let listener = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            // An error here means that the client closed the connection before it was accepted.
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    connections.spawn(shared.clone().serve(client));
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            socket,
            route,
            listener,
        })
    }

    /// Returns the address of the proxy's socket, as `--docker` and `DOCKER_HOST` expect it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Applies `fault` to each later call that `selects` accepts. The fault takes precedence over
    /// those that were injected before.
    pub fn inject(&self, fault: Fault, selects: impl Fn(&Call) -> bool + Send + Sync + 'static) {
        lock(&self.route.faults).push((Box::new(selects), fault));
    }

    /// Removes all faults. The held calls are forwarded.
    pub fn remove_faults(&self) {
        lock(&self.route.faults).clear();
        self.route.removals.send_modify(|count| *count += 1);
    }

    /// Returns the number of calls so far that `selects` accepts.
    pub fn count_calls(&self, selects: impl Fn(&Call) -> bool) -> usize {
        let calls = lock(&self.route.calls);
        calls.iter().filter(|call| selects(call)).count()
    }

    /// Waits until the proxy has received a call that `selects` accepts.
    pub async fn wait_for_call(&self, selects: impl Fn(&Call) -> bool) -> Result<()> {
        let count = || async { Ok::<_, std::convert::Infallible>(self.count_calls(&selects)) };
        wait_until("the proxy receives the call", count, |count| *count > 0).await?;
        Ok(())
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.listener.abort();
        let _ = std::fs::remove_file(&self.socket);
    }
}

type Body = BoxBody<Bytes, hyper::Error>;

impl Route {
    async fn serve(self: Arc<Self>, client: UnixStream) {
        let answer = service_fn(|request| self.answer(request));
        // An error here means that the client or the Engine has closed its connection.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(client), answer)
            .await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let call = Call::of(&request);
        let mut removals = self.removals.subscribe();
        let fault = {
            let faults = lock(&self.faults);
            let mut latest_first = faults.iter().rev();
            let fault = latest_first.find(|(selects, _)| selects(&call));
            fault.map(|(_, fault)| fault.clone())
        };
        lock(&self.calls).push(call);
        match fault {
            None => self.forward(request).await,
            Some(Fault::Held) => {
                removals.changed().await?;
                self.forward(request).await
            }
            Some(Fault::Rejected(status, message)) => {
                let body = json!({ "message": message }).to_string();
                Ok(Response::builder()
                    .status(status)
                    .header("Content-Type", "application/json")
                    .body(to_body(body))?)
            }
            Some(Fault::Changed(change)) => {
                let (mut head, body) = self.forward(request).await?.into_parts();
                let mut value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
                change(&mut value);
                head.headers.remove(hyper::header::CONTENT_LENGTH);
                head.headers.remove(hyper::header::TRANSFER_ENCODING);
                Ok(Response::from_parts(head, to_body(value.to_string())))
            }
        }
    }

    /// Sends a call to the Engine over a separate connection.
    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let stream = UnixStream::connect(&self.engine).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends when the client has read the response or has gone.
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        Ok(response.map(BodyExt::boxed))
    }
}

fn to_body(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed()
}
