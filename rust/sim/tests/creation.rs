//! Power cuts while a database is created, opened again as a user's program opens it.

use std::{collections::BTreeSet, path::Path};

use durable_engine::{Engine, EngineOptions, Location};
use durable_sim::{Chance, Image, LOSSES, Platter, Recording};

fn open(directory: &Path, image: &Image) -> Result<(), String> {
    for (name, bytes) in image {
        std::fs::write(directory.join(name), bytes).map_err(|error| error.to_string())?;
    }
    let opened = Engine::open(EngineOptions::new(Location::File(directory.join("d.db"))));
    opened.map(|engine| engine.close()).map_err(|error| error.to_string())
}

#[test]
fn a_database_that_was_being_created() {
    let recording = Recording::make(9, 2).expect("records");
    let mut platter = Platter::new(&recording.log);
    let mut seen = BTreeSet::new();
    for place in 0..=recording.log.len() {
        platter.advance(place);
        for (loss, seed) in LOSSES.into_iter().flat_map(|loss| (0..2).map(move |seed| (loss, seed))) {
            let image = platter.cut(loss, &mut Chance::new(seed));
            if !seen.insert(image.clone()) {
                continue;
            }
            let directory = tempfile::tempdir().expect("a directory");
            let sizes: Vec<(&String, usize)> = image.iter().map(|(name, bytes)| (name, bytes.len())).collect();
            open(directory.path(), &image)
                .unwrap_or_else(|wrong| panic!("cut at {place}, loss of {loss:?}, seed {seed}, {sizes:?}: {wrong}"));
        }
    }
    assert!(seen.len() > 100, "{} different disks", seen.len());
}
