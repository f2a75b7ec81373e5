//! The rules of subordinates, on the pure core: what is refused, and in which words.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

use std::collections::BTreeSet;

use encanto::model::*;
use indexmap::IndexMap;

type Endpoint<'a> = (&'a str, &'a str, Scope);

fn charm(name: &str, provides: &[Endpoint<'_>], requires: &[Endpoint<'_>]) -> CharmMeta {
    let endpoints = |all: &[Endpoint<'_>]| {
        let one = |(name, interface, scope): &Endpoint<'_>| {
            let interface = interface.parse().unwrap();
            (name.parse().unwrap(), EndpointDecl { interface, scope: *scope, optional: false })
        };
        all.iter().map(one).collect()
    };
    CharmMeta {
        name: name.parse().unwrap(),
        summary: String::new(),
        description: String::new(),
        series: vec!["bookworm".into()],
        subordinate: false,
        provides: endpoints(provides),
        requires: endpoints(requires),
        peers: IndexMap::new(),
        config: IndexMap::new(),
        hooks: BTreeSet::new(),
        actions: IndexMap::new(),
        prepares: false,
    }
}

/// Reads what others log: their directory if they tell of it, else whatever they have.
fn log() -> CharmMeta {
    let requires = [("dir", "logs", Scope::Container), ("info", "juju-info", Scope::Container)];
    CharmMeta { subordinate: true, ..charm("log", &[], &requires) }
}

fn deployment(charm: CharmMeta) -> Deployment {
    Deployment {
        service: charm.name.as_str().parse().unwrap(),
        digest: format!("{charm:?}"),
        charm,
        units: 1,
        placement: Placement::Automatic,
        config: IndexMap::new(),
        generated: IndexMap::new(),
        constraints: Constraints::default(),
        expose: false,
    }
}

fn change(model: &mut Model, change: Change) -> Result<(), String> {
    let done = model.change(change, 1).map(drop).map_err(|error| error.to_string());
    assert_eq!(check::inconsistencies(model), Vec::<String>::new());
    done
}

fn deploy(model: &mut Model, charm: CharmMeta) -> Result<(), String> {
    change(model, Change::Deploy(Box::new(deployment(charm))))
}

fn relate(model: &mut Model, one: &str, other: &str) -> Result<(), String> {
    let end = |text: &str| {
        let (service, endpoint) = text.split_once(':').map_or((text, None), |(s, e)| (s, Some(e)));
        EndpointRef { service: service.parse().unwrap(), endpoint: endpoint.map(|e| e.parse().unwrap()) }
    };
    change(model, Change::AddRelation { one: end(one), other: end(other) })
}

fn environment() -> Model {
    let mut model = Model::default();
    let create = Change::CreateEnvironment { name: "test".parse().unwrap(), series: "bookworm".into() };
    change(&mut model, create).unwrap();
    deploy(&mut model, log()).unwrap();
    model
}

#[test]
fn a_subordinate_has_no_machines_to_be_chosen() {
    let mut model = Model::default();
    let constraints = Constraints { mem: Some(512), ..Constraints::default() };
    let words = "cannot use --num-units or --to with subordinate service";
    for (deployment, refused) in [
        (Deployment { units: 2, ..deployment(log()) }, words),
        (Deployment { units: 0, ..deployment(log()) }, words),
        (Deployment { placement: Placement::New, ..deployment(log()) }, words),
        (Deployment { constraints, ..deployment(log()) }, "cannot use --constraints with subordinate service"),
    ] {
        model.series = "bookworm".into();
        assert_eq!(change(&mut model, Change::Deploy(Box::new(deployment))), Err(refused.to_owned()));
    }
}

