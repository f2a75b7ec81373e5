//! `status --format svg`: a picture of the services and their relations.

use super::graph::{Edge, Graph, Node, colour, graph};
use super::layout::{Place, places};
use crate::api::EnvironmentStatus;

const WIDTH: f64 = 216.0;
const HEIGHT: f64 = 92.0;
const GAP_X: f64 = 176.0;
const GAP_Y: f64 = 40.0;
const MARGIN: f64 = 36.0;
/// Above the services stands the name of the environment.
const HEAD: f64 = 36.0;
/// How far a line between two services of one column bends out.
const BEND: f64 = 72.0;
/// Units that are shown as dots; more are only counted.
const DOTS: usize = 12;

const STYLE: &str = "text{font-family:Inter,'Helvetica Neue',Arial,sans-serif;fill:#1f2933}\
.title{font-size:15px;font-weight:600}.name{font-size:15px;font-weight:600}.small{font-size:11px;fill:#66717f}\
.state{font-size:11px;font-weight:600}.pill{font-size:10px;font-weight:600;fill:#1d5fa8}\
.line{fill:none;stroke:#a3adba;stroke-width:2}.label{font-size:11px;fill:#47515d;text-anchor:middle}";

pub fn svg(status: &EnvironmentStatus) -> String {
    let graph = graph(status);
    let places = places(&graph);
    let columns = places.iter().map(|place| place.column + 1).max().unwrap_or(1) as f64;
    let rows = places.iter().map(|place| place.row + 1.0).fold(1.0, f64::max);
    let bends = graph.edges.iter().any(|edge| places[edge.ends.0].column == places[edge.ends.1].column);
    let width = 2.0 * MARGIN + columns * (WIDTH + GAP_X) - GAP_X + if bends { BEND } else { 0.0 };
    let height = 2.0 * MARGIN + HEAD + rows * (HEIGHT + GAP_Y) - GAP_Y;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"14\" fill=\"#f4f6f9\"/>\n",
        escaped(&format!("environment {}", status.environment))
    );
    text += &format!(
        "<text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{}</text>\n",
        MARGIN + 6.0,
        escaped(&status.environment)
    );
    if graph.nodes.is_empty() {
        text +=
            &format!("<text class=\"small\" x=\"{MARGIN}\" y=\"{}\">no services yet</text>\n", MARGIN + HEAD + 12.0);
    }
    let lines: Vec<Line> = graph.edges.iter().map(|edge| Line::of(edge, &graph, &places)).collect();
    text.extend(lines.iter().map(Line::path));
    text.extend(graph.nodes.iter().zip(&places).map(|(node, place)| card(node, corner(*place))));
    // Above everything, so that no line crosses a word.
    text.extend(lines.iter().map(Line::label));
    text + "</svg>\n"
}

/// The upper left corner of a service.
fn corner(place: Place) -> (f64, f64) {
    (MARGIN + place.column as f64 * (WIDTH + GAP_X), MARGIN + HEAD + place.row * (HEIGHT + GAP_Y))
}

/// A relation: a curve of two ends and two handles.
struct Line<'a> {
    points: [(f64, f64); 4],
    label: &'a str,
}

impl<'a> Line<'a> {
    fn of(edge: &'a Edge, graph: &Graph, places: &[Place]) -> Self {
        let (a, b) = edge.ends;
        // Read from left to right, as it is drawn.
        let turned = places[a].column > places[b].column;
        let (a, b, label) = if turned { (b, a, &edge.back) } else { (a, b, &edge.label) };
        let same = places[a].column == places[b].column;
        let from = (corner(places[a]).0 + WIDTH, attached((a, b), graph, places));
        let to = (corner(places[b]).0 + if same { WIDTH } else { 0.0 }, attached((b, a), graph, places));
        let reach = if same { BEND } else { GAP_X / 2.0 };
        let back = if same { reach } else { -reach };
        Self { points: [from, (from.0 + reach, from.1), (to.0 + back, to.1), to], label }
    }

    fn path(&self) -> String {
        let [from, first, second, to] = self.points.map(|(x, y)| format!("{x:.1} {y:.1}"));
        format!("<path class=\"line\" d=\"M{from} C{first}, {second}, {to}\"/>\n")
    }

    fn label(&self) -> String {
        let [from, first, second, to] = self.points;
        let middle = |a: f64, b: f64, c: f64, d: f64| (a + 3.0 * b + 3.0 * c + d) / 8.0;
        let (x, y) = (middle(from.0, first.0, second.0, to.0), middle(from.1, first.1, second.1, to.1));
        let text = cut(self.label, 26);
        let width = text.chars().count() as f64 * 5.9 + 14.0;
        format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"19\" rx=\"9.5\" fill=\"#f4f6f9\"/>\n\
             <text class=\"label\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n",
            x - width / 2.0,
            y - 9.5,
            y + 4.0,
            escaped(&text)
        )
    }
}

