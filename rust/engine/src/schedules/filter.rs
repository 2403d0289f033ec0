//! List filters for schedules: ScheduleId, TemporalSchedulePaused and the schedule's own search attributes.

use temporalio_protos::temporal::api::common::v1::Payload;

use super::schedule::Schedule;
use crate::state::{Token, tokens};

/// Nested parentheses.
const MAX_DEPTH: usize = 50;
const OPERATORS: &str = "=, !=, IN (…), STARTS_WITH, IS NULL, IS NOT NULL";

#[derive(Debug, PartialEq)]
pub enum Filter {
    Everything,
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    Is(String, Vec<String>),
    Begins(String, String),
    Exists(String),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Filter {
    /// Reads a query, or says what is not understood.
    pub fn parse(query: &str) -> Result<Filter, String> {
        let tokens = tokens(query)?;
        if tokens.is_empty() {
            return Ok(Filter::Everything);
        }
        let mut parser = Parser { tokens, at: 0 };
        let filter = parser.any(0)?;
        match parser.tokens.get(parser.at) {
            None => Ok(filter),
            Some(token) => Err(format!("invalid query: unexpected {token:?}; here are {OPERATORS}, AND, OR, NOT, ( )")),
        }
    }

    pub fn holds(&self, schedule: &Schedule) -> bool {
        match self {
            Filter::Everything => true,
            Filter::Any(parts) => parts.iter().any(|part| part.holds(schedule)),
            Filter::All(parts) => parts.iter().all(|part| part.holds(schedule)),
            Filter::Not(part) => !part.holds(schedule),
            Filter::Is(name, values) => attribute(schedule, name).is_some_and(|found| found.iter().any(|found| values.contains(found))),
            Filter::Begins(name, start) => {
                attribute(schedule, name).is_some_and(|found| found.iter().any(|found| found.starts_with(start.as_str())))
            }
            Filter::Exists(name) => attribute(schedule, name).is_some(),
        }
    }
}

/// An attribute's values as texts.
fn attribute(schedule: &Schedule, name: &str) -> Option<Vec<String>> {
    match name {
        "ScheduleId" => Some(vec![schedule.record.id.clone()]),
        "TemporalSchedulePaused" => Some(vec![schedule.record.schedule.state.as_ref().is_some_and(|state| state.paused).to_string()]),
        name => schedule.record.search_attributes.as_ref()?.indexed_fields.get(name).map(texts),
    }
}

/// The values of a search attribute: JSON of a text, a number, a truth value, or a list of texts.
fn texts(payload: &Payload) -> Vec<String> {
    let json = String::from_utf8_lossy(&payload.data);
    let list = json.trim().trim_start_matches('[').trim_end_matches(']');
    list.split(',').map(|part| part.trim().trim_matches('"').to_owned()).collect()
}

impl Parser {
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(own)) if *own == sign);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.all(depth)?];
        while self.word("OR") {
            parts.push(self.all(depth)?);
        }
        Ok(Filter::Any(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.one(depth)?];
        while self.word("AND") {
            parts.push(self.one(depth)?);
        }
        Ok(Filter::All(parts))
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err("invalid query: too many parentheses".into());
        }
        if self.word("NOT") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.sign("(") {
            let inner = self.any(depth + 1)?;
            return if self.sign(")") { Ok(inner) } else { Err("invalid query: a parenthesis is not closed".into()) };
        }
        let name = match self.tokens.get(self.at) {
            Some(Token::Word(name) | Token::Name(name)) => name.clone(),
            _ => return Err("invalid query: invalid expression: incomplete expression".into()),
        };
        self.at += 1;
        if matches!(name.as_str(), "WorkflowId" | "WorkflowType" | "RunId" | "ExecutionStatus" | "TaskQueue") {
            return Err(format!("invalid query filter for schedules: cannot filter on {name:?}"));
        }
        self.comparison(name)
    }

    fn comparison(&mut self, name: String) -> Result<Filter, String> {
        if self.sign("=") {
            return Ok(Filter::Is(name, vec![self.value()?]));
        }
        if self.sign("!=") {
            return Ok(Filter::Not(Box::new(Filter::Is(name, vec![self.value()?]))));
        }
        if self.word("STARTS_WITH") {
            return Ok(Filter::Begins(name, self.value()?));
        }
        if self.word("IS") {
            let not = self.word("NOT");
            if !self.word("NULL") {
                return Err(format!("invalid query: after {name} IS comes NULL or NOT NULL"));
            }
            let exists = Filter::Exists(name);
            return Ok(if not { exists } else { Filter::Not(Box::new(exists)) });
        }
        let not = self.word("NOT");
        if !self.word("IN") || !self.sign("(") {
            return Err(format!("invalid query: invalid expression: after {name} one of {OPERATORS} is expected"));
        }
        let mut values = vec![self.value()?];
        while self.sign(",") {
            values.push(self.value()?);
        }
        if !self.sign(")") {
            return Err("invalid query: a parenthesis is not closed".into());
        }
        let is = Filter::Is(name, values);
        Ok(if not { Filter::Not(Box::new(is)) } else { is })
    }

    fn value(&mut self) -> Result<String, String> {
        let text = match self.tokens.get(self.at) {
            Some(Token::Text(text) | Token::Word(text) | Token::Number(text)) => text.clone(),
            _ => return Err("invalid query: a value is expected".into()),
        };
        self.at += 1;
        Ok(text)
    }
}
