//! One connection to libvirt, which is opened when it is first needed.
//!
//! # Guarantees
//! A libvirtd that was restarted is connected to again. No call blocks the runtime.
//!
//! # Assumptions
//! All work may be done twice: a call that the connection broke under is repeated once.
//!
//! # Limits
//! libvirtd answers five calls of one connection at a time. Who makes calls that take long (an agent's) has a
//! `Hypervisor` of his own. A call that was begun goes on to its end when its caller is given up.

use std::sync::{Arc, Mutex};

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::{Error, ErrorNumber};

use super::ownership::Owner;
use super::{library, words};
use crate::provider::ProviderError;
use crate::provider::local::locked;

/// A libvirt that is reached by one URI. Clones share the connection.
#[derive(Clone)]
pub struct Hypervisor {
    uri: Arc<str>,
    connection: Arc<Mutex<Option<Connect>>>,
}

impl Hypervisor {
    /// Connects to nothing yet.
    pub fn new(uri: &str) -> Self {
        Self { uri: uri.into(), connection: Arc::default() }
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Does blocking work with the connection.
    ///
    /// # Errors
    /// libvirt's own words, and what to do.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&Connect) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let hypervisor = self.clone();
        let done = tokio::task::spawn_blocking(move || {
            library::load()?;
            hypervisor.call_now(work).map_err(|error| words::refusal(&hypervisor.uri, &error))
        })
        .await;
        done.map_err(|error| {
            let source = std::io::Error::other(error);
            ProviderError::Spawn { command: format!("a call to {}", self.uri), source }
        })?
    }

    /// Does blocking work with our domain of this name; `None` if there is no domain of this name.
    ///
    /// # Errors
    /// [`ProviderError::NameTaken`] if the domain of this name is somebody else's: it is not touched.
    pub async fn domain<T: Send + 'static>(
        &self,
        (name, owner): (&(impl AsRef<str> + ?Sized), &Owner),
        work: impl Fn(&Domain) -> Result<T, Error> + Send + 'static,
    ) -> Result<Option<T>, ProviderError> {
        let (name, owner) = (name.as_ref().to_owned(), owner.clone());
        let asked = name.clone();
        let look = move |connection: &Connect| {
            let domain = Domain::lookup_by_name(connection, &asked)?;
            if owner.owns(&domain)? { work(&domain).map(Found::Ours) } else { Ok(Found::Foreign) }
        };
        // It may go at any moment, between two questions too.
        let done = self.call(move |connection| Ok(absent_is_none(look(connection))?.unwrap_or(Found::Nothing)));
        match done.await? {
            Found::Nothing => Ok(None),
            Found::Ours(done) => Ok(Some(done)),
            Found::Foreign => Err(ProviderError::NameTaken { name, place: self.uri.to_string() }),
        }
    }

    fn call_now<T>(&self, work: impl Fn(&Connect) -> Result<T, Error>) -> Result<T, Error> {
        let connection = self.connected()?;
        let done = work(&connection);
        if done.is_ok() || connection.is_alive().unwrap_or(false) {
            return done;
        }
        locked(&self.connection).take();
        work(&self.connected()?)
    }

    fn connected(&self) -> Result<Connect, Error> {
        let mut connection = locked(&self.connection);
        if let Some(open) = connection.as_ref() {
            return Ok(open.clone());
        }
        // libvirt would print every error on our standard error.
        virt::error::clear_error_callback();
        Ok(connection.insert(Connect::open(Some(&self.uri))?).clone())
    }
}

enum Found<T> {
    Nothing,
    Ours(T),
    Foreign,
}

/// What a look at each domain gives. One that goes meanwhile, maybe of another environment, gives nothing.
pub fn each<T>(
    connection: &Connect,
    flags: u32,
    look: impl Fn(&Domain) -> Result<Option<T>, Error>,
) -> Result<Vec<T>, Error> {
    let domains = connection.list_all_domains(flags)?;
    let seen = domains.iter().map(|domain| absent_is_none(look(domain)).map(Option::flatten));
    seen.filter_map(Result::transpose).collect()
}

/// A domain that is not there (any more) is no error.
pub fn absent_is_none<T>(done: Result<T, Error>) -> Result<Option<T>, Error> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.code() == ErrorNumber::NoDomain => Ok(None),
        Err(error) => Err(error),
    }
}
