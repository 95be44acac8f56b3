//! Label selectors as text: upstream's grammar, and its words for what does not follow it (`apimachinery/pkg/labels/selector.go`).

use serde_json::Value;

use super::{LabelTerm, Test};
use crate::api::validate::{label_value_faults, qualified_name_faults};
use crate::error::ApiError;

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// A word, a symbol, or the end (an empty symbol).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'a str),
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(text) | Token::Symbol(text) => text,
        }
    }

    fn ends_term(self) -> bool {
        matches!(self, Token::Symbol("" | ","))
    }

    fn begins_term(self) -> bool {
        matches!(self, Token::Word(_) | Token::Symbol("!"))
    }
}

/// Reads a label selector; an empty one has no terms.
///
/// # Errors
/// 400, worded as upstream.
pub(super) fn parse(text: &str) -> Result<Vec<LabelTerm>, ApiError> {
    Parser::new(text).terms().map_err(ApiError::bad_request)
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        let (mut tokens, mut rest) = (Vec::new(), text);
        loop {
            let (token, after) = scan(rest);
            tokens.push(token);
            if token == Token::Symbol("") {
                return Parser { tokens, at: 0 };
            }
            rest = after;
        }
    }

    /// The next token, which stays; at the end it is the end.
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::Symbol(""))
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn terms(&mut self) -> Result<Vec<LabelTerm>, String> {
        let mut terms = Vec::new();
        match self.peek() {
            Token::Symbol("") => return Ok(terms),
            token if !token.begins_term() => {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", token.text()));
            }
            _ => {}
        }
        loop {
            terms.push(self.term().map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.take() {
                Token::Symbol("") => return Ok(terms),
                Token::Symbol(",") if self.peek().begins_term() => {}
                Token::Symbol(",") => {
                    return Err(format!("found '{}', expected: identifier after ','", self.peek().text()));
                }
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.text())),
            }
        }
    }

    fn term(&mut self) -> Result<LabelTerm, String> {
        let missing = self.peek() == Token::Symbol("!");
        self.at += usize::from(missing);
        let key = match self.take() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        if let Some(why) = joined(qualified_name_faults(key)) {
            return Err(format!("<nil>: Invalid value: {}: {why}", Value::from(key)));
        }
        let test = match missing {
            true => Test::Missing,
            false if self.peek().ends_term() => Test::Exists,
            false => self.test(key)?,
        };
        Ok(LabelTerm { key: key.to_owned(), test })
    }

    fn test(&mut self, key: &str) -> Result<Test, String> {
        let operator = self.take();
        let values = match operator {
            Token::Word("in" | "notin") => self.values()?,
            Token::Symbol("=" | "==" | "!=" | ">" | "<") => vec![self.value()?],
            other => return Err(format!("found '{}', expected: {BINARY_OPERATORS}", other.text())),
        };
        check(key, operator.text(), &values)?;
        let bound = || values[0].parse().map_err(|_| String::new());
        Ok(match operator.text() {
            "notin" | "!=" => Test::NotIn(values),
            ">" => Test::Greater(bound()?),
            "<" => Test::Less(bound()?),
            _ => Test::In(values),
        })
    }

    fn value(&mut self) -> Result<String, String> {
        if self.peek().ends_term() {
            return Ok(String::new());
        }
        match self.take() {
            Token::Word(value) => Ok(value.to_owned()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// The values in parentheses, sorted and each once; an empty place is an empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.take() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Symbol("," | ")")) {
            return Err(format!("found '{}', expected: ',', ')' or identifier", self.peek().text()));
        }
        let mut values = std::collections::BTreeSet::new();
        loop {
            values.insert(match self.peek() {
                Token::Word(value) => {
                    self.at += 1;
                    value.to_owned()
                }
                Token::Symbol("," | ")") => String::new(),
                other => return Err(format!("found '{}', expected: ',', or identifier", other.text())),
            });
            match self.take() {
                Token::Symbol(")") => return Ok(values.into_iter().collect()),
                Token::Symbol(",") => {}
                other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
            }
        }
    }
}

