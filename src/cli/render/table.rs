//! Columns that line up, with colour that does not count as width.

use anstyle::Style;

use crate::cli::output::{BOLD, PLAIN, Paint};

#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub fn styled(text: impl Into<String>, style: Style) -> Self {
        // A cell is one line: a message with more would tear the table.
        let text: String = text.into();
        let text = text.lines().next().unwrap_or_default().to_owned();
        Self { text, style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, PLAIN)
    }
}

/// A title, and the columns below it.
pub fn section<const N: usize>(paint: Paint, title: &str, names: [&str; N], rows: &[[Cell; N]]) -> String {
    paint.dress(BOLD, &format!("[{title}]")) + "\n" + &columns(paint, names, rows)
}

/// The names of the columns, and the rows. Columns that are empty in every row are left out, but for the first; without
/// rows all are named.
pub fn columns<const N: usize>(paint: Paint, names: [&str; N], rows: &[[Cell; N]]) -> String {
    let widths = std::array::from_fn::<_, N, _>(|column| {
        let widest = rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0);
        if widest == 0 && column > 0 && !rows.is_empty() { 0 } else { widest.max(names[column].len()) }
    });
    let mut text = String::new();
    let head = names.map(Cell::from);
    for row in std::iter::once(&head).chain(rows) {
        text.push_str(&line(paint, row, &widths));
    }
    text
}

fn line<const N: usize>(paint: Paint, row: &[Cell; N], widths: &[usize; N]) -> String {
    let mut text = String::new();
    let mut gap = 0;
    for (cell, width) in row.iter().zip(widths).filter(|(_, width)| **width > 0) {
        if !cell.text.is_empty() {
            text.extend(std::iter::repeat_n(' ', gap));
            text.push_str(&paint.dress(cell.style, &cell.text));
            gap = 0;
        }
        gap += width - if cell.text.is_empty() { 0 } else { cell.text.chars().count() } + 1;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::GREEN;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let rows = [["mysql".into(), "".into(), "ö".into()], ["x".into(), "".into(), "".into()]];
        let text = section(Paint { colour: false }, "Things", ["NAME", "NOTHING", "LAST"], &rows);
        assert_eq!(text, "[Things]\nNAME  LAST\nmysql ö\nx\n");
        assert_eq!(columns(Paint { colour: false }, ["NAME", "LAST"], &[]), "NAME LAST\n");
    }

    #[test]
    fn colour_is_no_width() {
        let rows = [[Cell::styled("a", GREEN), "b".into()]];
        let text = section(Paint { colour: true }, "T", ["ONE", "TWO"], &rows);
        assert!(text.ends_with("\x1b[32ma\x1b[0m   b\n"), "{text:?}");
    }
}
