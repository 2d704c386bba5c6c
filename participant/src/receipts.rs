//! What a site holds in its hands after a run: the coordinator's receipts, and that its own updates are
//! in the sums, without anybody having seen them.

use std::fs;

use chancery_proto::secagg::Journal;
use chancery_provenance::{Bundle, Digest, Participation, RECEIPT_TYPE, Receipt};

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
            match held_against(journal(home, run, round).as_ref(), listed) {
                Ok(own) => found.own += usize::from(own),
                Err(why) => return Err(wrong(round, why)),
            }
            write(&folder.join(format!("{round:04}.json")), text.as_bytes(), 0o644)?;
            previous = Some(bundle.digest());
            found.rounds += 1;
        }
    }
}

/// Whether this site's own update is in a round's sum, by its own record and what the receipt lists of it;
/// or what the receipt says against the record.
fn held_against(
    journal: Option<&Journal>,
    listed: Option<&Participation>,
) -> Result<bool, &'static str> {
    let signed = journal.and_then(Journal::update).map(hex::encode);
    match (listed, signed) {
        (Some(part), Some(root)) if part.chunk_root != root => {
            Err("it names another update of this site")
        }
        // Trusted rounds leave no journal; the statement over the update is the site's own.
        (Some(_), _) => Ok(true),
        (None, _) if journal.is_some_and(Journal::confirmed) => {
            Err("it leaves out an update of this site that the survivors have confirmed")
        }
        // Declared lost: the round went on without this site.
        (None, _) => Ok(false),
    }
}

/// What this site recorded of a masked round.
fn journal(home: &Home, run: &str, round: u32) -> Option<Journal> {
    let name = format!("{}-{round}", run_name(run));
    let text = fs::read(home.dir().join("rounds").join(name).join("journal")).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(update: bool, confirmed: bool) -> Journal {
        let pin = |set: bool, byte: &str| match set {
            true => format!("\"{}\"", byte.repeat(32)),
            false => "null".to_owned(),
        };
        let text = format!(
            r#"{{"plan":"{}","session":null,"shared":null,"update":{},"survivors":{},"closed":true}}"#,
            "00".repeat(32),
            pin(update, "11"),
            pin(confirmed, "22"),
        );
        serde_json::from_str(&text).unwrap()
    }

    fn listed(byte: &str) -> Participation {
        Participation {
            pseudonym: "site-1".to_owned(),
            key: String::new(),
            update_digest: Digest::of(b"update"),
            chunk_root: byte.repeat(32),
            statement_digest: Digest::of(b"statement"),
        }
    }

    #[test]
    fn a_receipt_must_agree_with_the_sites_own_record() {
        let (masked, confirmed) = (journal(true, false), journal(true, true));
        assert_eq!(held_against(Some(&confirmed), Some(&listed("11"))), Ok(true));
        assert!(held_against(Some(&confirmed), Some(&listed("33"))).is_err());
        assert!(held_against(Some(&confirmed), None).is_err());
        // Lost after its upload, and before anybody confirmed it.
        assert_eq!(held_against(Some(&masked), None), Ok(false));
        // A trusted round, and one without this site.
        assert_eq!(held_against(None, Some(&listed("33"))), Ok(true));
        assert_eq!(held_against(None, None), Ok(false));
    }
}
