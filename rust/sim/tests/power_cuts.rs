//! Power cuts at every kind of moment, with every kind of loss.

use durable_sim::{Checker, Disk, LOSSES, Loss, Recording, places, syncs};

fn hold(checker: &mut Checker, places: &[usize], losses: &[Loss], seed: u64) {
    checker.check(places, losses, seed).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[test]
fn a_thousand_cuts() {
    for seed in 1..=2 {
        let recording = Recording::make(seed, 60).expect("records");
        let mut checker = Checker::new(&recording);
        hold(&mut checker, &places(&recording, 500, seed), &LOSSES, seed);
        assert_eq!(checker.checked, 500);
        assert!(checker.ended > 60, "{} endings", checker.ended);
    }
}

#[test]
fn before_and_after_every_sync() {
    let recording = Recording::make(5, 40).expect("records");
    let mut checker = Checker::new(&recording);
    for (loss, seed) in LOSSES.into_iter().zip(1..) {
        hold(&mut checker, &syncs(&recording), &[loss], seed);
    }
}

/// What the checks are worth: a disk that only says that it has synced is found out.
#[test]
fn a_disk_that_lies_is_found_out() {
    let recording = Recording::make_on(Disk::lying(), 6, 40).expect("records");
    let places = [recording.log.len()];
    let wrong = Checker::new(&recording).check(&places, &[Loss::Everything], 1).expect_err("all is lost");
    assert!(wrong.contains("acknowledged work is lost"), "{wrong}");
    let found_out = (0..40).filter(|seed| Checker::new(&recording).check(&places, &[Loss::Sectors], *seed).is_err()).count();
    assert!(found_out > 20, "{found_out} of 40");
    // Nobody sees it as long as the power is there.
    hold(&mut Checker::new(&recording), &places, &[Loss::Nothing], 1);
}

/// The same for an engine that answers before it commits.
#[test]
fn an_answer_before_its_commit_is_found_out() {
    let mut recording = Recording::make(7, 20).expect("records");
    hold(&mut Checker::new(&recording), &syncs(&recording), &[Loss::Everything], 1);
    let positions: Vec<usize> = recording.turns.iter().map(|turn| turn.position).collect();
    for (turn, position) in recording.turns.iter_mut().skip(1).zip(positions) {
        turn.position = position;
    }
    let wrong = Checker::new(&recording).check(&syncs(&recording), &[Loss::Everything], 1).expect_err("answers are early");
    assert!(wrong.contains("acknowledged work is lost"), "{wrong}");
}
