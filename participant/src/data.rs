//! A site's examples: JSONL with `prompt` and `completion`, and the tokens they become.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use chancery_provenance::Digest;
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::trainer::TrainError;

/// The longest line that is read.
const LINE_LIMIT: u64 = 16 << 20;

/// One example.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Example {
    /// What the model is given.
    pub prompt: String,
    /// What it should say.
    pub completion: String,
}

/// Examples in the order of their file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    examples: Vec<Example>,
}

/// One example as tokens: the prompt, then the completion and the end of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Where the completion begins; only it is learnt.
    pub completion: usize,
}

impl Dataset {
    /// Reads a JSONL file.
    pub fn from_jsonl(path: &Path) -> Result<Self, TrainError> {
        let bad = |line: usize, why: String| TrainError::Data { path: path.to_owned(), line, why };
        let file = File::open(path).map_err(|e| bad(0, e.to_string()))?;
        let mut reader = BufReader::new(file);
        let mut examples = Vec::new();
        let mut line = String::new();
        for number in 1.. {
            line.clear();
            let read = reader
                .by_ref()
                .take(LINE_LIMIT)
                .read_line(&mut line)
                .map_err(|e| bad(number, e.to_string()))?;
            if read == 0 {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            let example: Example =
                serde_json::from_str(&line).map_err(|e| bad(number, e.to_string()))?;
            if example.completion.is_empty() {
                return Err(bad(number, "its completion is empty".to_owned()));
            }
            examples.push(example);
        }
        if examples.is_empty() {
            return Err(bad(0, "it holds no examples".to_owned()));
        }
        Ok(Self { examples })
    }

    /// Keeps a tenth back. Which examples these are follows from their texts alone, so that
    /// neither a new order nor new examples move one from one side to the other.
    pub fn split_held_out(self) -> (Self, Self) {
        let (held_out, train): (Vec<_>, Vec<_>) = self
            .examples
            .into_iter()
            .partition(|example| Digest::of(example.prompt.as_bytes()).as_bytes()[0] < 26);
        if held_out.is_empty() || train.is_empty() {
            let all = if train.is_empty() { held_out } else { train };
            return (Self { examples: all.clone() }, Self { examples: all });
        }
        (Self { examples: train }, Self { examples: held_out })
    }

    /// Appends other examples.
    pub fn extend(&mut self, other: Self) {
        self.examples.extend(other.examples);
    }

    /// How many examples there are.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// The examples.
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Turns every example into at most `max_length` tokens; longer prompts lose their beginning.
    pub fn tokenize(
        &self,
        tokenizer: &Tokenizer,
        eos: Option<u32>,
        max_length: usize,
    ) -> Result<Vec<Sequence>, TrainError> {
        self.examples.iter().map(|example| example.tokenize(tokenizer, eos, max_length)).collect()
    }
}

impl Example {
    /// Prompt and completion are tokenised apart, so that the border between them is a border of
    /// tokens whatever the texts.
    fn tokenize(
        &self,
        tokenizer: &Tokenizer,
        eos: Option<u32>,
        max_length: usize,
    ) -> Result<Sequence, TrainError> {
        let encode = |text: &str, special: bool| {
            let encoding = tokenizer
                .encode(text, special)
                .map_err(|e| TrainError::Tokenizer { why: e.to_string() })?;
            Ok::<_, TrainError>(encoding.get_ids().to_vec())
        };
        let mut prompt = encode(&self.prompt, true)?;
        if prompt.last().copied() == eos {
            prompt.pop();
        }
        let mut completion = encode(&self.completion, false)?;
        completion.extend(eos);
        if prompt.is_empty() || completion.len() >= max_length {
            return Err(TrainError::Tokenizer {
                why: format!(
                    "an example's prompt is empty or its completion has {} tokens, with \
                     max_length {max_length}",
                    completion.len()
                ),
            });
        }
        let room = max_length - completion.len();
        let cut = prompt.len().saturating_sub(room);
        let mut tokens = prompt.split_off(cut);
        let border = tokens.len();
        tokens.extend(completion);
        Ok(Sequence { tokens, completion: border })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"prompt": "a", "completion": "b"}"#;
        let file = file(&format!("{good}\n\n{{\"prompt\": 3}}\n"));
        let error = Dataset::from_jsonl(file.path()).unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn held_out_examples_do_not_depend_on_order() {
        let mut examples: Vec<Example> = (0..200)
            .map(|i| Example { prompt: format!("prompt {i}"), completion: "x".to_owned() })
            .collect();
        let (train, held) = Dataset { examples: examples.clone() }.split_held_out();
        assert_eq!(train.len() + held.len(), 200);
        assert!((8..40).contains(&held.len()), "{}", held.len());
        examples.reverse();
        let (_, again) = Dataset { examples }.split_held_out();
        assert!(held.examples().iter().all(|example| again.examples().contains(example)));
    }
}
