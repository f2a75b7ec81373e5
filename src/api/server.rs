//! The routes, and what is the same for all of them: version check, JSON in and out, refusals.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::backend::{Asker, Backend};
use super::handlers;
use super::requests::{
    COMMAND_HEADER, ControllerInfo, DestroyEnvironment, Refusal, StopController, VERSION, VERSION_HEADER, Verb,
};
use super::users;

pub type Shared = Arc<dyn Backend>;

/// A charm of 10 MiB in base64 fits.
const BODY_LIMIT: usize = 16 << 20;

/// One verb's handler.
#[async_trait::async_trait]
pub trait Handle: Verb {
    async fn handle(self, backend: &dyn Backend, by: &Asker) -> Result<Self::Answer, Refusal>;
}

/// The whole API.
pub fn router(backend: Shared) -> Router {
    use super::actions::*;
    use super::adopt::*;
    use super::machines::*;
    use super::requests::*;
    let mut router = Router::new();
    macro_rules! verbs {
        ($($verb:ty),* $(,)?) => {
            $(router = router.route(&format!("/v1/{}", <$verb as Verb>::PATH), post(verb::<$verb>));)*
        };
    }
    verbs!(
        Deploy,
        AddUnit,
        AddRelation,
        AddMachine,
        UpgradeCharm,
        DestroyRelation,
        Resolved,
        RetryProvisioning,
        UnsetConfig,
        StatusLog,
        History,
        DestroyUnit,
        DestroyService,
        DestroyMachine,
        Expose,
        Unexpose,
        SetConfig,
        GetConfig,
        GetConstraints,
        SetConstraints,
        Status,
        Check,
        ControllerInfo,
        StopController,
        DestroyEnvironment,
        ListActions,
        RunAction,
        ShowAction,
        ActionTasks,
        CancelAction,
        Run,
        ListMachines,
        StopMachine,
        StartMachine,
        RestartMachine,
        CloneMachine,
        ListSnapshots,
        TakeSnapshot,
        DropSnapshot,
        RestoreMachine,
        AdoptMachine,
        ReleaseMachine,
        ForeignMachines,
    );
    router
        .route("/v1/wait", post(handlers::wait::handle))
        .route("/v1/watch", post(handlers::watch::handle))
        .route("/v1/debug-log", post(handlers::debug_log::handle))
        .route("/v1/backup", post(handlers::backup::handle))
        .route("/v1/exec", post(handlers::exec::handle))
        .route("/v1/console", post(handlers::console::handle))
        .route("/v1/debug-hooks", post(handlers::debug_hooks::handle))
        .layer(middleware::from_fn(check_version))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(backend)
}

/// Who is at the other end of a connection. The kernel says so when it is made; no client can say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// `None` if the kernel would not say.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

impl Peer {
    /// The asker of a request on this connection.
    pub async fn asks(self, headers: &HeaderMap, verb: &str) -> Asker {
        let command = headers.get(COMMAND_HEADER).and_then(|command| command.to_str().ok()).unwrap_or(verb);
        let name = tokio::task::spawn_blocking(move || self.uid.map(users::name_of)).await;
        let user = name.ok().flatten().unwrap_or_else(|| "unknown".to_owned());
        Asker::new(user, command)
    }
}

async fn verb<V: Handle>(
    State(backend): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: V = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return Refusal::new(format!("the request cannot be read: {error}")).into_response(),
    };
    match request.handle(backend.as_ref(), &peer.asks(&headers, V::PATH).await).await {
        Ok(answer) => json(StatusCode::OK, &answer),
        Err(refusal) => refusal.into_response(),
    }
}

async fn check_version(request: Request, next: Next) -> Response {
    // A newer program must be able to end an older controller; these requests hold nothing that could be misread.
    let lifelong = [ControllerInfo::PATH, StopController::PATH, DestroyEnvironment::PATH];
    if request.uri().path().strip_prefix("/v1/").is_some_and(|path| lifelong.contains(&path)) {
        return next.run(request).await;
    }
    let client = request.headers().get(VERSION_HEADER).and_then(|version| version.to_str().ok()).unwrap_or("unknown");
    if client == VERSION {
        return next.run(request).await;
    }
    let refusal = Refusal::new(format!("the controller is version {VERSION}, this client is version {client}"))
        .hint("restart the controller with this version: `encanto controller stop`, then `encanto controller start`");
    json(StatusCode::CONFLICT, &refusal)
}

pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Refusal {
    pub fn new(error: impl Into<String>) -> Refusal {
        Refusal { error: error.into(), details: Vec::new(), hints: Vec::new() }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Refusal {
        self.details.push(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hints.push(hint.into());
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        json(StatusCode::BAD_REQUEST, &self)
    }
}
