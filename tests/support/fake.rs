//! A controller that says what a test tells it to say, byte by byte: no code of the program is in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use super::Env;

#[derive(Clone, Debug)]
pub struct Asked {
    /// The last part of the path.
    pub verb: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

pub enum Reply {
    /// A status and a body.
    Json(u16, Value),
    /// Server-sent events; then the connection is closed.
    Events(Vec<Value>),
    /// The same, but the stream ends only when the client goes.
    Endless(Vec<Value>),
    /// `101`, then whatever is done with the stream.
    Upgraded(fn(UnixStream)),
    /// Nothing: the connection is closed.
    Nothing,
}

pub struct Fake {
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Listens where the controller of `sim` would. `answer` gets the request and how many there were before it.
    pub fn controller(env: &Env, answer: impl Fn(&Asked, usize) -> Reply + Send + 'static) -> Self {
        env.write("home/sim/journal.db", "");
        let listener = UnixListener::bind(env.path("home/sim/controller.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // A client that only looks whether someone is there asks nothing.
                let Some(request) = read(&stream) else { continue };
                let before = {
                    let mut log = log.lock().unwrap();
                    log.push(request.clone());
                    log.len() - 1
                };
                reply(stream, answer(&request, before));
            }
        });
        Self { asked }
    }

    pub fn always(env: &Env, status: u16, body: Value) -> Self {
        Self::controller(env, move |_, _| Reply::Json(status, body.clone()))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The only request.
    #[track_caller]
    pub fn was_asked(&self) -> Asked {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:#?}");
        asked.remove(0)
    }
}

fn read(stream: &UnixStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    let mut next = |lines: &mut BufReader<&UnixStream>| {
        line.clear();
        lines.read_line(&mut line).ok().filter(|count| *count > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = next(&mut lines)?;
    let path = first.strip_prefix("POST /v1/").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
    let verb = path.unwrap_or_else(|| panic!("a strange request: {first}")).to_owned();
    let mut headers = Vec::new();
    while let Some(line) = next(&mut lines).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Asked { verb, headers, body: serde_json::from_slice(&body).unwrap() })
}

/// Whoever does not wait for the whole answer may go.
fn reply(mut stream: UnixStream, reply: Reply) {
    let head = |status: u16, kind: &str| format!("HTTP/1.1 {status} Whatever\r\ncontent-type: {kind}\r\n");
    let _ = match reply {
        Reply::Json(status, body) => {
            let body = body.to_string();
            let head = head(status, "application/json");
            write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())
        }
        Reply::Events(events) => write!(stream, "{}\r\n{}", head(200, "text/event-stream"), wire(&events)),
        Reply::Endless(events) => {
            let written = write!(stream, "{}\r\n{}", head(200, "text/event-stream"), wire(&events));
            let _ = stream.read(&mut [0]);
            written
        }
        Reply::Upgraded(talk) => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: encanto-exec\r\n\r\n";
            let written = stream.write_all(head.as_bytes());
            talk(stream);
            written
        }
        Reply::Nothing => Ok(()),
    };
}

fn wire(events: &[Value]) -> String {
    let event = |data: &Value| format!("id: {}\ndata: {data}\n\n", data["sequence"]);
    std::iter::once(": hello\n\n".to_owned()).chain(events.iter().map(event)).collect()
}
