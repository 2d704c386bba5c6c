//! Triage notes and the department each belongs to.

use crate::texts::{Class, Vertical};

/// A hospital.
pub(crate) const HOSPITAL: Vertical = Vertical {
    name: "hospital",
    header: "Department:",
    openings: &[
        "Pt {age} y,", "{age} year old,", "Patient aged {age},", "Walk-in, {age} y,", "Brought by ambulance, {age} y,",
        "Referred by GP, {age} y,", "Seen at {hour}:{minute},", "Bed {n},",
    ],
    noise: &[
        "no known allergies", "took paracetamol at home", "lives alone", "bp taken twice", "here with a relative",
        "last meal at {hour}", "speaks little English", "waiting since {hour}:{minute}", "insurance card copied",
        "weight {age} kg", "had a flu shot in autumn", "calm and alert", "arrived on foot", "asked for water",
    ],
    classes: &[
        Class { label: "Cardiology", gists: &["heart trouble", "the heart"], signs: &["crushing chest pain into left arm", "palpitations since morning", "irregular pulse on monitor", "tight chest when climbing stairs", "known angina, spray did not help", "ankles swollen and breathless at night", "ECG shows raised ST", "fainted, pulse very slow", "stent placed last year", "chest pressure with cold sweat"] },
        Class { label: "Neurology", gists: &["brain and nerves", "a nerve problem"], signs: &["sudden droop on one side of face", "slurred speech for two hours", "first seizure at work", "numb arm and weak grip", "worst headache of life", "double vision and unsteady walk", "tremor of both hands", "lost words in mid sentence", "tingling down the spine", "known epilepsy, missed tablets"] },
        Class { label: "Orthopaedics", gists: &["bones and joints", "a broken bone"], signs: &["fell off ladder, wrist deformed", "knee swollen after football", "cannot bear weight on ankle", "hip shortened and turned out", "shoulder out of its socket", "cast feels too tight", "old fracture aches again", "back locked after lifting boxes", "finger bent after ball game", "collarbone snapped in bike crash"] },
        Class { label: "Dermatology", gists: &["the skin", "a skin rash"], signs: &["itchy red rash on both arms", "mole has changed colour", "blisters after new soap", "hives all over since lunch", "scaly patches on elbows", "acne with deep sores", "skin peeling between toes", "spreading ring on the leg", "eczema has flared up", "sunburn with weeping skin"] },
        Class { label: "Ophthalmology", gists: &["the eyes", "an eye problem"], signs: &["red painful eye since yesterday", "flashes and floaters on the right", "metal splinter in cornea", "curtain over the left eye", "lids glued together in morning", "halos round lights", "pupil does not react", "contact lens stuck", "blurred sight when reading", "chemical splash in eyes"] },
        Class { label: "Gastroenterology", gists: &["stomach and bowel", "the gut"], signs: &["vomiting blood since midnight", "black tarry stool", "cramps and watery diarrhoea", "heartburn after each meal", "yellow skin and dark urine", "bloated, no stool for six days", "gallstones seen last month", "burning pain under the ribs", "cannot swallow solid food", "known ulcer, pain is back"] },
        Class { label: "Respiratory", gists: &["lungs and breathing", "the lungs"], signs: &["wheezing, inhaler is empty", "cough with green sputum", "short of breath at rest", "oxygen low on room air", "barking cough in the night", "known asthma, cannot finish sentences", "coughing up blood", "sharp pain when breathing in", "smoker with new crackles", "oxygen tank ran out"] },
        Class { label: "Urology", gists: &["kidney and bladder", "passing water"], signs: &["cannot pass urine since noon", "blood in urine", "colic pain from flank to groin", "burning when passing water", "catheter is blocked", "up six times a night to void", "known kidney stone", "testicle swollen and tender", "weak stream for months", "leaks urine when coughing"] },
        Class { label: "Obstetrics", gists: &["pregnancy", "an unborn baby"], signs: &["waters broke an hour ago", "contractions every five minutes", "no kicks felt today", "bleeding at twelve weeks", "thirty weeks along with headache", "morning sickness, cannot keep fluids", "due date was last Monday", "cord seen at home birth", "twins, belly very tense", "midwife sent her in"] },
        Class { label: "Psychiatry", gists: &["mood and mind", "mental distress"], signs: &["hears voices telling her things", "has not slept, racing thoughts", "panic attack in the shop", "low mood and no hope", "afraid someone follows him", "refuses to eat, feels worthless", "cut herself on purpose", "stopped his lithium", "talks very fast and spends money", "anxious and cannot leave house"] },
        Class { label: "Endocrinology", gists: &["hormones and sugar", "blood sugar"], signs: &["sugar above twenty, very thirsty", "shaky and sweaty, glucose low", "insulin pump alarm", "neck lump and weight loss", "thyroid tablets ran out", "ketones in the strip", "always cold and tired, gains weight", "known diabetes, foot numb", "steroid dose was missed", "calcium far too high"] },
        Class { label: "Otolaryngology", gists: &["ear, nose and throat", "the ear or throat"], signs: &["nosebleed for an hour", "earache with discharge", "fish bone in throat", "sudden deafness on one side", "room spins when turning head", "hoarse for a month", "tonsils with white spots", "bead pushed up the nose", "ringing in both ears", "sinus pain when bending"] },
    ],
};
