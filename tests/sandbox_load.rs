//! What loading a charm accepts, and how it tells what is wrong.

mod sandbox_support;

use encanto::charm::{CharmHost, Limits, digest};
use encanto::model::{CharmMeta, ConfigValue, OptionKind, Scope};
use sandbox_support::*;

async fn load(main: &str) -> Result<CharmMeta, String> {
    CharmHost::new(Limits::default()).load(&files(main, &[])).await.map_err(|error| error.to_string())
}

#[test]
fn a_whole_charm_is_read() {
    on_runtime(async {
        let meta = load(
            r#"return charm {
  name = "mysql", summary = "A database", description = "Long", series = { "bookworm", "trixie" },
  provides = { db = "mysql", admin = { interface = "mysql-root" } },
  requires = { logs = { interface = "syslog", scope = "container", optional = true } },
  peers = { cluster = { interface = "mysql-cluster" } },
  config = {
    zeta = { type = "int", default = 151, min = 10 },
    alpha = { type = "string", secret = true, generate = 20 },
    ratio = { type = "float", default = 1 },
    tuned = { type = "boolean", default = false },
  },
  prepare = function(machine) end,
  hooks = { install = function(unit) end, ["db-relation-joined"] = function(unit, relation) end },
  actions = { backup = { description = "Saves", params = {}, run = function(unit, params) end } },
}"#,
        )
        .await
        .unwrap();
        assert_eq!(meta.series, ["bookworm", "trixie"]);
        assert_eq!(
            meta.provides["db".parse::<encanto::model::EndpointName>().as_ref().unwrap()].interface.as_str(),
            "mysql"
        );
        assert_eq!(meta.requires[0].scope, Scope::Container);
        assert!(meta.requires[0].optional && meta.prepares && meta.actions.contains("backup"));
        assert_eq!(meta.config.keys().collect::<Vec<_>>(), ["zeta", "alpha", "ratio", "tuned"]);
        assert_eq!(meta.config["ratio"].default, Some(ConfigValue::Float(1.0)));
        assert_eq!((meta.config["alpha"].kind, meta.config["alpha"].generate), (OptionKind::String, Some(20)));
        assert_eq!(meta.hooks.iter().collect::<Vec<_>>(), ["db-relation-joined", "install"]);
    });
}

#[test]
fn all_mistakes_are_told_at_once() {
    on_runtime(async {
        let error = load(
            r#"return charm {
  name = "my_sql", sumary = "x",
  series = {},
  provides = { db = { interfase = "mysql" } },
  config = {
    port = { type = "integer" },
    size = { type = "int", default = "big", min = "x" },
    low = { type = "int", default = 3, min = 10 },
    kind = { type = "string", default = "c", choices = { "a", "b" } },
  },
  hooks = {
    instal = function(unit) end,
    ["web-relation-joined"] = function(unit) end,
    ["db-relation-joind"] = function(unit) end,
    start = 1,
  },
}"#,
        )
        .await
        .unwrap_err();
        insta::assert_snapshot!(error);
    });
}

#[test]
fn names_of_juju_are_reserved_but_for_requiring_juju_info() {
    on_runtime(async {
        let declared = |role: &str, endpoint: &str, interface: &str| {
            let charm = "return charm { name = \"a\", summary = \"s\", series = { \"x\" },";
            load(format!("{charm} {role} = {{ [\"{endpoint}\"] = \"{interface}\" }} }}").leak())
        };
        assert!(declared("requires", "info", "juju-info").await.is_ok());
        assert!(declared("provides", "jujube", "x").await.is_ok());
        for (role, endpoint, interface, expected) in [
            ("provides", "juju-info", "x", "endpoint name \"juju-info\" is reserved"),
            ("requires", "juju", "x", "endpoint name \"juju\" is reserved"),
            ("provides", "info", "juju-info", "interface \"juju-info\" of endpoint \"info\": it is reserved"),
            ("peers", "info", "juju-info", "interface \"juju-info\" of endpoint \"info\": it is reserved"),
            ("requires", "info", "juju-x", "interface \"juju-x\" of endpoint \"info\": only juju-info can be required"),
        ] {
            let error = declared(role, endpoint, interface).await.unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        // Any charm may have hooks for the endpoint that it has without declaring it.
        let main = "return charm { name = 'a', summary = 's', series = { 'x' },\n\
                    hooks = { ['juju-info-relation-joined'] = function(unit) end } }";
        assert!(load(main).await.is_ok());
    });
}

#[test]
fn other_failures_have_a_line_too() {
    on_runtime(async {
        for (main, expected) in [
            ("return 1", "charm.lua:1: charm.lua must end with `return charm { … }`"),
            ("charm {}", "charm.lua:1: charm.lua must end with"),
            ("\nreturn charm(1)", "charm.lua:2: charm expects a table, got number"),
            ("\nlocal x = = 1", "charm.lua:2: Expected"),
            ("local x\n\nx.y = 1", "charm.lua:3: attempt to index nil with 'y'"),
            ("sleep(1)", "charm.lua:1: sleep can be called in a hook only"),
            ("\nunit:exec { 'ls' }", "charm.lua:2: attempt to index nil with 'exec'"),
            ("while true do end", "charm.lua:1: ran longer than the limit"),
            ("\x1bLua", "charm.lua:1: "),
        ] {
            let host = CharmHost::new(short_limits());
            let error = host.load(&files(main, &[])).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{main}: {error}");
        }
        let main = "return charm { name = 'a', summary = 's', series = { 'x' } }";
        let host = CharmHost::new(Limits::default());
        let error = host.load(&files(main, &[("lib/a.lua", "\n\nif")])).await.unwrap_err().to_string();
        assert!(error.starts_with("lib/a.lua:3: "), "{error}");
        let error = host.load(&files("", &[])).await.unwrap_err();
        assert_eq!(error.problems[0].line, 1);
        assert!(host.load(&Default::default()).await.unwrap_err().to_string().contains("the charm has no charm.lua"));
        let large = "-".repeat(300 << 10);
        assert!(host.load(&files(&large, &[])).await.unwrap_err().to_string().contains("larger than 256 KiB"));
    });
}

#[test]
fn a_folder_is_read_without_what_is_hidden() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    assert!(encanto::charm::read_folder(folder.path()).is_err());
    let _ = ["charm.lua", "lib/a.lua", "templates/deep/x", ".git/config", "tests/a.lua", "a~", "lib/.swp"].map(put);
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
    let files = encanto::charm::read_folder(folder.path()).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["charm.lua", "lib/a.lua", "templates/deep/x"]);
    assert_eq!(digest(&files).len(), 64);
}

#[test]
fn every_builtin_charm_loads() {
    on_runtime(async {
        for name in encanto::charm::builtin_charms() {
            let files = encanto::charm::builtin_charm(&name).unwrap();
            let meta = CharmHost::new(Limits::default()).load(&files).await;
            assert_eq!(meta.map(|meta| meta.name.to_string()).map_err(|error| error.to_string()), Ok(name));
        }
    });
}
