//! The ways into a machine that libvirt gives.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use roxmltree::Node;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::stream::Stream;

use super::pipe;
use crate::provider::libvirt::connection::{Hypervisor, absent_is_none};
use crate::provider::libvirt::ownership::Owner;
use crate::provider::libvirt::xml::{ask, elements, said};
use crate::provider::{InstanceName, ProviderError};

/// The name of the port that our helper serves.
pub const PORT: &str = "org.encanto.0";

/// A device of the domain: the port.
pub fn port_xml() -> String {
    format!("<channel type='unix'><target type='virtio' name='{PORT}'/></channel>")
}

/// Seconds that the guest agent has for an answer.
const ANSWER_LIMIT: i32 = 15;

/// Takes over from whoever has the stream: a controller that was killed a moment ago, or another operator.
const FORCE: u32 = 1;

/// Both directions of a connection.
pub struct Wire {
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    pub output: Box<dyn AsyncRead + Send + Unpin>,
}

/// What the hypervisor does for us to get into one machine.
#[async_trait]
pub trait Way: Send + Sync {
    fn name(&self) -> &InstanceName;

    /// # Errors
    /// [`ProviderError::NoInstance`] if the hypervisor does not know it.
    async fn is_running(&self) -> Result<bool, ProviderError>;

    /// Whether it is paused: whoever copies it does so, and QEMU when the host's disk is full.
    async fn is_paused(&self) -> Result<bool, ProviderError>;

    /// Asks the guest agent.
    async fn ask(&self, question: Value) -> Result<Value, ProviderError>;

    /// Connects to our port, which is added to the machine if it has none. There is one connection at a time.
    async fn connect(&self) -> Result<Wire, ProviderError>;

    /// Whether somebody in the machine has our port open.
    async fn is_served(&self) -> Result<bool, ProviderError>;
}

/// A machine of libvirt.
#[derive(Clone)]
pub struct LibvirtWay {
    name: InstanceName,
    owner: Owner,
    hypervisor: Hypervisor,
    /// A connection of its own: the agent may take long to answer.
    agents: Hypervisor,
}

impl LibvirtWay {
    pub fn new(name: InstanceName, owner: Owner, (hypervisor, agents): (Hypervisor, Hypervisor)) -> Self {
        Self { name, owner, hypervisor, agents }
    }

    async fn with<T: Send + 'static>(
        &self,
        hypervisor: &Hypervisor,
        work: impl Fn(&Domain) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let done = hypervisor.domain((&self.name, &self.owner), work).await?;
        done.ok_or_else(|| ProviderError::NoInstance(self.name.clone()))
    }

    async fn xml(&self) -> Result<String, ProviderError> {
        self.with(&self.hypervisor, |domain| domain.get_xml_desc(0)).await
    }

    /// Where the console's output is kept, if it is.
    pub async fn console_log(&self) -> Result<Option<PathBuf>, ProviderError> {
        Ok(console_log(&self.xml().await?))
    }

    /// The serial console. There is one connection at a time, and the newest gets it.
    pub async fn connect_console(&self) -> Result<Wire, ProviderError> {
        self.stream(|domain, stream| domain.open_console(None, stream, FORCE)).await
    }

    async fn stream(
        &self,
        open: impl Fn(&Domain, &Stream) -> Result<u32, Error> + Send + 'static,
    ) -> Result<Wire, ProviderError> {
        let (name, owner) = (self.name.clone(), self.owner.clone());
        let open = move |connection: &Connect| {
            let domain = Domain::lookup_by_name(connection, name.as_str())?;
            if !owner.owns(&domain)? || !domain.is_active()? {
                return Ok(None);
            }
            let stream = Stream::new(connection, 0)?;
            open(&domain, &stream)?;
            Ok(Some(Arc::new(stream)))
        };
        let opened = self.hypervisor.call(move |connection| Ok(absent_is_none(open(connection))?.flatten()));
        let stream = opened.await?.ok_or_else(|| ProviderError::NotRunning { name: self.name.clone() })?;
        pipe::wire(&stream).map_err(|source| ProviderError::Enter { name: self.name.clone(), source })
    }

    /// Takes the port away from a machine that did not have it.
    pub async fn remove_port(&self) -> Result<(), ProviderError> {
        // As libvirt describes it: by less it does not find it.
        let xml = self.xml().await?;
        let described = ask(&xml, |domain| port(domain).map(|port| xml[port.range()].to_owned()));
        let Some(described) = described else { return Ok(()) };
        let removed = move |domain: &Domain| {
            let live = virt_sys::VIR_DOMAIN_AFFECT_LIVE;
            domain.detach_device_flags(&described, live)
        };
        self.with(&self.hypervisor, removed).await.map(drop)
    }

    /// The port's socket, where it is on this host.
    async fn socket(&self) -> Result<Option<PathBuf>, ProviderError> {
        Ok(ask(&self.xml().await?, |domain| said(port(domain)?, "source", "path").map(PathBuf::from)))
    }

    async fn add_port(&self) -> Result<(), ProviderError> {
        let added = move |domain: &Domain| {
            let live = virt_sys::VIR_DOMAIN_AFFECT_LIVE;
            domain.attach_device_flags(&port_xml(), live)
        };
        self.with(&self.hypervisor, added).await.map(drop)
    }
}

