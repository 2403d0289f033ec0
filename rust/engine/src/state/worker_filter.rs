//! Filters of lists of workers: names of what a heartbeat says, compared with texts.

use temporalio_protos::temporal::api::{enums::v1::WorkerStatus, worker::v1::WorkerHeartbeat};

use super::filter_token::{Token, tokens};

/// What can be asked for. `Status` is another name of `WorkerStatus`, in any case of its letters, as the word is one of SQL's own.
const NAMES: [&str; 9] =
    ["WorkerInstanceKey", "WorkerIdentity", "HostName", "TaskQueue", "DeploymentName", "BuildId", "SdkName", "SdkVersion", "WorkerStatus"];
/// Nested parentheses.
const MAX_DEPTH: usize = 50;

#[derive(Debug, PartialEq)]
pub enum WorkerFilter {
    Everything,
    Is { name: &'static str, value: String, wanted: bool },
    StartsWith { name: &'static str, value: String, wanted: bool },
    All(Vec<WorkerFilter>),
    Any(Vec<WorkerFilter>),
}

impl WorkerFilter {
    /// Reads a query, or says what is not understood.
    pub fn parse(query: &str) -> Result<WorkerFilter, String> {
        let tokens = tokens(query)?;
        if tokens.is_empty() {
            return Ok(WorkerFilter::Everything);
        }
        let mut parser = Parser { tokens: tokens.into_iter().peekable() };
        let filter = parser.any(0)?;
        match parser.tokens.next() {
            None => Ok(filter),
            Some(token) => Err(format!("malformed query: unexpected {token:?}")),
        }
    }

    pub fn takes(&self, worker: &WorkerHeartbeat) -> bool {
        match self {
            WorkerFilter::Everything => true,
            WorkerFilter::Is { name, value, wanted } => (property(worker, name) == value) == *wanted,
            WorkerFilter::StartsWith { name, value, wanted } => property(worker, name).starts_with(value) == *wanted,
            WorkerFilter::All(filters) => filters.iter().all(|filter| filter.takes(worker)),
            WorkerFilter::Any(filters) => filters.iter().any(|filter| filter.takes(worker)),
        }
    }
}

fn property<'a>(worker: &'a WorkerHeartbeat, name: &str) -> &'a str {
    let version = worker.deployment_version.as_ref();
    match name {
        "WorkerInstanceKey" => &worker.worker_instance_key,
        "WorkerIdentity" => &worker.worker_identity,
        "HostName" => worker.host_info.as_ref().map_or("", |host| &host.host_name),
        "TaskQueue" => &worker.task_queue,
        "DeploymentName" => version.map_or("", |version| &version.deployment_name),
        "BuildId" => version.map_or("", |version| &version.build_id),
        "SdkName" => &worker.sdk_name,
        "SdkVersion" => &worker.sdk_version,
        _ => match worker.status() {
            WorkerStatus::Running => "Running",
            WorkerStatus::ShuttingDown => "ShuttingDown",
            WorkerStatus::Shutdown => "Shutdown",
            WorkerStatus::Unspecified => "Unspecified",
        },
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn word(&mut self, word: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(own) if own.eq_ignore_ascii_case(word))).is_some()
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn any(&mut self, depth: usize) -> Result<WorkerFilter, String> {
        let mut filters = vec![self.all(depth)?];
        while self.word("OR") {
            filters.push(self.all(depth)?);
        }
        Ok(WorkerFilter::Any(filters))
    }

    fn all(&mut self, depth: usize) -> Result<WorkerFilter, String> {
        let mut filters = vec![self.one(depth)?];
        while self.word("AND") {
            filters.push(self.one(depth)?);
        }
        Ok(WorkerFilter::All(filters))
    }

    fn one(&mut self, depth: usize) -> Result<WorkerFilter, String> {
        if depth > MAX_DEPTH {
            return Err("malformed query: too many parentheses".into());
        }
        if self.sign("(") {
            let filter = self.any(depth + 1)?;
            return if self.sign(")") { Ok(filter) } else { Err("malformed query: a parenthesis is not closed".into()) };
        }
        let name = self.name()?;
        if self.sign("=") {
            return Ok(WorkerFilter::Is { name, value: self.text(name)?, wanted: true });
        }
        if self.sign("!=") || self.sign("<>") {
            return Ok(WorkerFilter::Is { name, value: self.text(name)?, wanted: false });
        }
        let wanted = !self.word("NOT");
        if self.word("STARTS_WITH") {
            return Ok(WorkerFilter::StartsWith { name, value: self.text(name)?, wanted });
        }
        Err(format!("operation is not supported: lists of workers compare {name} with =, != and STARTS_WITH"))
    }

    fn name(&mut self) -> Result<&'static str, String> {
        let (Some(Token::Word(name)) | Some(Token::Name(name))) = self.tokens.next() else {
            return Err("malformed query: a name is missing".into());
        };
        if name.eq_ignore_ascii_case("Status") {
            return Ok("WorkerStatus");
        }
        NAMES
            .into_iter()
            .find(|own| *own == name)
            .ok_or_else(|| format!("unknown or unsupported worker heartbeat search field: {name}; here are: {}, Status", NAMES.join(", ")))
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(text),
            _ => Err(format!("invalid value for {name}: a text in quotes is wanted")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(query: &str) -> bool {
        let worker = WorkerHeartbeat {
            worker_identity: "1@here".into(),
            task_queue: "shop".into(),
            status: WorkerStatus::Running as i32,
            ..Default::default()
        };
        WorkerFilter::parse(query).unwrap().takes(&worker)
    }

    #[test]
    fn what_workers_are_asked_for() {
        for query in [
            "",
            "TaskQueue = 'shop'",
            "TaskQueue='shop' AND WorkerIdentity='1@here'",
            "TaskQueue='other' OR `WorkerStatus` = 'Running'",
            "status = 'Running'",
            "TaskQueue STARTS_WITH 'sh' and (HostName = '' or HostName = 'x')",
            "TaskQueue NOT STARTS_WITH 'x'",
            "BuildId != 'x'",
        ] {
            assert!(takes(query), "{query}");
        }
        for query in ["TaskQueue = 'sho'", "TaskQueue='shop' AND Status='Shutdown'", "TaskQueue != 'shop'", "SdkName STARTS_WITH 'x'"] {
            assert!(!takes(query), "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (query, part) in [
            ("Colour = 'x'", "Colour"),
            ("TaskQueue = 3", "text in quotes"),
            ("TaskQueue > 'x'", "=, != and STARTS_WITH"),
            ("TaskQueue = 'x' TaskQueue", "unexpected"),
            ("(TaskQueue = 'x'", "not closed"),
            ("TaskQueue = 'x", "not closed"),
            ("= 'x'", "name is missing"),
        ] {
            let message = WorkerFilter::parse(query).unwrap_err();
            assert!(message.contains(part), "{query}: {message}");
        }
        assert!(WorkerFilter::parse(&"(".repeat(100_000)).unwrap_err().contains("too many"));
    }
}
