//! List filters: the part of the service's query language that lists here understand.
//!
//! A filter becomes an SQL condition on the rows of runs. What a column says is compared in place; a search attribute that only some runs
//! have lies in a table of its own, one row a value. A missing value is neither equal nor unequal to anything, as in SQL, but a list and a
//! text that are missing do not contain what is asked for.

use temporalio_protos::temporal::api::enums::v1::IndexedValueType as Kind;

use super::{
    attributes::{Registry, datetime, kind_name, words},
    filter_token::{Token, tokens},
};

/// A condition on the columns of runs, with its values apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// An SQL expression; empty for everything.
    pub sql: String,
    pub values: Vec<Value>,
    /// None: the newest start first.
    pub order: Option<Order>,
    /// A count is to be told for each status.
    pub groups_by_status: bool,
}

/// What a list is sorted by. Runs without a value come last.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// An SQL expression on the columns of runs, with its values apart.
    pub sql: String,
    pub values: Vec<Value>,
    pub is_descending: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Number(i64),
    Real(f64),
}

/// Nested parentheses.
const MAX_DEPTH: usize = 50;
const STATUSES: [&str; 7] = ["Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut"];

/// What the rows of runs say themselves, `shown` what their state says ([`super::read::shown_value`]). Some of it the service tells of
/// ended runs only.
const COLUMNS: [(&str, &str); 14] = [
    ("WorkflowId", "workflow_id"),
    ("RunId", "run_id"),
    ("WorkflowType", "type"),
    ("TaskQueue", "task_queue"),
    ("ExecutionStatus", "status"),
    ("StartTime", "start_time"),
    ("CloseTime", "nullif(close_time, 0)"),
    ("HistoryLength", "iif(close_time > 0, history_length, NULL)"),
    ("ExecutionDuration", "iif(close_time > 0, close_time - start_time, NULL)"),
    ("ExecutionTime", "shown(state, 'ExecutionTime')"),
    ("RootRunId", "shown(state, 'RootRunId')"),
    ("RootWorkflowId", "shown(state, 'RootWorkflowId')"),
    ("HistorySizeBytes", "iif(close_time > 0, shown(state, 'HistorySizeBytes'), NULL)"),
    ("StateTransitionCount", "iif(close_time > 0, shown(state, 'StateTransitionCount'), NULL)"),
];
/// What the service says of runs whose workers have no versions; runs may have others in the table of attributes.
const BUILD_IDS: (&str, &str) = ("BuildIds", "shown(state, 'BuildIds')");
/// What nobody says.
const ELSEWHERE: [&str; 1] = ["TemporalExternalPayloadCount"];

/// A status as filters and groups name it.
pub fn status_name(status: i32) -> &'static str {
    usize::try_from(status).ok().and_then(|status| STATUSES.get(status.wrapping_sub(1))).copied().unwrap_or("Unspecified")
}

/// What a comparison is about.
struct Subject {
    name: String,
    kind: Kind,
    /// Of the row; none: in the table of attributes.
    column: Option<&'static str>,
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    filter: Filter,
    registry: &'a Registry,
    /// Inside of NOT a missing value must stay missing.
    negated: usize,
}

