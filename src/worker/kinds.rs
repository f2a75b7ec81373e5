//! What the provider says of its kinds of machines, put into the model.

use crate::model::{Change, Kinds, MachineKind};
use crate::provider::{Kind, Provider};

use super::World;
use super::ledger::LedgerError;

/// All kinds, the default first.
pub fn found(provider: &dyn Provider) -> Kinds {
    let known = |kind: Kind, absent: Option<String>| MachineKind {
        name: kind.name.to_owned(),
        noun: kind.noun.to_owned(),
        container: kind.container.to_owned(),
        caution: kind.caution.map(str::to_owned),
        absent,
    };
    let made = provider.kinds().into_iter().map(|kind| known(kind, None));
    let absent = provider.absent_kinds().into_iter().map(|(kind, reason)| known(kind, Some(reason)));
    Kinds(made.chain(absent).collect())
}

/// What a kind is like may be known only when it was used: that machines are emulated, say.
///
/// # Errors
/// It cannot be written down.
pub async fn look_again(world: &World) -> Result<(), LedgerError> {
    let kinds = found(world.provider.as_ref());
    if world.ledger.model().kinds == kinds {
        return Ok(());
    }
    match world.ledger.commit("@provisioner", Change::KindsFound { kinds }).await {
        Ok(_) | Err(LedgerError::Stopped) => Ok(()),
        Err(error) => Err(error),
    }
}
