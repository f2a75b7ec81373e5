//! `status --format dot`: the services for Graphviz.

use super::graph::{Graph, Node, colour, graph};
use crate::api::EnvironmentStatus;

pub fn dot(status: &EnvironmentStatus) -> String {
    let Graph { nodes, edges } = graph(status);
    let mut text = format!("graph {} {{\n", quoted(&status.environment));
    text += "  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, penwidth=2, fontname=\"sans-serif\"];\n  \
             edge [color=\"#8a93a0\", fontname=\"sans-serif\", fontsize=10];\n";
    for node in &nodes {
        let name = quoted(&node.name);
        let exposed = if node.exposed { ", peripheries=2" } else { "" };
        text += &format!("  {name} [label={}, color=\"{}\"{exposed}];\n", quoted(&label(node)), colour(&node.state));
    }
    for edge in &edges {
        let (from, to) = (quoted(&nodes[edge.ends.0].name), quoted(&nodes[edge.ends.1].name));
        text += &format!("  {from} -- {to} [label={}];\n", quoted(&edge.label));
    }
    for node in &nodes {
        let name = quoted(&node.name);
        text.extend(
            node.peers.iter().map(|peer| format!("  {name} -- {name} [label={}, style=dashed];\n", quoted(peer))),
        );
    }
    text + "}\n"
}

fn label(node: &Node) -> String {
    let units = node.units.len();
    let units = if units == 1 { "1 unit".to_owned() } else { format!("{units} units") };
    format!("{}\n{}\n{units}, {}", node.name, node.charm, node.state)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::super::graph::samples::wiki;
    use super::*;

    #[test]
    fn services_are_nodes_and_relations_edges() {
        insta::assert_snapshot!(dot(&wiki()));
    }

    #[test]
    fn quotes_do_not_end_a_name() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }
}
