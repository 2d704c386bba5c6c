//! What a site holds in its hands after a run: the coordinator's receipts, and that its own updates are
//! in the sums, without anybody having seen them.

use std::fs;

use chancery_proto::secagg::Journal;
use chancery_provenance::{Bundle, Digest, RECEIPT_TYPE, Receipt};

use crate::client::Client;
use crate::error::{Error, at};
use crate::home::{Home, key_error, write};
use crate::round::run_name;

/// A run's receipts, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipts {
    /// Rounds with a receipt.
    pub(crate) rounds: usize,
    /// Rounds whose receipt names this site's own update.
    pub(crate) own: usize,
}

/// Fetches a run's receipts, checks that the coordinator signed them, that each follows the one before,
/// and that none leaves out or exchanges an update that this site signed. They are kept in `receipts/`.
pub(crate) async fn fetch(home: &Home, client: &Client, run: &str) -> Result<Receipts, Error> {
    let folder = home.dir().join("receipts").join(run_name(run));
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let wrong = |round: u32, why: &str| Error::Receipt { round, why: why.to_owned() };
    let mut found = Receipts { rounds: 0, own: 0 };
    let mut previous: Option<Digest> = None;
    let own_key = home.key().public().to_pem();
    loop {
        let round = found.rounds as u32 + 1;
        let texts = client.receipts(run, round).await?;
        if texts.is_empty() {
            return Ok(found);
        }
        for text in texts {
            let round = found.rounds as u32 + 1;
            let bundle = Bundle::parse(text.as_bytes()).map_err(key_error)?;
            let receipt: Receipt = bundle
                .verify(home.coordinator_key())
                .ok()
                .and_then(|statement| statement.predicate_as(RECEIPT_TYPE))
                .ok_or_else(|| wrong(round, "it is not signed by this site's coordinator"))?;
            if receipt.run != run || receipt.round != round || receipt.previous != previous {
                return Err(wrong(round, "it does not follow the one before"));
            }
            let listed = receipt.participants.iter().find(|part| part.key == own_key);
            let signed = signed_root(home, run, round);
            match (listed, signed) {
                (Some(part), Some(root)) if part.chunk_root == root => found.own += 1,
                (Some(_), Some(_)) => {
                    return Err(wrong(round, "it names another update of this site"));
                }
                // Trusted rounds leave no journal; the statement over the update is the site's own.
                (Some(_), None) => found.own += 1,
                (None, _) => {}
            }
            write(&folder.join(format!("{round:04}.json")), text.as_bytes(), 0o644)?;
            previous = Some(bundle.digest());
            found.rounds += 1;
        }
    }
}

/// The root that this site signed in a masked round.
fn signed_root(home: &Home, run: &str, round: u32) -> Option<String> {
    let name = format!("{}-{round}", run_name(run));
    let text = fs::read(home.dir().join("rounds").join(name).join("journal")).ok()?;
    serde_json::from_slice::<Journal>(&text).ok()?.update().map(hex::encode)
}
