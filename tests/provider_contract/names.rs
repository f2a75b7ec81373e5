//! Names with trouble in them.

use encanto::model::LONGEST_INSTANCE_NAME;
use encanto::provider::{ExecEnd, InstanceName, ProviderError};

use crate::bed::{Bed, Environment};
use crate::tools::{command, exec, instance, read, write};

pub async fn odd_names_are_fine(on: &Environment) {
    let own = &on.name;
    let longest = format!("x-{own}-{}", "y".repeat(LONGEST_INSTANCE_NAME));
    let mut names = vec![
        longest[..LONGEST_INSTANCE_NAME].to_owned(),
        format!("7.a--b-{own}-_c..d"),
        format!("UPPER-{own}-Case.local"),
    ];
    if on.bed == Bed::Kvm {
        names.truncate(2);
    }
    for text in names {
        let name = instance(&text);
        on.provider.create(&on.spec(&name)).await.unwrap();
        assert!(on.provider.list().await.unwrap().contains_key(&name), "{text}");
        assert_eq!(exec(&*on.provider, &name, command(&["true"]), b"").await.end, ExecEnd::Exited(0), "{text}");
        write(&*on.provider, &name, "/srv/here", &text).await;
        on.provider.stop(&name).await.unwrap();
        on.provider.start(&name).await.unwrap();
        assert_eq!(read(&*on.provider, &name, "/srv/here").await, text);
        on.provider.destroy(&name).await.unwrap();
        assert!(!on.provider.list().await.unwrap().contains_key(&name), "{text}");
    }
}

pub async fn bad_names_are_refused(_on: &Environment) {
    let too_long = "a".repeat(LONGEST_INSTANCE_NAME + 1);
    let bad =
        ["", "-a", ".", "..", ".a", "_a", "a b", "a/b", "../a", "a\nb", "a\0b", "ü", "a'b", "a,b", "$(a)", &too_long];
    for text in bad {
        let refused = InstanceName::new(text);
        assert!(matches!(refused, Err(ProviderError::BadName(_))), "{text:?}: {refused:?}");
    }
}

/// Neither is it made into a machine, nor ended with the environment.
pub async fn what_somebody_else_gave_a_name_of_ours_is_left_alone(on: &Environment) {
    let name = on.name_of_one();
    let there = on.take_name(&name);
    let refused = on.provider.create(&on.spec(&name)).await.unwrap_err();
    assert!(matches!(refused, ProviderError::NameTaken { .. }), "{refused:?}");
    assert!(refused.remedy().is_some_and(|remedy| remedy.contains("OTHER")), "{refused:?}");
    assert!(!on.provider.list().await.unwrap().contains_key(&name));
    on.provider.destroy(&name).await.unwrap();
    on.provider.teardown().await.unwrap();
    assert_eq!(on.left_of(&name), there);
    on.give_name_back(&name);
}
