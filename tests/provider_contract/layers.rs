//! Layers: made once, stacked, found by every machine that asks for them.

use encanto::provider::{InstanceName, InstanceSpec, ProviderError};

use crate::bed::Environment;
use crate::tools::{read, run, write};

/// Has a build machine on these layers do something, and keeps that as the next one.
async fn build(on: &Environment, layers: &[String], key: &str, script: &str) {
    let name = on.named(&format!("build-{key}").chars().take(30).collect::<String>());
    let spec = InstanceSpec { build: true, layers: layers.to_vec(), ..on.spec(&name) };
    on.provider.create(&spec).await.unwrap();
    run(&*on.provider, &name, script).await;
    on.provider.seal(&name, &key.to_owned()).await.unwrap();
}

async fn on_layers(on: &Environment, layers: &[String]) -> InstanceName {
    let name = on.name_of_one();
    on.provider.create(&InstanceSpec { layers: layers.to_vec(), ..on.spec(&name) }).await.unwrap();
    name
}

pub async fn a_layer_carries_over(on: &Environment) {
    let (key, name) = (on.layer_key("carried"), on.named("build-1"));
    assert!(!on.provider.has_layer(&key).await.unwrap());
    on.provider.create(&InstanceSpec { build: true, ..on.spec(&name) }).await.unwrap();
    write(&*on.provider, &name, "/srv/prepared", "yes").await;
    on.provider.seal(&name, &key).await.unwrap();
    on.provider.seal(&name, &key).await.unwrap();
    assert!(on.provider.has_layer(&key).await.unwrap());
    assert!(!on.provider.list().await.unwrap().contains_key(&name), "a sealed machine is gone");
    let (one, two) = (on_layers(on, std::slice::from_ref(&key)).await, on_layers(on, std::slice::from_ref(&key)).await);
    write(&*on.provider, &one, "/srv/prepared", "changed").await;
    assert_eq!(read(&*on.provider, &two, "/srv/prepared").await, "yes");
    on.provider.destroy(&one).await.unwrap();
    on.provider.destroy(&two).await.unwrap();
}

pub async fn a_missing_layer_is_told(on: &Environment) {
    let name = on.name_of_one();
    let unknown = InstanceSpec { layers: vec!["0".repeat(64)], ..on.spec(&name) };
    let refused = on.provider.create(&unknown).await;
    assert!(matches!(refused, Err(ProviderError::NoLayer(_))), "{refused:?}");
    on.provider.destroy(&name).await.unwrap();
}

/// Replaced and removed files, moved folders, owners; what belongs to the build machine alone stays behind.
pub async fn layers_stack(on: &Environment) {
    let keys = [on.layer_key("s1"), on.layer_key("s2")];
    let first = "mkdir -p /srv/d/e; echo 1 > /srv/d/e/f; echo 1 > /srv/gone; chown 33:33 /srv/d/e/f; ln -s / /tmp/trap; \
                 rm -rf /var/tmp; ln -s / /var/tmp";
    build(on, &[], &keys[0], first).await;
    build(on, &keys[..1], &keys[1], "mv /srv/d /srv/moved; mkdir /srv/d; echo 2 > /srv/d/new; rm /srv/gone").await;
    assert!(std::path::Path::new("/usr/bin/env").exists());
    let name = on_layers(on, &keys).await;
    let look = "cat /srv/moved/e/f; stat -c %u:%g /srv/moved/e/f; ls /srv/d; ls /srv; cat /etc/hostname; ls /tmp/trap 2>&1 | wc -l";
    let expected = format!("1\n33:33\nnew\nd\nmoved\n{name}\n1");
    assert_eq!(run(&*on.provider, &name, look).await, expected);
    run(&*on.provider, &name, "mv /srv/moved/e /srv/moved/g; sync").await;
    on.provider.stop(&name).await.unwrap();
    on.provider.start(&name).await.unwrap();
    assert_eq!(run(&*on.provider, &name, "cat /srv/moved/g/f; stat -c %u:%a /etc/shadow").await, "1\n0:640");
    let below = on_layers(on, &keys[..1]).await;
    assert_eq!(run(&*on.provider, &below, "ls /srv; cat /srv/d/e/f").await, "d\ngone\n1");
    on.provider.destroy(&name).await.unwrap();
    on.provider.destroy(&below).await.unwrap();
}

/// dpkg on two layers, then on three: renamed folders, whiteouts, replaced files.
pub async fn packages_are_installed_on_layers(on: &Environment) {
    let keys = [on.layer_key("p1"), on.layer_key("p2")];
    let install = "apt-get install -y --no-install-recommends";
    build(on, &[], &keys[0], &format!("{install} less >/dev/null 2>&1")).await;
    build(on, &keys[..1], &keys[1], &format!("{install} nano >/dev/null 2>&1; dpkg --remove less >/dev/null")).await;
    let name = on_layers(on, &keys).await;
    let script = format!(
        "! command -v less && command -v nano && mv /usr/share/perl5 /srv/p && {install} less 2>&1 | tail -n1; \
         dpkg --audit; less --version | head -n1; stat -c %u:%a /usr/bin/less"
    );
    let said = run(&*on.provider, &name, &script).await;
    assert!(said.contains("less 5") && said.ends_with("0:755"), "{said}");
    on.provider.destroy(&name).await.unwrap();
}
