//! The progress of a teardown of several deckies, each of which is at a different step.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use scuttle_schemas::DeckyId;
use scuttle_schemas::agents::ProgressStep;

use crate::runtime::ProgressSink;

/// Combines the steps of the deckies. The step of the teardown is the earliest step that a decky
/// has not completed.
#[derive(Debug)]
pub(super) struct DeckyProgress {
    sink: ProgressSink,
    steps: Mutex<BTreeMap<DeckyId, Step>>,
}

/// The step of one decky, in the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Stopping,
    SavingEvidence,
    Removing,
    Finished,
}

impl DeckyProgress {
    /// Starts with all deckies at the step `stopping`.
    pub(super) fn new<'a>(sink: ProgressSink, deckies: impl Iterator<Item = &'a DeckyId>) -> Self {
        let steps: BTreeMap<_, _> = deckies.map(|id| (id.clone(), Step::Stopping)).collect();
        sink.report(ProgressStep::Stopping, None, 0, steps.len() as u32);
        Self {
            sink,
            steps: Mutex::new(steps),
        }
    }

    /// Notes that a decky has reached `saving_evidence` or `removing`.
    pub(super) fn enter(&self, decky: &DeckyId, step: ProgressStep) {
        let step = match step {
            ProgressStep::SavingEvidence => Step::SavingEvidence,
            ProgressStep::Removing => Step::Removing,
            _ => return,
        };
        self.set(decky, step);
    }

    /// Notes that nothing more will be removed of a decky.
    pub(super) fn finish(&self, decky: &DeckyId) {
        self.set(decky, Step::Finished);
    }

    /// Reports that the teardown looks for what is left.
    pub(super) fn report_verifying(&self) {
        let total = self.lock().len() as u32;
        self.sink
            .report(ProgressStep::Verifying, None, total, total);
    }

    fn set(&self, decky: &DeckyId, step: Step) {
        let mut steps = self.lock();
        steps.insert(decky.clone(), step);
        let total = steps.len() as u32;
        let earliest = steps.values().copied().min().unwrap_or(Step::Finished);
        let (reported, completed) = match earliest {
            Step::Stopping => (ProgressStep::Stopping, Step::SavingEvidence),
            Step::SavingEvidence => (ProgressStep::SavingEvidence, Step::Removing),
            Step::Removing | Step::Finished => (ProgressStep::Removing, Step::Finished),
        };
        let done = steps.values().filter(|step| **step >= completed).count() as u32;
        self.sink.report(reported, Some(decky.clone()), done, total);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeckyId, Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
