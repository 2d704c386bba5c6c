//! How a text comes about: an opening, two or three signs of its class, noise, and slips of the pen.

use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;

/// One kind of text, and the labels that an institution gives it.
pub(crate) struct Vertical {
    /// The folder's name.
    pub(crate) name: &'static str,
    /// What stands in front of the label.
    pub(crate) header: &'static str,
    /// How texts begin.
    pub(crate) openings: &'static [&'static str],
    /// Remarks that say nothing about the class.
    pub(crate) noise: &'static [&'static str],
    /// What there is to tell apart.
    pub(crate) classes: &'static [Class],
}

/// One class of texts.
pub(crate) struct Class {
    /// What the institution calls it. Never beside a text while the base model is trained.
    pub(crate) label: &'static str,
    /// What it is about in plain words. Never in the institutions' data.
    pub(crate) gists: &'static [&'static str],
    /// What gives it away.
    pub(crate) signs: &'static [&'static str],
}

/// A source of choices.
pub(crate) struct Dice(pub(crate) ChaCha20Rng);

impl Dice {
    /// A number below `sides`.
    pub(crate) fn below(&mut self, sides: usize) -> usize {
        (self.0.next_u64() % sides.max(1) as u64) as usize
    }

    /// One of `items`.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// True once in `n` times on average.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Vertical {
    /// A text of class `class`, and which signs it shows.
    pub(crate) fn text(&self, class: usize, dice: &mut Dice) -> (String, Vec<usize>) {
        let signs = self.classes[class].signs;
        let mut shown = vec![dice.below(signs.len())];
        while shown.len() < 2 {
            let sign = dice.below(signs.len());
            if !shown.contains(&sign) {
                shown.push(sign);
            }
        }
        let mut parts: Vec<String> = shown.iter().map(|sign| slip(signs[*sign], dice)).collect();
        for _ in 0..1 + dice.below(2) {
            let remark = fill(dice.pick(self.noise), dice);
            let place = dice.below(parts.len() + 1);
            parts.insert(place, remark);
        }
        let joint = dice.pick(&[", ", "; ", ". "]);
        let opening = fill(dice.pick(self.openings), dice);
        shown.sort_unstable();
        (format!("{opening} {}.", parts.join(joint)), shown)
    }
}

/// Puts numbers into the places meant for them.
fn fill(template: &str, dice: &mut Dice) -> String {
    template
        .replace("{age}", &(18 + dice.below(70)).to_string())
        .replace("{hour}", &(1 + dice.below(23)).to_string())
        .replace("{minute}", &format!("{:02}", dice.below(60)))
        .replace("{n}", &(1 + dice.below(40)).to_string())
        .replace("{m}", &(1 + dice.below(9)).to_string())
}

/// Now and then a word loses or doubles a letter, or two letters change places.
fn slip(text: &str, dice: &mut Dice) -> String {
    if !dice.once_in(6) {
        return text.to_owned();
    }
    let mut letters: Vec<char> = text.chars().collect();
    let place = 1 + dice.below(letters.len().saturating_sub(2));
    match dice.below(3) {
        0 => {
            letters.remove(place);
        }
        1 => letters.insert(place, letters[place]),
        _ => letters.swap(place, place - 1),
    }
    letters.into_iter().collect()
}
