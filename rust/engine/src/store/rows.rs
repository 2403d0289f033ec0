//! Reading and writing runs.

use std::collections::BTreeMap;

use durable_client::{Code, Status};
use prost::Message;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use temporalio_protos::temporal::api::{
    enums::v1::IndexedValueType,
    history::v1::{History, HistoryEvent},
};

use super::Store;
use crate::schedules::ScheduleRecord;
use crate::state::{
    Registry, Run, RunKey, Source, Value,
    record::{ActivityRecord, RunRecord},
};

pub(super) fn fault(error: rusqlite::Error) -> Status {
    Status::new(Code::Unavailable, format!("the database cannot be read: {error}"))
}

pub(super) fn damaged(error: impl std::fmt::Display) -> Status {
    Status::new(Code::DataLoss, format!("the database is damaged: {error}"))
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Value::Text(text) => text.to_sql(),
            Value::Number(number) => number.to_sql(),
            Value::Real(number) => number.to_sql(),
        }
    }
}

impl Store {
    /// Raises the boot epoch and answers it with the next free run key.
    pub fn boot(&mut self) -> rusqlite::Result<(i64, RunKey)> {
        let epoch =
            self.connection.query_row("UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value", [], |row| row.get(0))?;
        // Keys that were given to deleted runs are not given again where it matters which run came later.
        let keys = "SELECT max(run_key) FROM (SELECT max(run_key) AS run_key FROM runs UNION ALL SELECT max(run_key) FROM gone)";
        let last: Option<i64> = self.connection.query_row(keys, [], |row| row.get(0))?;
        Ok((epoch, last.unwrap_or(0) + 1))
    }

    /// The custom search attributes.
    pub fn attribute_kinds(&self) -> Result<BTreeMap<String, IndexedValueType>, Status> {
        let mut statement = self.connection.prepare("SELECT name, kind FROM attribute_kinds").map_err(fault)?;
        let rows: Vec<(String, i32)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect).map_err(fault)?;
        rows.into_iter().map(|(name, kind)| Ok((name, IndexedValueType::try_from(kind).map_err(damaged)?))).collect()
    }

    /// Replaces the custom search attributes; runs lose what they had of those that are gone.
    pub fn write_attribute_kinds(&mut self, kinds: &BTreeMap<String, IndexedValueType>) -> rusqlite::Result<()> {
        let before: Vec<String> = self
            .connection
            .prepare("SELECT name FROM attribute_kinds")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM attribute_kinds", [])?;
        for (name, kind) in kinds {
            transaction.execute("INSERT INTO attribute_kinds VALUES(?,?)", params![name, *kind as i32])?;
        }
        for name in before.iter().filter(|name| !kinds.contains_key(*name)) {
            transaction.execute("DELETE FROM attributes WHERE name = ?", [name])?;
        }
        transaction.commit()
    }

    pub fn open_runs(&self) -> Result<Vec<Run>, Status> {
        let mut statement = self.connection.prepare("SELECT run_key, state FROM runs WHERE status = 1 ORDER BY run_key").map_err(fault)?;
        let rows: Vec<(i64, Vec<u8>)> =
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).and_then(Iterator::collect).map_err(fault)?;
        rows.into_iter().map(|(key, state)| self.run(key, &state)).collect()
    }

    fn run(&self, key: RunKey, state: &[u8]) -> Result<Run, Status> {
        let record = RunRecord::decode(state).map_err(damaged)?;
        let mut activities = BTreeMap::new();
        let mut statement =
            self.connection.prepare_cached("SELECT scheduled_event_id, state FROM activities WHERE run_key = ?").map_err(fault)?;
        let mut rows = statement.query([key]).map_err(fault)?;
        while let Some(row) = rows.next().map_err(fault)? {
            let blob = row.get_ref(1).map_err(fault)?.as_blob().map_err(damaged)?;
            activities.insert(row.get(0).map_err(fault)?, ActivityRecord::decode(blob).map_err(damaged)?);
        }
        Ok(Run::stored(key, record, activities))
    }

    fn one(&self, sql: &str, argument: &dyn rusqlite::ToSql) -> Result<Option<Run>, Status> {
        let row: Option<(i64, Vec<u8>)> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([argument], |row: &Row| Ok((row.get(0)?, row.get(1)?))).optional())
            .map_err(fault)?;
        row.map(|(key, state)| self.run(key, &state)).transpose()
    }

    pub fn by_key(&self, key: RunKey) -> Result<Option<Run>, Status> {
        self.one("SELECT run_key, state FROM runs WHERE run_key = ?", &key)
    }

    pub fn schedules(&self) -> Result<Vec<ScheduleRecord>, Status> {
        let mut statement = self.connection.prepare("SELECT state FROM schedules ORDER BY schedule_id").map_err(fault)?;
        let rows: Vec<Vec<u8>> = statement.query_map([], |row| row.get(0)).and_then(Iterator::collect).map_err(fault)?;
        rows.iter().map(|state| ScheduleRecord::decode(state.as_slice()).map_err(damaged)).collect()
    }

    pub fn schedule(&self, id: &str) -> Result<Option<ScheduleRecord>, Status> {
        let state: Option<Vec<u8>> = self
            .connection
            .query_row("SELECT state FROM schedules WHERE schedule_id = ?", [id], |row| row.get(0))
            .optional()
            .map_err(fault)?;
        state.map(|state| ScheduleRecord::decode(state.as_slice()).map_err(damaged)).transpose()
    }

    /// Writes the changed runs and schedules in one transaction; when this answers they are on disk. A schedule without
    /// a record is deleted.
    pub fn commit<'a>(
        &mut self,
        runs: impl Iterator<Item = &'a Run>,
        schedules: impl Iterator<Item = (&'a str, Option<&'a ScheduleRecord>)>,
        registry: &Registry,
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut upsert = transaction.prepare_cached(
                "INSERT INTO runs VALUES(?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(run_key) DO UPDATE SET \
                 status=excluded.status, close_time=excluded.close_time, history_length=excluded.history_length, \
                 next_timer=excluded.next_timer, has_task=excluded.has_task, state=excluded.state",
            )?;
            let mut events = transaction.prepare_cached("INSERT INTO events VALUES(?,?,?)")?;
            let mut activity = transaction.prepare_cached("INSERT OR REPLACE INTO activities VALUES(?,?,?)")?;
            let mut index = transaction.prepare_cached("INSERT OR IGNORE INTO attributes VALUES(?,?,?)")?;
            let mut unindex = transaction.prepare_cached("DELETE FROM attributes WHERE run_key=?")?;
            let mut ended = transaction.prepare_cached("DELETE FROM activities WHERE run_key=? AND scheduled_event_id=?")?;
            for run in runs {
                if run.is_deleted {
                    delete(&transaction, run)?;
                    continue;
                }
                let record = &run.record;
                upsert.execute(params![
                    run.key,
                    record.workflow_id,
                    record.run_id,
                    run.workflow_type(),
                    run.task_queue(),
                    record.status,
                    record.start_time,
                    record.close_time,
                    record.next_event_id - 1,
                    run.next_deadline(),
                    record.task.is_some(),
                    run.encode_record()
                ])?;
                let new = run.unstored();
                if let Some(first) = new.first() {
                    let mut blob = Vec::new();
                    for event in new {
                        // The encoding of a History, without cloning the events into one.
                        prost::encoding::message::encode(1, event, &mut blob);
                    }
                    events.execute(params![run.key, first.event_id, blob])?;
                }
                if run.attributes_changed {
                    if !run.is_new {
                        unindex.execute([run.key])?;
                    }
                    for (name, value) in run.index(registry) {
                        index.execute(params![name, value, run.key])?;
                    }
                }
                for id in &run.dirty_activities {
                    match run.activities.get(id) {
                        Some(record) => activity.execute(params![run.key, id, record.encode_to_vec()])?,
                        None => ended.execute(params![run.key, id])?,
                    };
                }
            }
            for (id, record) in schedules {
                match record {
                    Some(record) => transaction
                        .prepare_cached("INSERT OR REPLACE INTO schedules VALUES(?,?)")?
                        .execute(params![id, record.encode_to_vec()])?,
                    None => transaction.prepare_cached("DELETE FROM schedules WHERE schedule_id=?")?.execute([id])?,
                };
            }
        }
        transaction.commit()?;
        self.commits += 1;
        Ok(())
    }
}

