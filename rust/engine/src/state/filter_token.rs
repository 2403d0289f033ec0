//! The words of list filters.

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or a keyword.
    Word(String),
    /// A name in backquotes.
    Name(String),
    Text(String),
    Number(String),
    Sign(&'static str),
}

const SIGNS: [&str; 10] = ["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];

pub fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            quote @ ('\'' | '"' | '`') => {
                let (text, length) = quoted(rest, quote)?;
                tokens.push(if quote == '`' { Token::Name(text) } else { Token::Text(text) });
                length
            }
            letter if letter.is_ascii_digit() || "+-.".contains(letter) => {
                let length = rest.find(|letter: char| !(letter.is_alphanumeric() || "+-.".contains(letter))).unwrap_or(rest.len());
                tokens.push(Token::Number(rest[..length].to_owned()));
                length
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                let length = rest.find(|letter: char| !(letter.is_alphanumeric() || "_-.".contains(letter))).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            letter => {
                let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) else {
                    return Err(format!("invalid query: {letter:?} is not supported here"));
                };
                tokens.push(Token::Sign(sign));
                sign.len()
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The text between the quotes and how far it reaches. A backslash or a second quote takes a quote in.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => text.extend(letters.next().map(|(_, letter)| letter)),
            letter if letter == quote => {
                if letters.next_if(|(_, letter)| *letter == quote).is_none() {
                    return Ok((text, at + quote.len_utf8()));
                }
                text.push(quote);
            }
            letter => text.push(letter),
        }
    }
    Err("invalid query: a quote is not closed".into())
}
