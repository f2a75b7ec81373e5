//! What the dice found once, told without dice: each holds on its own, whatever becomes of the seeds.

use std::sync::Arc;
use std::time::Duration;

use encanto::controller::Controller;
use encanto::model::{Change, Constraints, Deployment, EndpointRef, MachineId, Placement, Sighting};
use encanto::provider::Provider;
use encanto::provider::simulated::SimulatedProvider;
use encanto::worker::World;
use encanto::worker::waiter::Told;
use indexmap::IndexMap;

use crate::charms::Charms;
use crate::checks;
use crate::provider::FlakyProvider;
use crate::run::{parts, rests, verdict};
use crate::sim::{Fate, Sim};

struct Story {
    sim: Arc<Sim>,
    provider: Arc<FlakyProvider>,
    world: World,
    _controller: Controller,
}

fn end(service: &str) -> EndpointRef {
    EndpointRef { service: service.parse().unwrap(), endpoint: None }
}

/// Tells it to a controller on a clock that stands still while there is work. In the end all is as it should be.
fn story(told: impl AsyncFnOnce(&Story)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let sim = Sim::new(1, false);
        let provider = Arc::new(FlakyProvider { inner: SimulatedProvider::new(), sim: sim.clone() });
        sim.born();
        let controller = Controller::start(parts(&sim, &provider)).await.unwrap();
        let story = Story { sim, provider, world: controller.world.clone(), _controller: controller };
        story.settle().await;
        told(&story).await;
        story.settle().await;
        let found = checks::at_rest(&story.world, &story.sim, &story.provider).await;
        assert!(found.is_empty(), "{found:#?}");
    });
}

impl Story {
    async fn ask(&self, change: Change) {
        self.world.ledger.commit("operator", change).await.unwrap();
    }

    async fn deploy(&self, name: &str, prepares: bool) {
        let charm = Charms::plain(name, prepares);
        self.world.charms.keep(&charm.digest, charm.files).await.unwrap();
        self.ask(Change::Deploy(Box::new(Deployment {
            service: name.parse().unwrap(),
            charm: charm.meta,
            digest: charm.digest,
            units: 1,
            placement: Placement::Automatic,
            config: IndexMap::new(),
            generated: IndexMap::new(),
            constraints: Constraints::default(),
            expose: false,
        })))
        .await;
    }

    async fn settle(&self) {
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            if rests(&self.world) {
                return;
            }
        }
        panic!("it never came to rest: {:#?}", self.world.ledger.observed());
    }

    /// The next call that begins so ends like this.
    fn next(&self, call: &'static str, fate: Fate) {
        self.sim.state().forced.push((call, fate));
    }
}

#[test]
fn a_port_is_closed_although_opening_it_seemed_to_fail() {
    story(async |s| {
        s.deploy("db", false).await;
        s.settle().await;
        s.next("publish", Fate::FailsAfter);
        let service: encanto::model::ServiceName = "db".parse().unwrap();
        s.ask(Change::Expose { service: service.clone(), published: Default::default() }).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(s.provider.inner.published().len(), 1);
        s.ask(Change::Unexpose { service }).await;
        s.settle().await;
        assert_eq!(s.provider.inner.published(), []);
    });
}

#[test]
fn a_build_that_failed_leaves_no_scratch_instance() {
    story(async |s| {
        s.next("prepare", Fate::FailsBefore);
        // The first clears the ground before the build.
        s.next("destroy me-sim-build", Fate::Well);
        s.next("destroy me-sim-build", Fate::FailsBefore);
        s.next("destroy me-sim-build", Fate::FailsBefore);
        s.deploy("db", true).await;
        s.settle().await;
        let instances = s.provider.inner.list().await.unwrap();
        assert_eq!(instances.len(), 1, "{instances:?}");
        // The unit tells the reason, and gets on when an operator says so.
        let unit = "db/0".parse().unwrap();
        assert_eq!(s.world.ledger.model().units[&unit].failed.as_ref().unwrap().message, "no software");
        s.ask(Change::Resolve { unit, retry: true }).await;
    });
}

#[test]
fn an_instance_that_vanished_while_none_could_be_listed_is_missed() {
    story(async |s| {
        s.deploy("db", false).await;
        s.settle().await;
        s.next("list", Fate::FailsBefore);
        s.provider.inner.vanish(&s.world.instance_name(MachineId::new(1)).unwrap());
        s.settle().await;
        assert_eq!(s.world.ledger.observed().instances[&MachineId::new(1)], Sighting::Missing);
    });
}

#[test]
fn wait_ends_when_a_dying_service_waits_for_a_unit_in_error() {
    story(async |s| {
        s.deploy("db", false).await;
        s.deploy("app", false).await;
        s.ask(Change::AddRelation { one: end("app"), other: end("db") }).await;
        s.settle().await;
        let app: encanto::model::UnitName = "app/0".parse().unwrap();
        s.sim.state().broken.insert((app, "db-relation-departed".to_owned()));
        s.ask(Change::DestroyServices { services: vec!["db".parse().unwrap()], force: false }).await;
        s.settle().await;
        let Some(Told::Failed(reasons)) = verdict(&s.world).await else { panic!("wait did not fail") };
        let waits = "is dying: waits for app/0, in error at hook db-relation-departed: `encanto resolved app/0`, or";
        assert_eq!(reasons[0], "app/0 is in error: hook failed: \"db-relation-departed\": no luck at the end");
        assert!(reasons[1].starts_with(&format!("service db {waits}")), "{reasons:?}");
        assert!(reasons[2].starts_with(&format!("relation app:db db:db {waits}")), "{reasons:?}");
    });
}

#[test]
fn what_failed_in_joining_is_not_tried_again_when_the_relation_ends() {
    story(async |s| {
        s.deploy("db", false).await;
        s.deploy("app", false).await;
        s.settle().await;
        let (one, other) = (end("app"), end("db"));
        let unit: encanto::model::UnitName = "app/0".parse().unwrap();
        s.sim.state().broken.insert((unit.clone(), "db-relation-joined".to_owned()));
        s.ask(Change::AddRelation { one: one.clone(), other: other.clone() }).await;
        s.settle().await;
        s.ask(Change::DestroyRelation { one, other, force: false }).await;
        s.settle().await;
        s.ask(Change::Resolve { unit, retry: true }).await;
        s.settle().await;
        assert!(s.world.ledger.model().relations.values().all(|relation| relation.is_peer()));
    });
}

#[test]
fn ports_that_change_while_the_network_is_damaged_are_open_when_it_is_mended() {
    story(async |s| {
        s.deploy("db", false).await;
        s.settle().await;
        s.next("mend", Fate::FailsBefore);
        s.provider.inner.disturb("the network was taken away");
        s.ask(Change::Expose { service: "db".parse().unwrap(), published: Default::default() }).await;
        s.settle().await;
        assert_eq!(s.provider.inner.published().len(), 1);
    });
}
