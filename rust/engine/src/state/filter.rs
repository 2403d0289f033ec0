//! List filters: the part of the service's query language that lists here understand.

/// A condition on the columns of runs, with its values apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// An SQL expression; empty for everything.
    pub sql: String,
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Number(i64),
}

/// Nested parentheses.
const MAX_DEPTH: usize = 50;
const STATUSES: [&str; 7] = ["Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut"];

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Word(String),
    Text(String),
    Sign(String),
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    filter: Filter,
}

impl Filter {
    /// Reads a query, or says what is not understood.
    pub fn parse(query: &str) -> Result<Filter, String> {
        let tokens = tokens(query)?;
        if tokens.is_empty() {
            return Ok(Filter::default());
        }
        let mut parser = Parser { tokens, at: 0, filter: Filter::default() };
        parser.any(0)?;
        match parser.peek() {
            None => Ok(parser.filter),
            Some(token) => Err(format!(
                "invalid query: unexpected {token:?}; here are: \
                 WorkflowId, WorkflowType, ExecutionStatus, TaskQueue, RunId with =, !=, IN, STARTS_WITH, AND, OR, ( )"
            )),
        }
    }
}

/// The words, texts and signs of a query.
pub fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut letters = query.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            quote @ ('\'' | '"') => {
                let mut text = String::new();
                loop {
                    match letters.next() {
                        None => return Err("invalid query: a quote is not closed".into()),
                        Some(letter) if letter == quote => break,
                        Some('\\') => text.extend(letters.next()),
                        Some(letter) => text.push(letter),
                    }
                }
                tokens.push(Token::Text(text));
            }
            '(' | ')' | ',' | '=' => tokens.push(Token::Sign(letter.into())),
            '!' if letters.next_if_eq(&'=').is_some() => tokens.push(Token::Sign("!=".into())),
            letter if letter.is_alphanumeric() || letter == '_' || letter == '`' => {
                let mut word = String::from(letter);
                while let Some(letter) = letters.next_if(|letter| letter.is_alphanumeric() || "_`-.".contains(*letter)) {
                    word.push(letter);
                }
                tokens.push(Token::Word(word.trim_matches('`').into()));
            }
            letter => return Err(format!("invalid query: {letter:?} is not supported here")),
        }
    }
    Ok(tokens)
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(own)) if own == sign);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<(), String> {
        self.all(depth)?;
        while self.word("OR") {
            self.filter.sql.push_str(" OR ");
            self.all(depth)?;
        }
        Ok(())
    }

    fn all(&mut self, depth: usize) -> Result<(), String> {
        self.one(depth)?;
        while self.word("AND") {
            self.filter.sql.push_str(" AND ");
            self.one(depth)?;
        }
        Ok(())
    }

    fn one(&mut self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("invalid query: too many parentheses".into());
        }
        if self.sign("(") {
            self.filter.sql.push('(');
            self.any(depth + 1)?;
            self.filter.sql.push(')');
            return if self.sign(")") { Ok(()) } else { Err("invalid query: a parenthesis is not closed".into()) };
        }
        let name = match self.peek() {
            Some(Token::Word(name)) => name.clone(),
            _ => return Err("invalid query: the name of an attribute is expected".into()),
        };
        self.at += 1;
        let column = match name.as_str() {
            "WorkflowId" => "workflow_id",
            "WorkflowType" => "type",
            "ExecutionStatus" => "status",
            "TaskQueue" => "task_queue",
            "RunId" => "run_id",
            _ => {
                return Err(format!(
                    "invalid query: {name} is not supported here; use WorkflowId, WorkflowType, ExecutionStatus, TaskQueue or RunId"
                ));
            }
        };
        self.comparison(&name, column)
    }

    fn comparison(&mut self, name: &str, column: &str) -> Result<(), String> {
        if self.sign("=") || self.sign("!=") {
            let sign = if self.tokens[self.at - 1] == Token::Sign("=".into()) { "=" } else { "<>" };
            self.filter.sql.push_str(&format!("{column} {sign} ?"));
            return self.value(column);
        }
        if self.word("STARTS_WITH") {
            if column == "status" {
                return Err("invalid query: STARTS_WITH does not apply to ExecutionStatus".into());
            }
            self.filter.sql.push_str(&format!("instr({column}, ?) = 1"));
            return self.value(column);
        }
        let not = self.word("NOT");
        if !self.word("IN") || !self.sign("(") {
            return Err(format!("invalid query: after {name} one of =, !=, IN (…), STARTS_WITH is expected"));
        }
        self.filter.sql.push_str(&format!("{column} {}IN (?", if not { "NOT " } else { "" }));
        self.value(column)?;
        while self.sign(",") {
            self.filter.sql.push_str(", ?");
            self.value(column)?;
        }
        self.filter.sql.push(')');
        if self.sign(")") { Ok(()) } else { Err("invalid query: a parenthesis is not closed".into()) }
    }

    fn value(&mut self, column: &str) -> Result<(), String> {
        let text = match self.peek() {
            Some(Token::Text(text) | Token::Word(text)) => text.clone(),
            _ => return Err("invalid query: a value is expected".into()),
        };
        self.at += 1;
        let value = if column == "status" {
            match STATUSES.iter().position(|status| *status == text) {
                Some(index) => Value::Number(index as i64 + 1),
                None => return Err(format!("invalid query: {text:?} is no ExecutionStatus")),
            }
        } else {
            Value::Text(text)
        };
        self.filter.values.push(value);
        Ok(())
    }
}
