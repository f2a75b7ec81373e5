//! What a unit is busy with, for as long as it is: work may be dropped at any moment.

use crate::model::{UnitActivity, UnitName};

use super::ledger::Ledger;

/// Shown in the status until it is dropped.
pub struct Activity {
    ledger: Ledger,
    unit: UnitName,
}

impl Activity {
    pub fn begin(ledger: &Ledger, unit: &UnitName, activity: UnitActivity) -> Activity {
        ledger.observe(|observed| {
            observed.unit_activity.insert(unit.clone(), activity);
        });
        Activity { ledger: ledger.clone(), unit: unit.clone() }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.ledger.observe(|observed| {
            observed.unit_activity.remove(&self.unit);
        });
    }
}
