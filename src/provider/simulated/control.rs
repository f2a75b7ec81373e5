//! What tests tell the simulated provider, and ask it.

use std::sync::Arc;
use std::time::Duration;

use super::super::{ExecRequest, InstanceName, InstanceSpec, InstanceState, PublishedPort};
use super::{ExecScript, Failure, SimulatedCall, SimulatedProvider};

impl SimulatedProvider {
    /// The next call of this kind (the method's name, e.g. `create`) fails with these words.
    pub fn fail_next(&self, kind: &str, words: &str) {
        self.fail_nth(kind, 1, words);
    }

    /// The `nth` call of this kind from now (1 is the next) fails. Several are counted one after the other.
    pub fn fail_nth(&self, kind: &str, nth: usize, words: &str) {
        let failure = Failure { after: nth.saturating_sub(1), words: words.to_owned() };
        self.world().failures.entry(kind.to_owned()).or_default().push_back(failure);
    }

    /// Decides what commands answer; without it each ends at once with 0 and, but for `ip`, no output.
    pub fn answer_exec(&self, answer: impl Fn(&InstanceName, &ExecRequest) -> ExecScript + Send + Sync + 'static) {
        self.world().answer = Some(Arc::new(answer));
    }

    /// How long each call takes from now on.
    pub fn set_latency(&self, latency: Duration) {
        self.world().latency = latency;
    }

    /// Calls of this kind do not come back before [`Self::let_go`].
    pub fn hold(&self, kind: &str) {
        self.world().held.insert(kind.to_owned());
    }

    pub fn let_go(&self, kind: &str) {
        self.world().held.remove(kind);
        self.let_go.notify_waiters();
    }

    /// The instance is deleted behind the controller's back.
    pub fn vanish(&self, name: &InstanceName) {
        let mut world = self.world();
        if let Some(instance) = world.remove(name) {
            world.others.forget(&instance);
        }
    }

    /// The instance is stopped behind the controller's back.
    pub fn stop_behind(&self, name: &InstanceName) {
        if let Some(instance) = self.world().instances.get_mut(name) {
            instance.state = InstanceState::Stopped;
            instance.ended.notify_waiters();
        }
    }

    /// The network is damaged behind the controller's back, which closes all ports.
    pub fn disturb(&self, words: &str) {
        let mut world = self.world();
        let published = std::mem::take(&mut world.published);
        let before = world.damage.take().map_or(published, |(_, before)| before);
        world.damage = Some((words.to_owned(), before));
        drop(world);
        self.damaged.notify_waiters();
    }

    /// The ports that are open now.
    pub fn published(&self) -> Vec<PublishedPort> {
        self.world().published.clone()
    }

    /// What an instance was created as.
    pub fn spec(&self, name: &InstanceName) -> Option<InstanceSpec> {
        self.world().instances.get(name).map(|instance| instance.spec.clone())
    }

    /// The last calls, failed ones too.
    pub fn calls(&self) -> Vec<SimulatedCall> {
        self.world().calls.iter().cloned().collect()
    }
}
