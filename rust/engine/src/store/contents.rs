//! All that a file says, row by row, for comparing two files, and SQLite's own opinion of one.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use rusqlite::types::ValueRef;

use super::Store;

/// A hash of every row that the engine has written, by its table and the key of the row. The boot epoch is not in it: each opening
/// changes it.
pub type Contents = BTreeMap<(&'static str, String), u64>;

/// Each table with how many columns make its key.
const TABLES: [(&str, usize); 6] =
    [("runs", 1), ("activities", 2), ("events", 2), ("schedules", 1), ("attribute_kinds", 1), ("attributes", 3)];

impl Store {
    pub fn contents(&self) -> rusqlite::Result<Contents> {
        let mut contents = Contents::new();
        for (table, keys) in TABLES {
            let mut statement = self.connection.prepare_cached(&format!("SELECT * FROM {table}"))?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (mut hasher, mut key) = (DefaultHasher::new(), String::new());
                for index in 0..columns {
                    let value = row.get_ref(index)?;
                    if index < keys {
                        key.push_str(&format!("{value:?} "));
                    }
                    match value {
                        ValueRef::Null => 0_u8.hash(&mut hasher),
                        ValueRef::Integer(number) => number.hash(&mut hasher),
                        ValueRef::Real(number) => number.to_bits().hash(&mut hasher),
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(&mut hasher),
                    }
                }
                contents.insert((table, key), hasher.finish());
            }
        }
        Ok(contents)
    }

    /// "ok", or what SQLite finds wrong with the file.
    pub fn integrity(&self) -> rusqlite::Result<String> {
        self.connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
    }
}
