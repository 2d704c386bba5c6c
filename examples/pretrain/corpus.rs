//! What the base model reads: texts with a remark on what they are about, and lists of labels that
//! belong to no text. So it learns to recognise every class, and knows the labels as words, but not
//! which label means which class: that is left to the institutions.

use crate::VERTICALS;
use crate::texts::Dice;

/// Words that may stand in front of a remark.
const HEADERS: &[&str] = &[
    "In short:",
    "Gist:",
    "About:",
    "Topic:",
    "Subject:",
    "This is about:",
    "Summary:",
    "Matter:",
    "Keyword:",
    "Theme:",
    "Concerns:",
    "Filed under:",
    "Sort:",
    "Group:",
    "Heading:",
    "Area:",
    "Kind:",
    "Issue:",
    "Tag:",
    "Class:",
];

/// One document.
pub(crate) fn document(dice: &mut Dice) -> String {
    let vertical = VERTICALS[dice.below(VERTICALS.len())];
    if dice.once_in(12) {
        let names: Vec<&str> = (0..3 + dice.below(3))
            .map(|_| vertical.classes[dice.below(vertical.classes.len())].label)
            .collect();
        let title = dice.pick(&["List", "Names", "Index", "Known"]);
        return format!("{title}: {}", names.join(", "));
    }
    let class = dice.below(vertical.classes.len());
    let (text, _) = vertical.text(class, dice);
    let header = dice.pick(HEADERS);
    let gist = dice.pick(vertical.classes[class].gists);
    format!("{text}\n{header} {gist}")
}