/// The height at which a line leaves a service: the lines of one side are spread, in the order of where they go.
fn attached((node, other): (usize, usize), graph: &Graph, places: &[Place]) -> f64 {
    let side = |there: usize| places[there].column < places[node].column;
    let others = graph.edges.iter().filter_map(|edge| match edge.ends {
        (a, b) if a == node => Some(b),
        (a, b) if b == node => Some(a),
        _ => None,
    });
    let mut others: Vec<usize> = others.filter(|there| side(*there) == side(other)).collect();
    others.sort_by(|a, b| places[*a].row.total_cmp(&places[*b].row).then(a.cmp(b)));
    let at = others.iter().position(|there| *there == other).unwrap_or(0);
    corner(places[node]).1 + HEIGHT * (at as f64 + 1.0) / (others.len() as f64 + 1.0)
}

fn card(node: &Node, (x, y): (f64, f64)) -> String {
    let state = colour(&node.state);
    let dashed = if node.dying { " stroke-dasharray=\"5 4\"" } else { "" };
    let name = cut(&node.name, if node.exposed { 16 } else { 23 });
    let mut text = format!(
        "<g transform=\"translate({x:.1} {y:.1})\">\n<title>{}</title>\n\
         <rect y=\"2\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"12\" fill=\"#1f2933\" opacity=\"0.07\"/>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"12\" fill=\"#fff\" stroke=\"{state}\" stroke-width=\"1.5\"{dashed}/>\n\
         <rect x=\"10\" y=\"16\" width=\"4\" height=\"{}\" rx=\"2\" fill=\"{state}\"/>\n\
         <text class=\"name\" x=\"26\" y=\"28\">{}</text>\n<text class=\"small\" x=\"26\" y=\"45\">{}</text>\n",
        escaped(&format!("{} ({})", node.name, node.charm)),
        HEIGHT - 32.0,
        escaped(&name),
        escaped(&cut(&node.charm, 32)),
    );
    let word = if node.dying { format!("{}, dying", node.state) } else { node.state.clone() };
    text += &format!("<text class=\"state\" x=\"26\" y=\"63\" style=\"fill:{state}\">{}</text>\n", escaped(&word));
    if let [first, ..] = &node.peers[..] {
        let peers = cut(&format!("peers: {first}"), 18);
        text += &format!(
            "<text class=\"small\" x=\"{}\" y=\"63\" text-anchor=\"end\">{}</text>\n",
            WIDTH - 14.0,
            escaped(&peers)
        );
    }
    if node.exposed {
        let left = WIDTH - 72.0;
        text += &format!(
            "<rect x=\"{left}\" y=\"14\" width=\"58\" height=\"18\" rx=\"9\" fill=\"#e3eefb\"/>\n\
             <text class=\"pill\" x=\"{}\" y=\"26.5\" text-anchor=\"middle\">exposed</text>\n",
            left + 29.0
        );
    }
    text + &units(node) + "</g>\n"
}

/// A dot a unit in the colour of its state, and their number.
fn units(node: &Node) -> String {
    let dot = |(at, state): (usize, &String)| {
        format!("<circle cx=\"{}\" cy=\"77\" r=\"4\" fill=\"{}\"/>\n", 30 + at * 11, colour(state))
    };
    let count = node.units.len();
    let words = if count == 1 { "1 unit".to_owned() } else { format!("{count} units") };
    node.units.iter().take(DOTS).enumerate().map(dot).collect::<String>()
        + &format!("<text class=\"small\" x=\"{}\" y=\"81\" text-anchor=\"end\">{words}</text>\n", WIDTH - 14.0)
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// What XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{FFFE}' | '\u{FFFF}' => {}
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::graph::samples::wiki;
    use super::*;

    #[test]
    fn the_picture_shows_services_and_relations() {
        let picture = svg(&wiki());
        for word in
            [">haproxy<", ">exposed<", ">database – db<", ">2 units<", ">peers: cluster<", "local:bookworm/mysql-1"]
        {
            assert!(picture.contains(word), "{word} in {picture}");
        }
        assert_eq!(picture.matches("<path").count(), 2);
        assert_eq!(picture.matches("<circle").count(), 4);
        assert_eq!(picture, svg(&wiki()));
    }

    #[test]
    fn nothing_that_is_shown_can_break_the_picture() {
        let mut status = wiki();
        status.environment = "</svg><script>'\"&\u{7}".into();
        let picture = svg(&status);
        assert!(picture.contains("&lt;/svg&gt;&lt;script&gt;&apos;&quot;&amp; <"), "{picture}");
        assert_eq!(picture.matches("</svg>").count(), 1);
        assert_eq!(picture.matches('<').count(), picture.matches('>').count());
    }

    #[test]
    fn an_empty_environment_has_a_picture_too() {
        assert!(svg(&EnvironmentStatus::default()).contains("no services yet"));
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
