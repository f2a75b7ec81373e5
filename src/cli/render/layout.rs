//! Where the services of a picture stand: columns from what the world sees to what stands behind it.
//!
//! Each connected part is laid out by itself, below the one before. Its columns are the distances from its exposed
//! services (if it has none, from those with fewest relations), so that a relation never spans more than one gap. In a
//! column, services stand at the height of those they are related to. Services without relations make rows at the
//! end. The same status gives the same picture.

use std::collections::VecDeque;

use super::graph::Graph;

/// Column and row of each node. Rows are halves, so that one may stand between two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub column: usize,
    pub row: f64,
}

/// Services without relations that stand side by side.
const ROW_OF_SINGLES: usize = 3;
/// How often columns are sorted by their neighbours; more changes nothing in graphs of this size.
const SWEEPS: usize = 4;

pub fn places(graph: &Graph) -> Vec<Place> {
    let neighbours = neighbours(graph);
    let mut places = vec![Place { column: 0, row: 0.0 }; graph.nodes.len()];
    let mut top = 0.0;
    for part in parts(&neighbours) {
        let columns = columns(graph, &neighbours, &part);
        let columns = sorted(columns, &neighbours);
        let height = columns.iter().map(Vec::len).max().unwrap_or(0) as f64;
        for (column, nodes) in columns.iter().enumerate() {
            let first = top + (height - nodes.len() as f64) / 2.0;
            for (at, node) in nodes.iter().enumerate() {
                places[*node] = Place { column, row: first + at as f64 };
            }
        }
        top += height;
    }
    let singles = (0..graph.nodes.len()).filter(|node| neighbours[*node].is_empty());
    for (at, node) in singles.enumerate() {
        places[node] = Place { column: at % ROW_OF_SINGLES, row: top + (at / ROW_OF_SINGLES) as f64 };
    }
    places
}

fn neighbours(graph: &Graph) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        neighbours[edge.ends.0].push(edge.ends.1);
        neighbours[edge.ends.1].push(edge.ends.0);
    }
    neighbours
}

/// The connected parts of more than one node, the largest first.
fn parts(neighbours: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut seen = vec![false; neighbours.len()];
    let mut parts = Vec::new();
    for first in 0..neighbours.len() {
        if seen[first] || neighbours[first].is_empty() {
            continue;
        }
        seen[first] = true;
        let mut part = vec![first];
        let mut at = 0;
        while let Some(node) = part.get(at).copied() {
            at += 1;
            for next in &neighbours[node] {
                if !std::mem::replace(&mut seen[*next], true) {
                    part.push(*next);
                }
            }
        }
        part.sort_unstable();
        parts.push(part);
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
}

fn columns(graph: &Graph, neighbours: &[Vec<usize>], part: &[usize]) -> Vec<Vec<usize>> {
    let exposed: Vec<usize> = part.iter().filter(|node| graph.nodes[**node].exposed).copied().collect();
    let fewest = part.iter().map(|node| neighbours[*node].len()).min();
    let mut roots = exposed;
    if roots.is_empty() {
        roots.extend(part.iter().find(|node| Some(neighbours[**node].len()) == fewest));
    }
    let mut distance = vec![None; neighbours.len()];
    let mut queue: VecDeque<usize> = roots.iter().copied().collect();
    for root in roots {
        distance[root] = Some(0);
    }
    let mut columns: Vec<Vec<usize>> = Vec::new();
    while let Some(node) = queue.pop_front() {
        let at = distance[node].unwrap_or(0);
        if columns.len() <= at {
            columns.push(Vec::new());
        }
        columns[at].push(node);
        for next in &neighbours[node] {
            if distance[*next].is_none() {
                distance[*next] = Some(at + 1);
                queue.push_back(*next);
            }
        }
    }
    columns
}

/// Orders each column by the mean height of the neighbours in the column before, then back again.
fn sorted(mut columns: Vec<Vec<usize>>, neighbours: &[Vec<usize>]) -> Vec<Vec<usize>> {
    for sweep in 0..SWEEPS {
        let there: Vec<usize> = (1..columns.len()).collect();
        let back: Vec<usize> = (0..columns.len().saturating_sub(1)).rev().collect();
        for column in if sweep % 2 == 0 { there } else { back } {
            let beside = if sweep % 2 == 0 { column - 1 } else { column + 1 };
            let fixed = columns[beside].clone();
            let height = |node: &usize| {
                let rows = fixed.iter().enumerate().filter(|(_, other)| neighbours[*node].contains(other));
                let rows: Vec<f64> = rows.map(|(row, _)| row as f64 - fixed.len() as f64 / 2.0).collect();
                if rows.is_empty() { 0.0 } else { rows.iter().sum::<f64>() / rows.len() as f64 }
            };
            columns[column].sort_by(|a, b| height(a).total_cmp(&height(b)));
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::super::graph::{graph, samples::wiki};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_exposed_stands_first_and_what_is_alone_last() {
        let graph = graph(&wiki());
        let places = places(&graph);
        let columns: Vec<_> = places.iter().map(|place| (place.column, place.row)).collect();
        assert_eq!(columns, [(0, 0.0), (1, 0.0), (0, 1.0), (2, 0.0)]);
    }

    proptest! {
        #[test]
        fn no_two_stand_in_one_place_and_no_relation_spans_two_gaps(
            pairs in proptest::collection::vec((0usize..9, 0usize..9), 0..20)
        ) {
            let mut status = crate::api::EnvironmentStatus::default();
            for n in 0..9 {
                let relations = pairs.iter().filter(|(a, b)| *a == n && a != b);
                let others = relations.map(|(_, b)| format!("s{b}")).collect();
                let relations = [("x".to_owned(), others)].into();
                status.services.insert(format!("s{n}"), crate::api::ServiceStatus { relations, ..Default::default() });
            }
            let graph = graph(&status);
            let places = places(&graph);
            for (at, place) in places.iter().enumerate() {
                prop_assert!(!places[..at].contains(place));
            }
            for edge in &graph.edges {
                prop_assert!(places[edge.ends.0].column.abs_diff(places[edge.ends.1].column) <= 1);
            }
        }
    }
}
