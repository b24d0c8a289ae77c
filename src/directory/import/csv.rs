//! Rows of a table that a database exported (RFC 4180): the first line names the columns.

/// Each row as column and value, in the columns' order; the separator is whichever of `,`, `;` and
/// tab the first line has most of.
pub fn rows(text: &str) -> Vec<Vec<(String, String)>> {
    let first = text.lines().next().unwrap_or_default();
    let most = [',', ';', '\t'].into_iter().max_by_key(|sign| first.matches(*sign).count());
    let mut records = records(text, most.unwrap_or(',')).into_iter();
    let Some(names) = records.next() else { return vec![] };
    records
        .filter(|record| record.iter().any(|value| !value.is_empty()))
        .map(|record| names.iter().cloned().zip(record).collect())
        .collect()
}

fn records(text: &str, separator: char) -> Vec<Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut records, mut record, mut value) = (vec![], vec![], String::new());
    let mut quoted = false;
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '"' if quoted && signs.peek() == Some(&'"') => {
                signs.next();
                value.push('"');
            }
            '"' if quoted => quoted = false,
            _ if quoted => value.push(sign),
            '"' if value.is_empty() => quoted = true,
            '\r' if signs.peek() == Some(&'\n') => {}
            '\n' => {
                record.push(std::mem::take(&mut value));
                records.push(std::mem::take(&mut record));
            }
            _ if sign == separator => record.push(std::mem::take(&mut value)),
            _ => value.push(sign),
        }
    }
    if !value.is_empty() || !record.is_empty() {
        record.push(value);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_separators_quotes_and_line_ends() {
        let rows = rows("mailbox,fullname\r\n1000,\"Doe, \"\"J\"\"\nJane\"\r\n\n1001,x\n");
        let row = |at: usize| rows[at].iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][1].0, "fullname");
        assert_eq!((row(0), row(1)), (vec!["1000", "Doe, \"J\"\nJane"], vec!["1001", "x"]));
    }

    #[test]
    fn other_separators_and_no_rows() {
        assert_eq!(rows("a;b\n1;2")[0][1], ("b".to_owned(), "2".to_owned()));
        assert_eq!(rows("a\tb\n1\t\"2\"\n")[0][1].1, "2");
        assert!(rows("").is_empty() && rows("a,b\n").is_empty());
    }
}