#[async_trait]
impl Way for LibvirtWay {
    fn name(&self) -> &InstanceName {
        &self.name
    }

    async fn is_running(&self) -> Result<bool, ProviderError> {
        self.with(&self.hypervisor, Domain::is_active).await
    }

    async fn is_paused(&self) -> Result<bool, ProviderError> {
        let state = self.with(&self.hypervisor, Domain::get_state).await?;
        Ok(state.0 == virt_sys::VIR_DOMAIN_PAUSED)
    }

    async fn ask(&self, question: Value) -> Result<Value, ProviderError> {
        let text = question.to_string();
        let asked = self.with(&self.agents, move |domain| domain.qemu_agent_command(&text, ANSWER_LIMIT, 0));
        let answer = asked.await?;
        let answer: Value = serde_json::from_str(&answer)
            .map_err(|error| ProviderError::Enter { name: self.name.clone(), source: error.into() })?;
        Ok(answer.get("return").cloned().unwrap_or(Value::Null))
    }

    async fn connect(&self) -> Result<Wire, ProviderError> {
        let mut socket = self.socket().await?;
        if socket.is_none() {
            self.add_port().await?;
            socket = self.socket().await?;
        }
        // Straight to QEMU if it is on this host: libvirtd may be restarted meanwhile, and bulk is quicker by half.
        if let Some(path) = socket.filter(|path| path.exists()) {
            let connected = tokio::net::UnixStream::connect(&path).await;
            let connected = connected.map_err(|source| ProviderError::Enter { name: self.name.clone(), source })?;
            let (output, input) = connected.into_split();
            return Ok(Wire { input: Box::new(input), output: Box::new(output) });
        }
        self.stream(|domain, stream| domain.open_channel(Some(PORT), stream, FORCE)).await
    }

    async fn is_served(&self) -> Result<bool, ProviderError> {
        let xml = self.xml().await?;
        Ok(ask(&xml, |domain| Some(said(port(domain)?, "target", "state") == Some("connected"))).unwrap_or(false))
    }
}

/// Our port in a running domain's description.
fn port<'a, 'i>(domain: Node<'a, 'i>) -> Option<Node<'a, 'i>> {
    elements(domain, "channel").find(|channel| said(*channel, "target", "name") == Some(PORT))
}

fn console_log(xml: &str) -> Option<PathBuf> {
    ask(xml, |domain| elements(domain, "serial").find_map(|serial| said(serial, "log", "file")).map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = "<devices>
        <serial type='pty'><source path='/dev/pts/2'/><log file='/var/log/m&apos;s.log' append='off'/></serial>
        <channel type='unix'><source mode='bind' path='/c/org.qemu.guest_agent.0'/>
          <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
        <channel type='unix'><source mode='bind' path='/c/org.encanto.0'/>
          <target type='virtio' name='org.encanto.0' state='disconnected'/></channel></devices>";

    #[test]
    fn our_port_is_told_from_the_agents() {
        let ours = |element, key| ask(RUNNING, |domain| said(port(domain)?, element, key).map(str::to_owned));
        assert_eq!(ours("source", "path").as_deref(), Some("/c/org.encanto.0"));
        assert_eq!(ours("target", "state").as_deref(), Some("disconnected"));
        assert_eq!(ask(&RUNNING.replace(PORT, "other"), |domain| port(domain).map(drop)), None);
    }

    #[test]
    fn the_consoles_log_is_found() {
        assert_eq!(console_log(RUNNING), Some("/var/log/m's.log".into()));
        assert_eq!(console_log("<devices><serial type='pty'></serial><log file='x'/></devices>"), None);
    }
}
