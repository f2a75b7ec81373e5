//! What `docs/machines.md` says of kinds of machines, in tables with a column a kind.

/// What can be done with a machine, as verb, column and whether; a column is a kind, or `adopted`.
pub fn abilities() -> Vec<(String, String, bool)> {
    let table = table("## What can be done with a machine");
    let (head, rows) = table.split_first().unwrap();
    let mut told = Vec::new();
    for row in rows {
        for verb in code(&row[0]) {
            let verb = verb.strip_prefix("machine ").unwrap_or(verb);
            for (column, cell) in head.iter().zip(row).skip(1) {
                told.push((verb.to_owned(), column.trim_matches('`').to_owned(), cell == "yes"));
            }
        }
    }
    told
}

/// The columns of the table below a heading, without the first.
pub fn columns(title: &str) -> Vec<String> {
    table(title)[0].iter().skip(1).map(|cell| cell.trim_matches('`').to_owned()).collect()
}

/// The first cells of the table below a heading.
pub fn rows(title: &str) -> Vec<String> {
    table(title).iter().skip(1).map(|row| row[0].trim_matches('`').to_owned()).collect()
}

/// The first table below a heading, cell by cell, without the line below its head.
fn table(title: &str) -> Vec<Vec<String>> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/machines.md");
    let text = std::fs::read_to_string(document).unwrap();
    let lines = text.lines().skip_while(|line| *line != title).skip_while(|line| !line.starts_with('|'));
    let lines = lines.take_while(|line| line.starts_with('|')).filter(|line| !line.starts_with("|---"));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let table: Vec<Vec<String>> = lines.map(cells).collect();
    assert!(table.len() > 1, "no table below {title:?}");
    table
}

/// What stands in backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}
