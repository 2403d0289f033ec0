//! The same seed, the same bytes.

use durable_sim::Recording;

#[test]
fn a_seed_gives_the_same_bytes() {
    let [first, second] = [(); 2].map(|()| Recording::make(7, 120).expect("records"));
    assert_eq!(first.log.len(), second.log.len());
    for (place, (first, second)) in first.log.iter().zip(&second.log).enumerate() {
        assert!(first == second, "operation {place} differs");
    }
    assert_eq!(first.turns, second.turns);
    assert!(Recording::make(8, 20).expect("records").log != first.log, "another seed is another run");
}

#[test]
fn nothing_is_committed_without_a_sync() {
    let recording = Recording::make(1, 150).expect("records");
    assert!(recording.commits >= 150);
    assert!(recording.syncs >= recording.commits, "{} syncs for {} commits", recording.syncs, recording.commits);
}
