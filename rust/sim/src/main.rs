//! `durable-sim SEED COMMITS ROUNDS CUTS`: records the workload of a seed, cuts the power before and after every sync, and then `ROUNDS`
//! times at `CUTS` places by chance. Ends at the first thing that is wrong.

use std::{process::ExitCode, time::Instant};

use durable_sim::{Checker, LOSSES, Recording, places, syncs};

fn run([seed, commits, rounds, cuts]: [u64; 4]) -> Result<(), String> {
    let begun = Instant::now();
    let recording = Recording::make(seed, commits)?;
    let (operations, syncs_made) = (recording.log.len(), recording.syncs);
    println!("seed {seed}: {} transactions, {syncs_made} syncs, {operations} operations", recording.commits);
    let mut checker = Checker::new(&recording);
    let every = syncs(&recording);
    checker.check(&every, &LOSSES, seed)?;
    println!("{} s: cut before and after every sync, {} cuts", begun.elapsed().as_secs(), checker.checked);
    for round in 0..rounds {
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(round);
        checker.check(&places(&recording, cuts as usize, seed), &LOSSES, seed)?;
        println!("{} s: {} cuts, {} times on to the end", begun.elapsed().as_secs(), checker.checked, checker.ended);
    }
    Ok(())
}

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let Ok(numbers) = <[u64; 4]>::try_from(numbers) else {
        eprintln!("usage: durable-sim SEED COMMITS ROUNDS CUTS");
        return ExitCode::from(2);
    };
    match run(numbers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
