//! Contract clauses and the type of each.

use crate::texts::{Class, Vertical};

/// A university's contracts office.
pub(crate) const LEGAL: Vertical = Vertical {
    name: "legal",
    header: "Clause type:",
    openings: &[
        "{n}.{m}", "Clause {n}.", "Section {n}.{m}", "Under this agreement,", "For the avoidance of doubt,", "Article {n}:",
        "Subject to clause {m},", "Unless agreed in writing,",
    ],
    noise: &[
        "as set out in schedule {m}", "within {n} days", "to the extent permitted", "in each case", "from the effective date",
        "on a form approved by both parties", "whether or not in writing", "save where stated", "as amended from time to time",
        "at its own cost", "without delay", "in good faith", "acting reasonably", "by registered post",
    ],
    classes: &[
        Class { label: "Confidentiality", gists: &["keeping secrets", "what must stay secret"], signs: &["the recipient shall not disclose information", "secret material is returned or destroyed", "staff must keep the data private", "disclosure is allowed only by court order", "proprietary know-how stays hidden", "no press release about the project", "the receiving party guards documents", "this duty of secrecy lasts five years", "mark papers as restricted", "only those who need to know may read"] },
        Class { label: "Termination", gists: &["how it ends", "ending the contract"], signs: &["either party may end the contract", "notice of cancellation takes effect", "on material breach the other may walk away", "the term expires and is not renewed", "rights survive the end of the agreement", "insolvency lets a party rescind", "early exit needs ninety days", "work stops upon expiry", "if unremedied the deal is over", "a party ceasing business may be dropped"] },
        Class { label: "Indemnity", gists: &["making good a loss", "holding harmless"], signs: &["shall hold harmless the buyer", "will make good all claims by third parties", "covers legal costs of the defence", "reimburses losses caused by its staff", "is answerable for suits brought by others", "the protected party must tell of a claim", "takes over conduct of the lawsuit", "pays damages awarded to outsiders", "keeps the client whole against actions", "this promise to compensate survives"] },
        Class { label: "Liability", gists: &["a cap on damages", "limits of blame"], signs: &["total damages shall not exceed fees paid", "no responsibility for lost profit", "nothing excludes death or injury", "aggregate exposure is capped at", "indirect loss is not recoverable", "the ceiling applies per year", "fraud is never limited", "excluded heads of loss include goodwill", "the maximum sum owed is", "consequential harm is shut out"] },
        Class { label: "Payment", gists: &["money owed", "invoices and fees"], signs: &["invoices are due in thirty days", "late sums bear interest at four percent", "fees are paid in euro", "the buyer remits the price by transfer", "value added tax is extra", "expenses are refunded with receipts", "a deposit falls due on signing", "disputed bills may be withheld", "instalments follow each milestone", "prices rise with the index"] },
        Class { label: "Warranty", gists: &["a promise of quality", "goods as described"], signs: &["goods are free of defects for a year", "the seller promises fitness for use", "services meet professional skill", "faulty items are repaired or replaced", "software runs as described", "each party states it has power to sign", "title passes clear of charges", "no implied terms of quality", "materials conform to the sample", "the guarantee lapses on misuse"] },
        Class { label: "Jurisdiction", gists: &["which court and law", "the governing law"], signs: &["the laws of France govern", "courts of Vienna alone decide", "disputes go before judges in Oslo", "the parties submit to the venue", "conflict of law rules are set aside", "suit may be filed only in the capital", "the forum is the place of the seller", "local statute prevails", "the sale of goods treaty does not apply", "proceedings take place in English courts"] },
        Class { label: "Arbitration", gists: &["settling by a tribunal", "a private tribunal"], signs: &["three arbiters are named", "the tribunal sits in Geneva", "an award is final and binding", "each side picks one referee", "hearings are held in private", "the chamber rules apply", "mediation comes first for a month", "the panel decides on costs", "the seat of proceedings is Singapore", "a sole umpire hears small claims"] },
        Class { label: "Assignment", gists: &["passing on rights", "transfer to others"], signs: &["no party may transfer its rights", "novation needs consent", "successors are bound as well", "subcontracting is not allowed", "change of control counts as a transfer", "the benefit may pass to an affiliate", "may not delegate its duties", "a lender may take the receivables", "any purported handover is void", "heirs and assigns are included"] },
        Class { label: "Insurance", gists: &["being insured", "cover against risk"], signs: &["shall keep public cover of two million", "proof of the policy on request", "premiums are paid by the supplier", "the insurer waives recourse", "cyber cover must be in force", "a certificate from the broker", "workers are covered for accidents", "the excess is borne by the holder", "coverage runs on for six years", "names the client as co-insured"] },
        Class { label: "Licence", gists: &["a right to use", "who owns the invention"], signs: &["grants a right to use the patent", "copyright stays with the author", "royalty free and worldwide", "inventions belong to the maker", "no reverse engineering of code", "trade marks may be shown on the site", "sublicensing only to group firms", "source code is held in escrow", "moral rights are waived", "exclusive use in the field of optics"] },
        Class { label: "Force majeure", gists: &["events beyond control", "acts of God"], signs: &["excused by flood or storm", "war and riot suspend duties", "events outside reasonable control", "an epidemic delays delivery", "strikes at the port", "acts of government block export", "earthquake relieves the party", "the affected side must mitigate", "power grid failure is no breach", "if the event lasts three months"] },
    ],
};
