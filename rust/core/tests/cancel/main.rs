//! Cancel against complete, every kind of operation, every order that a service can write.
//!
//! | operation, with each of its cancellation types | test                                    |
//! |------------------------------------------------|-----------------------------------------|
//! | timer                                          | `a_timer`                               |
//! | activity                                       | `an_activity`                           |
//! | local activity                                 | `a_local_activity`                      |
//! | child workflow                                 | `a_child_workflow`                      |
//! | signal to another workflow                     | `a_signal_to_another_workflow`          |
//! | cancel request for another workflow            | `a_cancel_request_for_another_workflow` |
//! | Nexus operation                                | `a_nexus_operation`                     |
//!
//! An update has no cancel of its own. The order of its answer and of the run's end is the code's: `tests/workflow/test_cancel_matrix.py`.
//!
//! Each test takes every path there is: the code cancels in any of its activations, once or twice or never; the service writes what it may,
//! alone or two things for one task. On each, the worker that has the run cached, one that comes in at each task with the whole history
//! (as after an eviction), and a replay of the whole give the same commands and hear the same; the code is told of exactly one end, of the
//! one that its kind of cancellation calls for; and the service gets exactly the cancel commands that it should. A local activity has no
//! service: there the worker brings outcomes at any time.

mod choices;
mod kind;
mod local;
mod outside;
#[path = "../support/mod.rs"]
mod support;
mod trial;

use choices::Choices;
use kind::Kind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use temporalio_protos::coresdk::{
    child_workflow::ChildWorkflowCancellationType, nexus::NexusOperationCancellationType, workflow_commands::ActivityCancellationType,
};

fn every_order(kind: Kind) {
    every_path(&format!("{kind:?}"), |choices| trial::play(kind, choices));
}

fn every_path(what: &str, mut play: impl FnMut(&mut Choices)) {
    let mut choices = Choices::default();
    let mut count = 0;
    loop {
        let outcome = catch_unwind(AssertUnwindSafe(|| play(&mut choices)));
        assert!(outcome.is_ok(), "{what} goes wrong on the path {:?} (above)", choices.path());
        count += 1;
        if !choices.next() {
            assert!(count > 5, "only {count} paths: the tests have lost their choices");
            return;
        }
    }
}

#[test]
fn a_timer() {
    every_order(Kind::Timer);
}

#[test]
fn an_activity() {
    use ActivityCancellationType::{Abandon, TryCancel, WaitCancellationCompleted};
    for cancellation in [TryCancel, WaitCancellationCompleted, Abandon] {
        every_order(Kind::Activity(cancellation));
    }
}

#[test]
fn a_child_workflow() {
    use ChildWorkflowCancellationType::{Abandon, TryCancel, WaitCancellationCompleted, WaitCancellationRequested};
    for cancellation in [TryCancel, WaitCancellationCompleted, WaitCancellationRequested, Abandon] {
        every_order(Kind::Child(cancellation));
    }
}

#[test]
fn a_signal_to_another_workflow() {
    every_order(Kind::Signal);
}

#[test]
fn a_cancel_request_for_another_workflow() {
    every_order(Kind::CancelRequest);
}

#[test]
fn a_nexus_operation() {
    use NexusOperationCancellationType::{Abandon, TryCancel, WaitCancellationCompleted, WaitCancellationRequested};
    for cancellation in [TryCancel, WaitCancellationCompleted, WaitCancellationRequested, Abandon] {
        every_order(Kind::Nexus(cancellation));
    }
}

#[test]
fn a_local_activity() {
    use ActivityCancellationType::{Abandon, TryCancel, WaitCancellationCompleted};
    for cancellation in [TryCancel, WaitCancellationCompleted, Abandon] {
        every_path(&format!("local activity, {cancellation:?}"), |choices| local::play(cancellation, choices));
    }
}
