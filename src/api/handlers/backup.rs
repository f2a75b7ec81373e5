//! backup: the answer is the file itself, so that whoever asks owns it.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;

use super::super::backup;
use super::super::requests::Refusal;
use super::super::server::{Peer, Shared};

pub async fn handle(
    State(backend): State<Shared>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let (manifest, content) = match backend.backup(&peer.asks(&headers, "backup").await).await {
        Ok(taken) => taken,
        Err(refusal) => return refusal.into_response(),
    };
    let head = match backup::head(&manifest) {
        Ok(head) => head,
        Err(error) => return Refusal::new(format!("the backup cannot be described: {error}")).into_response(),
    };
    let head = tokio_stream::once(Ok::<_, Infallible>(Bytes::from(head))).map(|head| match head {
        Ok(head) => Ok(head),
        Err(never) => match never {},
    });
    let content = ReaderStream::with_capacity(tokio::fs::File::from_std(content), 256 << 10);
    let body = Body::from_stream(head.chain(content));
    ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response()
}