/// What upstream refuses of a term that is well-formed (`NewRequirement`).
fn check(key: &str, operator: &str, values: &[String]) -> Result<(), String> {
    let mut faults = Vec::new();
    let is_number = |value: &String| value.parse::<i64>().is_ok();
    for (at, value) in
        values.iter().enumerate().filter(|(_, value)| [">", "<"].contains(&operator) && !is_number(value))
    {
        let why = "for 'Gt', 'Lt' operators, the value must be an integer";
        faults.push(format!("values[{at}]: Invalid value: {}: {why}", Value::from(value.as_str())));
    }
    for (at, value) in values.iter().enumerate() {
        if let Some(why) = joined(label_value_faults(value)) {
            faults.push(format!("values[{at}][{key}]: Invalid value: {}: {why}", Value::from(value.as_str())));
        }
    }
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}

fn joined(faults: Vec<String>) -> Option<String> {
    (!faults.is_empty()).then(|| faults.join("; "))
}

/// The first token of a text, and what follows it. Symbols are as long as they can be.
fn scan(text: &str) -> (Token<'_>, &str) {
    let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let special = |c: char| "=!(),><".contains(c);
    if let Some(symbol) =
        ["==", "!=", "=", "!", "(", ")", ",", ">", "<"].iter().find(|symbol| text.starts_with(**symbol))
    {
        return (Token::Symbol(&text[..symbol.len()]), &text[symbol.len()..]);
    }
    let end = text.find(|c| special(c) || " \t\r\n".contains(c)).unwrap_or(text.len());
    let token = if end == 0 { Token::Symbol("") } else { Token::Word(&text[..end]) };
    (token, &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as a real API server (v1.34.4) answered it.
    #[test]
    fn what_is_no_selector_is_refused_in_upstreams_words() {
        let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
            character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
        let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
            end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
            '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
        let number = "for 'Gt', 'Lt' operators, the value must be an integer";
        let term = |why: &str| format!("unable to parse requirement: {why}");
        let table = [
            ("a b", term("found 'b', expected: in, notin, =, ==, !=, gt, lt")),
            ("a!b", term("found '!', expected: in, notin, =, ==, !=, gt, lt")),
            ("app===x", term("found '=', expected: identifier")),
            ("a!==x", term("found '=', expected: identifier")),
            ("a=(x)", term("found '(', expected: identifier")),
            ("!!a", term("found '!', expected: identifier")),
            ("!", term("found '', expected: identifier")),
            ("a in", term("found '' expected: '('")),
            ("a in x", term("found 'x' expected: '('")),
            ("a in (x", term("found '', expected: ',' or ')'")),
            ("a in (x y)", term("found 'y', expected: ',' or ')'")),
            ("a in (=)", term("found '=', expected: ',', ')' or identifier")),
            ("a in (x,=)", term("found '=', expected: ',', or identifier")),
            ("=x", "found '=', expected: !, identifier, or 'end of string'".to_owned()),
            (",a", "found ',', expected: !, identifier, or 'end of string'".to_owned()),
            ("a,", "found '', expected: identifier after ','".to_owned()),
            ("a,,b", "found ',', expected: identifier after ','".to_owned()),
            ("!a=b", "found '=', expected: ',' or 'end of string'".to_owned()),
            ("a=b c", "found 'c', expected: ',' or 'end of string'".to_owned()),
            ("a<", term(&format!("values[0]: Invalid value: \"\": {number}"))),
            (
                "a>-x",
                term(&format!(
                    "[values[0]: Invalid value: \"-x\": {number}, values[0][a]: Invalid value: \"-x\": {value}]"
                )),
            ),
            ("a=-x", term(&format!("values[0][a]: Invalid value: \"-x\": {value}"))),
            ("-a=-b", term(&format!("<nil>: Invalid value: \"-a\": {name}"))),
            ("/a", term("<nil>: Invalid value: \"/a\": prefix part must be non-empty")),
            ("a/", term(&format!("<nil>: Invalid value: \"a/\": name part must be non-empty; {name}"))),
        ];
        for (text, words) in table {
            let error = parse(text).expect_err(text);
            assert_eq!((error.code, error.message.as_str()), (400, words.as_str()), "{text}");
        }
    }

    #[test]
    fn what_is_odd_is_a_selector_all_the_same() {
        for text in [
            "a in ()",
            "a in (,)",
            "a in (x,,y)",
            "a in (x,y,)",
            "in",
            "in in (in)",
            "notin",
            "a==b",
            "a>1",
            " a = b , !c ",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
    }
}