/// Takes a run's rows away, and notes it if the runs before it must not pass for the newest.
fn delete(transaction: &Transaction<'_>, run: &Run) -> rusqlite::Result<()> {
    for table in ["events", "activities", "attributes", "runs"] {
        transaction.prepare_cached(&format!("DELETE FROM {table} WHERE run_key = ?"))?.execute([run.key])?;
    }
    let id = &run.record.workflow_id;
    let is_newest = "EXISTS(SELECT 1 FROM runs WHERE workflow_id = ?1 AND run_key < ?2) \
                     AND NOT EXISTS(SELECT 1 FROM runs WHERE workflow_id = ?1 AND run_key > ?2)";
    let note =
        format!("INSERT INTO gone SELECT ?1, ?2 WHERE {is_newest} ON CONFLICT(workflow_id) DO UPDATE SET run_key = excluded.run_key");
    transaction.prepare_cached(&note)?.execute(params![id, run.key])?;
    let forget = "DELETE FROM gone WHERE workflow_id = ?1 AND NOT EXISTS(SELECT 1 FROM runs WHERE workflow_id = ?1)";
    transaction.prepare_cached(forget)?.execute([id])?;
    Ok(())
}

impl Source for Store {
    fn current(&self, workflow_id: &str) -> Result<Option<Run>, Status> {
        self.one(
            "SELECT run_key, state FROM runs WHERE workflow_id = ?1 AND run_key > \
             coalesce((SELECT run_key FROM gone WHERE workflow_id = ?1), -1) ORDER BY run_key DESC LIMIT 1",
            &workflow_id,
        )
    }

    fn by_run_id(&self, run_id: &str) -> Result<Option<Run>, Status> {
        self.one("SELECT run_key, state FROM runs WHERE run_id = ?", &run_id)
    }

    fn events(&self, key: RunKey, from: i64, to: i64) -> Result<Vec<HistoryEvent>, Status> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT blob FROM events WHERE run_key = ?1 AND first_event_id < ?3 AND first_event_id >=
                 coalesce((SELECT max(first_event_id) FROM events WHERE run_key = ?1 AND first_event_id <= ?2), 0) ORDER BY first_event_id",
            )
            .map_err(fault)?;
        let mut rows = statement.query(params![key, from, to]).map_err(fault)?;
        let mut events = Vec::new();
        while let Some(row) = rows.next().map_err(fault)? {
            let blob = row.get_ref(0).map_err(fault)?.as_blob().map_err(damaged)?;
            let history = History::decode(blob).map_err(damaged)?;
            events.extend(history.events.into_iter().filter(|event| (from..to).contains(&event.event_id)));
        }
        Ok(events)
    }
}
