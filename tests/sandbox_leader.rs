//! What the leader of a service tells its other units, as a charm sees it.

#![allow(clippy::unwrap_used, reason = "test code outside of test functions too")]

mod sandbox_support;

use encanto::charm::{HookOutcome, Limits};
use encanto::model::{Hook, Setting};
use sandbox_support::*;

fn leading(leads: bool) -> encanto::charm::HookContext {
    let mut context = context(Hook::Install);
    context.is_leader = leads;
    context.leader = Some(if leads { "app/0" } else { "app/3" }.parse().unwrap());
    context.leader_settings =
        [("old".to_owned(), Setting::plain("1")), ("token".to_owned(), Setting::secret("t0ken-of-the-leader"))].into();
    context
}

#[test]
fn the_leader_tells_its_units_and_its_own_reads_see_it() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let body = "assert(unit:leader_get('old') == '1' and unit:leader_get().token == 't0ken-of-the-leader')
            unit:leader_set{ old = '', port = 3306, key = secret('k3y-of-the-leader'), copy = 'a ' .. unit:leader_get('token') }
            assert(unit:leader_get('old') == nil and unit:leader_get('port') == '3306')
            print(unit:leader_get('token'), unit:leader_get('key'))";
        let outcome = stage.hook(&install(body), leading(true)).await.unwrap();
        let written: Vec<String> = outcome.leader_settings.iter().map(|(key, set)| format!("{key} {set:?}")).collect();
        assert_eq!(
            written,
            ["copy Some((secret))", "key Some((secret))", "port Some(\"3306\")", "old None"],
            "what gives a secret away is one"
        );
        assert!(!stage.sink.text().contains("of-the-leader"), "{}", stage.sink.text());
        let same = stage.hook(&install("unit:leader_set{ old = 1 }"), leading(true)).await.unwrap();
        assert_eq!(same, HookOutcome::default());
    });
}

#[test]
fn who_does_not_lead_reads_and_is_told_who_does() {
    on_runtime(async {
        let stage = Stage::new(Limits::default());
        let refused = |body: &'static str, context| {
            let stage = &stage;
            async move { stage.hook(&install(body), context).await.unwrap_err().summary() }
        };
        stage.hook(&install("assert(unit:leader_get('old') == '1')"), leading(false)).await.unwrap();
        let told = refused("unit:leader_set{ a = 1 }", leading(false)).await;
        assert!(told.ends_with("cannot write leader settings: app/3 leads app"), "{told}");
        let orphan = encanto::charm::HookContext { leader: None, ..leading(false) };
        let told = refused("unit:leader_set{ a = 1 }", orphan).await;
        assert!(told.ends_with("cannot write leader settings: app has no leader any more"), "{told}");
        let told = refused("unit:leader_set('a')", leading(true)).await;
        assert!(told.ends_with("leader_set expects a table: unit:leader_set{ key = value }"), "{told}");
        let told = refused("unit:leader_set{ [''] = 1 }", leading(true)).await;
        assert!(told.ends_with("\"\" cannot be a key of the leader's settings"), "{told}");
    });
}