impl Filter {
    /// Reads a query, or says what is not understood.
    pub fn parse(query: &str, registry: &Registry) -> Result<Filter, String> {
        let tokens = tokens(query)?;
        if tokens.is_empty() {
            return Ok(Filter::default());
        }
        let mut parser = Parser { tokens, at: 0, filter: Filter::default(), registry, negated: 0 };
        if !parser.is_at_clause() {
            parser.any(0)?;
        }
        parser.group()?;
        parser.order()?;
        if parser.word("LIMIT") {
            return Err("invalid query: operation is not supported: 'LIMIT' clause".into());
        }
        match parser.peek() {
            None => Ok(parser.filter),
            Some(token) => Err(format!(
                "invalid query: unexpected {token:?}; here are: names of search attributes with =, !=, <, >, <=, >=, BETWEEN, IN, \
                 STARTS_WITH, IS NULL, AND, OR, NOT, ( ), GROUP BY, ORDER BY"
            )),
        }
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(own)) if *own == sign);
        self.at += usize::from(found);
        found
    }

    fn push(&mut self, sql: &str) {
        self.filter.sql.push_str(sql);
    }

    /// Whether the query has no condition, or no more of it.
    fn is_at_clause(&self) -> bool {
        let word = |at: usize| match self.tokens.get(at) {
            Some(Token::Word(word)) => word.to_uppercase(),
            _ => String::new(),
        };
        ["GROUP", "ORDER"].contains(&word(self.at).as_str()) && word(self.at + 1) == "BY"
    }

    fn group(&mut self) -> Result<(), String> {
        if self.word("GROUP") {
            let subject = self.only_field("GROUP BY")?;
            if subject.name != "ExecutionStatus" {
                let name = subject.name;
                return Err(format!(
                    "invalid query: operation is not supported: 'GROUP BY' clause is not supported for search attribute {name}"
                ));
            }
            self.filter.groups_by_status = true;
        }
        Ok(())
    }

    /// The service with an SQL database refuses this; here it is an extension.
    fn order(&mut self) -> Result<(), String> {
        if !self.word("ORDER") {
            return Ok(());
        }
        let subject = self.only_field("ORDER BY")?;
        if matches!(subject.kind, Kind::Text | Kind::KeywordList) {
            let (name, kind) = (subject.name, kind_name(subject.kind));
            return Err(format!("invalid query: operation is not supported: unable to sort by search attribute {name} of type {kind}"));
        }
        let (sql, values) = match subject.column {
            Some(column) => (column.to_owned(), vec![]),
            None => {
                let sql = "(SELECT value FROM attributes WHERE run_key = runs.run_key AND name = ?)".to_owned();
                (sql, vec![Value::Text(subject.name)])
            }
        };
        let is_descending = self.word("DESC");
        if !is_descending {
            self.word("ASC");
        }
        self.filter.order = Some(Order { sql, values, is_descending });
        if self.sign(",") { Err(single("ORDER BY")) } else { Ok(()) }
    }

    fn only_field(&mut self, clause: &str) -> Result<Subject, String> {
        if !self.word("BY") {
            return Err(format!("invalid query: malformed SQL query: {clause} is expected"));
        }
        let name = match self.tokens.get(self.at) {
            Some(Token::Word(name) | Token::Name(name)) => name.clone(),
            Some(_) => return Err("invalid query: invalid expression: must be a column name".into()),
            None => return Err(format!("invalid query: malformed SQL query: {clause} names nothing")),
        };
        self.at += 1;
        if self.sign(",") {
            return Err(single(clause));
        }
        self.subject(name)
    }

    fn any(&mut self, depth: usize) -> Result<(), String> {
        self.all(depth)?;
        while self.word("OR") {
            self.push(" OR ");
            self.all(depth)?;
        }
        Ok(())
    }

    fn all(&mut self, depth: usize) -> Result<(), String> {
        self.one(depth)?;
        while self.word("AND") {
            self.push(" AND ");
            self.one(depth)?;
        }
        Ok(())
    }

    fn one(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("invalid query: too many parentheses".into());
        }
        if self.word("NOT") {
            self.push("NOT (");
            self.negated += 1;
            self.one(depth + 1)?;
            self.negated -= 1;
            self.push(")");
            return Ok(());
        }
        if self.sign("(") {
            self.push("(");
            self.any(depth + 1)?;
            self.push(")");
            return if self.sign(")") { Ok(()) } else { Err("invalid query: a parenthesis is not closed".into()) };
        }
        let name = match self.peek() {
            Some(Token::Word(name) | Token::Name(name)) => name.clone(),
            _ => return Err("invalid query: invalid expression: the name of a search attribute is expected".into()),
        };
        self.at += 1;
        let subject = self.subject(name)?;
        self.comparison(&subject)
    }

    fn subject(&self, name: String) -> Result<Subject, String> {
        if ELSEWHERE.contains(&name.as_str()) {
            return Err(format!("invalid query: {name} is not supported here"));
        }
        let Some(kind) = self.registry.kind(&name) else { return Err(format!("invalid query: invalid search attribute: {name}")) };
        let column = COLUMNS.iter().find(|(own, _)| *own == name).map(|(_, column)| *column);
        Ok(Subject { name, kind, column })
    }

    fn comparison(&mut self, subject: &Subject) -> Result<(), String> {
        for sign in ["=", "!=", "<>", "<=", ">=", "<", ">"] {
            if !self.sign(sign) {
                continue;
            }
            let unequal = matches!(sign, "!=" | "<>");
            if !unequal && sign != "=" {
                self.allow(subject, sign)?;
            }
            if subject.kind == Kind::Text {
                let Value::Text(text) = self.value(subject)? else { return Err(incomplete()) };
                return self.contains(subject, words(&text).map(Value::Text).collect(), unequal);
            }
            let value = self.value(subject)?;
            if subject.kind == Kind::KeywordList {
                return self.contains(subject, vec![value], unequal);
            }
            let sign = if unequal { "<>" } else { sign };
            return self.compare(subject, &format!("{sign} ?"), vec![value]);
        }
        if self.word("IS") {
            let not = self.word("NOT");
            if !self.word("NULL") {
                return Err("invalid query: invalid expression: 'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'".into());
            }
            return self.presence(subject, not);
        }
        let not = self.word("NOT");
        let word = if not { "NOT " } else { "" };
        if self.word("STARTS_WITH") {
            self.allow(subject, &format!("{word}STARTS_WITH"))?;
            let value = self.value(subject)?;
            return self.prefix(subject, value, not);
        }
        if self.word("BETWEEN") {
            if matches!(subject.kind, Kind::Text | Kind::KeywordList | Kind::Bool) {
                return Err(format!(
                    "invalid query: invalid expression: cannot do range condition on search attribute '{}' of type {}",
                    subject.name,
                    kind_name(subject.kind)
                ));
            }
            let first = self.value(subject)?;
            if !self.word("AND") {
                return Err(incomplete());
            }
            let last = self.value(subject)?;
            return self.compare(subject, &format!("{word}BETWEEN ? AND ?"), vec![first, last]);
        }
        if self.word("IN") {
            self.allow(subject, &format!("{word}IN"))?;
            let values = self.list(subject)?;
            if subject.kind == Kind::KeywordList {
                return self.contains(subject, values, not);
            }
            let marks = vec!["?"; values.len()].join(", ");
            return self.compare(subject, &format!("{word}IN ({marks})"), values);
        }
        if self.word("LIKE") {
            self.allow(subject, "LIKE")?;
        }
        Err(incomplete())
    }

    fn allow(&self, subject: &Subject, operator: &str) -> Result<(), String> {
        let allowed = match operator {
            "IN" | "NOT IN" => subject.kind != Kind::Text,
            // The text of a status is not in its row.
            "STARTS_WITH" | "NOT STARTS_WITH" => subject.kind == Kind::Keyword && subject.name != "ExecutionStatus",
            "LIKE" => false,
            _ => !matches!(subject.kind, Kind::Text | Kind::KeywordList | Kind::Bool),
        };
        if allowed {
            return Ok(());
        }
        Err(format!(
            "invalid query: operation is not supported: operator '{operator}' not supported for {} type search attribute '{}'",
            kind_name(subject.kind),
            subject.name
        ))
    }

    fn list(&mut self, subject: &Subject) -> Result<Vec<Value>, String> {
        if !self.sign("(") {
            return Err(incomplete());
        }
        let mut values = vec![self.value(subject)?];
        while self.sign(",") {
            values.push(self.value(subject)?);
        }
        if self.sign(")") { Ok(values) } else { Err("invalid query: a parenthesis is not closed".into()) }
    }

    /// A comparison of the attribute's one value.
    fn compare(&mut self, subject: &Subject, condition: &str, values: Vec<Value>) -> Result<(), String> {
        if let Some(column) = subject.column {
            self.push(&format!("{column} {condition}"));
            self.filter.values.extend(values);
        } else if self.negated > 0 {
            self.push(&format!("(SELECT value {condition} FROM attributes WHERE run_key = runs.run_key AND name = ?)"));
            self.filter.values.extend(values);
            self.filter.values.push(Value::Text(subject.name.clone()));
        } else {
            self.push(&format!("run_key IN (SELECT run_key FROM attributes WHERE name = ? AND value {condition})"));
            self.filter.values.push(Value::Text(subject.name.clone()));
            self.filter.values.extend(values);
        }
        Ok(())
    }

    /// Whether one of several values is one of these.
    fn contains(&mut self, subject: &Subject, values: Vec<Value>, not: bool) -> Result<(), String> {
        let not = if not { "NOT " } else { "" };
        let marks = vec!["?"; values.len()].join(", ");
        let (name, column) = BUILD_IDS;
        let found = format!("run_key IN (SELECT run_key FROM attributes WHERE name = ? AND value IN ({marks}))");
        self.filter.values.push(Value::Text(subject.name.clone()));
        self.filter.values.extend(values.iter().cloned());
        if subject.name == name {
            self.push(&format!("{not}({found} OR coalesce({column} IN ({marks}), 0))"));
            self.filter.values.extend(values);
        } else {
            self.push(&format!("{not}({found})"));
        }
        Ok(())
    }

    fn presence(&mut self, subject: &Subject, is_there: bool) -> Result<(), String> {
        match subject.column {
            Some(column) => self.push(&format!("{column} IS {}NULL", if is_there { "NOT " } else { "" })),
            None => {
                let not = if is_there { "" } else { "NOT " };
                let or = if subject.name == BUILD_IDS.0 { format!(" OR {} IS NOT NULL", BUILD_IDS.1) } else { String::new() };
                self.push(&format!("{not}(run_key IN (SELECT run_key FROM attributes WHERE name = ?){or})"));
                self.filter.values.push(Value::Text(subject.name.clone()));
            }
        }
        Ok(())
    }

    fn prefix(&mut self, subject: &Subject, value: Value, not: bool) -> Result<(), String> {
        let sign = if not { "<>" } else { "=" };
        match subject.column {
            Some(column) => {
                self.push(&format!("instr({column}, ?) {sign} 1"));
                self.filter.values.push(value);
            }
            None if self.negated > 0 => {
                self.push(&format!("(SELECT instr(value, ?) {sign} 1 FROM attributes WHERE run_key = runs.run_key AND name = ?)"));
                self.filter.values.extend([value, Value::Text(subject.name.clone())]);
            }
            None => {
                self.push(&format!("run_key IN (SELECT run_key FROM attributes WHERE name = ? AND instr(value, ?) {sign} 1)"));
                self.filter.values.extend([Value::Text(subject.name.clone()), value]);
            }
        }
        Ok(())
    }

    fn value(&mut self, subject: &Subject) -> Result<Value, String> {
        let Some(token) = self.peek().cloned() else { return Err(incomplete()) };
        self.at += 1;
        let wrong = |shown: String, kind: &str| {
            Err(format!(
                "invalid query: invalid expression: invalid value type for search attribute {} of type {}: {shown} (type: {kind})",
                subject.name,
                kind_name(subject.kind)
            ))
        };
        let text = match token {
            Token::Text(text) => text,
            Token::Number(number) => {
                let (whole, real) = (number.parse::<i64>(), number.parse::<f64>());
                let is_time = subject.kind == Kind::Datetime || subject.name == "ExecutionStatus";
                return match (subject.kind, whole, real) {
                    (Kind::Double, _, Ok(real)) => Ok(Value::Real(real)),
                    (Kind::Int, Ok(whole), _) => Ok(Value::Number(whole)),
                    (_, Ok(whole), _) if is_time => Ok(Value::Number(whole)),
                    (_, Ok(whole), _) => wrong(whole.to_string(), "int64"),
                    (_, _, Ok(real)) => wrong(real.to_string(), "float64"),
                    _ => Err(format!("invalid query: {number} is no number")),
                };
            }
            Token::Word(word) => {
                let is_true = word.eq_ignore_ascii_case("true");
                return match subject.kind {
                    Kind::Bool if is_true || word.eq_ignore_ascii_case("false") => Ok(Value::Number(i64::from(is_true))),
                    _ if is_true || word.eq_ignore_ascii_case("false") => wrong(word.to_lowercase(), "bool"),
                    _ if word.eq_ignore_ascii_case("null") => Err("invalid query: invalid expression: unexpected value NULL".into()),
                    _ => Err(format!(
                        "invalid query: operation is not supported: column name on the right side of comparison expression (did you \
                         forget to quote \"{word}\"?)"
                    )),
                };
            }
            Token::Name(_) | Token::Sign(_) => return Err(incomplete()),
        };
        match subject.kind {
            _ if subject.name == "ExecutionStatus" => match STATUSES.iter().position(|status| *status == text) {
                Some(index) => Ok(Value::Number(index as i64 + 1)),
                None => Err(format!("invalid query: invalid expression: invalid ExecutionStatus value '{text}'")),
            },
            _ if subject.name == "ExecutionDuration" => match text.parse::<jiff::SignedDuration>().map(|length| length.as_nanos()) {
                Ok(nanos) => Ok(Value::Number(i64::try_from(nanos).unwrap_or(i64::MAX))),
                Err(_) => Err(format!("invalid query: invalid expression: invalid duration '{text}'")),
            },
            Kind::Datetime => {
                let time = datetime(&text).map(Value::Number);
                time.ok_or_else(|| format!("invalid query: invalid expression: unable to parse datetime '{text}'"))
            }
            Kind::Keyword | Kind::KeywordList | Kind::Text => Ok(Value::Text(text)),
            _ => wrong(format!("{text:?}"), "string"),
        }
    }
}

fn single(clause: &str) -> String {
    format!("invalid query: operation is not supported: '{clause}' clause supports only a single field")
}

fn incomplete() -> String {
    "invalid query: invalid expression: incomplete expression".into()
}