#[test]
fn what_a_charm_declares_comes_before_what_every_service_has() {
    let mut model = environment();
    deploy(&mut model, charm("told", &[("logs", "logs", Scope::Global)], &[])).unwrap();
    deploy(&mut model, charm("silent", &[], &[])).unwrap();
    deploy(&mut model, charm("twice", &[("a", "logs", Scope::Global), ("b", "logs", Scope::Global)], &[])).unwrap();
    relate(&mut model, "told", "log").unwrap();
    relate(&mut model, "log", "silent").unwrap();
    let relation = |model: &Model, number| model.relations[&RelationId(number)].clone();
    assert_eq!(relation(&model, 0).key(), "log:dir told:logs");
    assert_eq!(relation(&model, 1).key(), "log:info silent:juju-info");
    assert!(relation(&model, 0).is_container_scoped(), "one side that says so is enough");
    assert_eq!(
        relate(&mut model, "log", "twice"),
        Err("ambiguous relation: \"log twice\" could refer to \"log:dir twice:a\"; \"log:dir twice:b\"".into())
    );
    // Asked for by name, it is still there.
    relate(&mut model, "log", "told:juju-info").unwrap();
    assert_eq!(relation(&model, 2).key(), "log:info told:juju-info");
    assert_eq!(relate(&mut model, "silent", "told"), Err("no relations found".into()));
    // Who asks for nothing that is there is told what is.
    let [silent, told] = ["silent", "told"].map(|name| EndpointRef { service: name.parse().unwrap(), endpoint: None });
    let refused = model.change(Change::AddRelation { one: silent, other: told }, 1).unwrap_err();
    let ChangeError::NoCommonInterface { one_has, other_has, .. } = refused else { panic!("{refused:?}") };
    assert_eq!(
        (one_has, other_has),
        (vec!["provides juju-info: juju-info".into()], vec!["provides logs: logs".to_owned()])
    );
}

#[test]
fn two_principals_share_no_container() {
    let mut model = environment();
    deploy(&mut model, charm("told", &[("logs", "logs", Scope::Container)], &[])).unwrap();
    deploy(&mut model, charm("reader", &[], &[("dir", "logs", Scope::Global)])).unwrap();
    assert_eq!(
        relate(&mut model, "reader", "told"),
        Err("cannot add relation \"reader:dir told:logs\": container scoped relation requires at least one subordinate \
             service"
            .into())
    );
}

#[test]
fn an_upgrade_changes_no_subordinacy_and_narrows_no_relation() {
    let mut model = environment();
    deploy(&mut model, charm("told", &[("logs", "logs", Scope::Global)], &[])).unwrap();
    deploy(&mut model, charm("reader", &[], &[("dir", "logs", Scope::Global)])).unwrap();
    relate(&mut model, "reader", "told").unwrap();
    relate(&mut model, "log", "told:juju-info").unwrap();
    let mut upgrade = |charm: CharmMeta| {
        let (service, digest) = (charm.name.as_str().parse().unwrap(), format!("{charm:?}"));
        let upgrade = Upgrade { service, charm, digest, generated: IndexMap::new(), force: false };
        change(&mut model, Change::UpgradeCharm(Box::new(upgrade)))
    };
    let refused =
        |charm: &str, reason: &str| Err(format!("cannot upgrade service \"{charm}\" to charm \"{charm}\": {reason}"));
    let alone = CharmMeta { subordinate: false, ..log() };
    assert_eq!(upgrade(alone), refused("log", "cannot change a service's subordinacy"));
    let mut beside = charm("told", &[("logs", "logs", Scope::Global)], &[]);
    beside.subordinate = true;
    assert_eq!(upgrade(beside), refused("told", "cannot change a service's subordinacy"));
    let narrow = charm("told", &[("logs", "logs", Scope::Container)], &[]);
    assert_eq!(upgrade(narrow), refused("told", "would break relation \"reader:dir told:logs\""));
    // Every charm has juju-info.
    let more = [("logs", "logs", Scope::Global), ("more", "more", Scope::Global)];
    assert_eq!(upgrade(charm("told", &more, &[])), Ok(()));
}

#[test]
fn an_event_of_before_there_were_subordinates_is_read() {
    let old = [r#"{"unit-added":{"unit":"db/0","machine":1}}"#, r#"{"unit-removed":{"unit":"db/0"}}"#];
    let read: Vec<Event> = old.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let unit = || "db/0".parse::<UnitName>().unwrap();
    let added = Event::UnitAdded { unit: unit(), machine: MachineId::new(1), principal: None };
    assert_eq!(read, [added, Event::UnitRemoved { unit: unit(), principal: None }]);
}
