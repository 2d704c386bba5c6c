//! The lineage graph as a picture: a column for every round, a row for every institution, the base
//! model at one end and the release at the other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chancery_provenance::{Lineage, Node};

const ROW: usize = 44;
const COLUMN: usize = 74;
const LEFT: usize = 150;
const TOP: usize = 30;

/// An SVG that takes its colours from the page's style sheet.
pub(crate) fn draw(lineage: &Lineage) -> String {
    let nodes: Vec<&Node> = lineage.nodes().map(|(_, node)| node).collect();
    let of_kind = |kind: &'static str| nodes.iter().copied().filter(move |node| node.kind == kind);
    let mut rows: BTreeMap<&str, usize> = BTreeMap::new();
    for node in of_kind("dataset") {
        let next = rows.len();
        rows.entry(&node.name).or_insert(next);
    }
    let rounds = of_kind("round").count();
    let bottom = TOP + rows.len() * ROW + 20;
    let (width, height) = (LEFT + rounds * COLUMN + 150, bottom + 70);
    let mut svg = format!(
        "<svg class=\"lineage\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Lineage: {} institutions, {rounds} rounds, one release\">",
        rows.len()
    );
    let x_of = |round: usize| LEFT + round * COLUMN + COLUMN / 2;
    for (name, row) in &rows {
        let y = TOP + row * ROW;
        let end = x_of(rounds.saturating_sub(1));
        let _ = write!(
            svg,
            "<line class=\"edge\" x1=\"130\" y1=\"{y}\" x2=\"{end}\" y2=\"{y}\"/>\
             <rect class=\"dataset\" x=\"10\" y=\"{}\" width=\"120\" height=\"28\" rx=\"14\"/>\
             <text x=\"70\" y=\"{}\">{}</text>",
            y - 14,
            y + 4,
            escape(name)
        );
    }
    let training = |round: usize, name: &str| {
        let wanted = format!("{name} in round {}", round + 1);
        of_kind("training").any(|node| node.name == wanted)
    };
    let spine_end = LEFT + rounds * COLUMN + 20;
    let _ = write!(
        svg,
        "<line class=\"spine\" x1=\"130\" y1=\"{0}\" x2=\"{spine_end}\" y2=\"{0}\"/>",
        bottom + 20
    );
    for round in 0..rounds {
        let x = x_of(round);
        for (name, row) in &rows {
            if training(round, name) {
                let y = TOP + row * ROW;
                let _ = write!(
                    svg,
                    "<path class=\"edge\" d=\"M{x} {y} C{} {}, {x} {}, {x} {bottom}\"/>\
                     <circle class=\"training\" cx=\"{x}\" cy=\"{y}\" r=\"6\"/>",
                    x + 22,
                    y + 14,
                    bottom - 14
                );
            }
        }
        let _ = write!(
            svg,
            "<rect class=\"round\" x=\"{}\" y=\"{bottom}\" width=\"60\" height=\"40\" rx=\"6\"/>\
             <text x=\"{x}\" y=\"{}\">round {}</text>",
            x - 30,
            bottom + 24,
            round + 1
        );
    }
    let base = of_kind("base").next().map_or("base", |node| node.name.as_str());
    let release = of_kind("release").next().map_or("release", |node| node.name.as_str());
    for (class, x, name) in [("base", 10, base), ("release", spine_end, release)] {
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{bottom}\" width=\"120\" height=\"40\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\">{}</text>",
            x + 60,
            bottom + 24,
            escape(&shorten(name))
        );
    }
    svg.push_str("</svg>");
    svg
}

fn shorten(name: &str) -> String {
    let short: String = name.chars().take(17).collect();
    if short == name { short } else { format!("{short}…") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
