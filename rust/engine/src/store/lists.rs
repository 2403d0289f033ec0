//! Lists and counts of runs.

use durable_client::{Response, Status};
use prost::Message;
use rusqlite::{Connection, functions::FunctionFlags, params_from_iter, types::ValueRef};
use temporalio_protos::temporal::api::{
    common::v1::Payload,
    workflowservice::v1::{self as api, count_workflow_executions_response::AggregationGroup},
};

use super::{
    Store,
    rows::{damaged, fault},
};
use crate::state::{Filter, Order, Position, Read, Value, info, record::RunRecord, shown_value, status_name};

/// Teaches a connection `shown(state, name)`: what a run's state says of itself. Its cost is that of reading the state.
pub(super) fn add_functions(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("shown", 2, flags, |context| {
        let state = context.get_raw(0).as_blob().map_err(|error| rusqlite::Error::UserFunctionError(error.into()))?;
        let record = RunRecord::decode(state).map_err(|error| rusqlite::Error::UserFunctionError(error.into()))?;
        Ok(shown_value(&record, &context.get::<String>(1)?))
    })
}

impl Store {
    pub fn read(&self, read: Read) -> Result<Response, Status> {
        match read {
            Read::Count(filter) if filter.groups_by_status => self.count_by_status(&filter),
            Read::Count(filter) => self.count(&filter),
            Read::List { filter, page_size, after } => self.list(filter, page_size, after),
        }
    }

    fn count(&self, filter: &Filter) -> Result<Response, Status> {
        let sql = format!("SELECT count(*) FROM runs WHERE {}", condition(filter));
        let count = self.connection.query_row(&sql, params_from_iter(&filter.values), |row| row.get(0)).map_err(fault)?;
        Ok(api::CountWorkflowExecutionsResponse { count, ..Default::default() }.into())
    }

    fn count_by_status(&self, filter: &Filter) -> Result<Response, Status> {
        let sql = format!("SELECT status, count(*) FROM runs WHERE {} GROUP BY status ORDER BY status", condition(filter));
        let mut statement = self.connection.prepare(&sql).map_err(fault)?;
        let counts: Vec<(i32, i64)> = statement
            .query_map(params_from_iter(&filter.values), |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(fault)?;
        let group = |(status, count): &(i32, i64)| {
            let metadata = [("encoding".to_owned(), b"json/plain".to_vec()), ("type".to_owned(), b"Keyword".to_vec())].into();
            let data = format!("\"{}\"", status_name(*status)).into_bytes();
            AggregationGroup { group_values: vec![Payload { metadata, data, ..Default::default() }], count: *count }
        };
        let groups = counts.iter().map(group).collect();
        let count = counts.iter().map(|(_, count)| count).sum();
        Ok(api::CountWorkflowExecutionsResponse { count, groups }.into())
    }

    fn list(&self, filter: Filter, page_size: usize, after: Option<Position>) -> Result<Response, Status> {
        let is_default = filter.order.is_none();
        let condition = condition(&filter);
        let order = filter.order.unwrap_or_else(|| Order { sql: "start_time".into(), values: vec![], is_descending: true });
        let mut values = order.values;
        values.extend(filter.values);
        let (direction, before) = if order.is_descending { ("DESC", "<") } else { ("ASC", ">") };
        let (nulls, or_null) = if is_default { ("", "") } else { ("sorted IS NULL, ", " OR sorted IS NULL") };
        let rest = match after.map(|after| (after.value(), after.key)) {
            None => "1".to_owned(),
            Some((Some(value), key)) => {
                values.extend([value, Value::Number(key)]);
                format!("((sorted, run_key) {before} (?, ?){or_null})")
            }
            Some((None, key)) => {
                values.push(Value::Number(key));
                format!("(sorted IS NULL AND run_key {before} ?)")
            }
        };
        values.push(Value::Number(page_size as i64 + 1));
        let expression = order.sql;
        let sql = format!(
            "SELECT sorted, run_key, state FROM (SELECT {expression} AS sorted, run_key, state FROM runs WHERE {condition}) \
             WHERE {rest} ORDER BY {nulls}sorted {direction}, run_key {direction} LIMIT ?"
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(fault)?;
        let mut rows = statement.query(params_from_iter(&values)).map_err(fault)?;
        let mut response = api::ListWorkflowExecutionsResponse::default();
        let mut last = Position::default();
        while let Some(row) = rows.next().map_err(fault)? {
            if response.executions.len() == page_size {
                response.next_page_token = last.encode_to_vec();
                break;
            }
            last = position(row.get_ref(0).map_err(fault)?, row.get(1).map_err(fault)?);
            let state = row.get_ref(2).map_err(fault)?.as_blob().map_err(damaged)?;
            response.executions.push(info(&RunRecord::decode(state).map_err(damaged)?));
        }
        Ok(response.into())
    }
}

fn condition(filter: &Filter) -> String {
    if filter.sql.is_empty() { "1".into() } else { format!("({})", filter.sql) }
}

fn position(value: ValueRef<'_>, key: i64) -> Position {
    let mut position = Position { key, ..Default::default() };
    match value {
        ValueRef::Integer(number) => position.number = Some(number),
        ValueRef::Real(number) => position.real = Some(number),
        ValueRef::Text(text) => position.text = Some(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Null | ValueRef::Blob(_) => {}
    }
    position
}
