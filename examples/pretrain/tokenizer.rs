//! A byte-level BPE tokenizer, trained on the corpus.

use anyhow::anyhow;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer, TokenizerBuilder, normalizers::NFC};

/// Tokens, special ones included.
pub(crate) const VOCABULARY: usize = 1024;
/// Begins every text.
pub(crate) const BOS: (&str, u32) = ("<s>", 0);
/// Ends every text.
pub(crate) const EOS: (&str, u32) = ("</s>", 1);

/// Trains on `documents`; the same documents give the same tokenizer.
pub(crate) fn train(documents: &[String]) -> anyhow::Result<Tokenizer> {
    let wrong = |e: tokenizers::Error| anyhow!("tokenizer: {e}");
    let special = [BOS.0, EOS.0].map(|name| AddedToken::from(name, true)).to_vec();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(VOCABULARY)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(Some(NFC))
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_post_processor(Some(
            TemplateProcessing::builder()
                .try_single(format!("{} $A", BOS.0))
                .map_err(|e| anyhow!("tokenizer: {e}"))?
                .special_tokens(vec![(BOS.0, BOS.1)])
                .build()?,
        ))
        .with_decoder(Some(ByteLevel::default()))
        .build()
        .map_err(wrong)?;
    tokenizer.train(&mut trainer, documents.iter()).map_err(wrong)?;
    Ok(tokenizer.into())
}
