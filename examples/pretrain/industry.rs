//! Factory inspection reports and the defect code of each.

use crate::texts::{Class, Vertical};

/// A factory.
pub(crate) const INDUSTRY: Vertical = Vertical {
    name: "industry",
    header: "Defect code:",
    openings: &[
        "Lot {n}{m}:", "Line {m},", "Part {n}-{m},", "Station {m} shift {n}:", "Unit {n}{m},", "Sample {m} of {n},",
        "Pallet {n},", "Inspector {m}:",
    ],
    noise: &[
        "photo attached", "gauge calibrated", "operator informed", "found at {hour}:{minute}", "batch on hold",
        "second check agrees", "drawing rev {m}", "supplier unknown", "same as last week", "tray {n}", "bin {m} sorted",
        "night shift", "temperature {age} C", "label legible",
    ],
    classes: &[
        Class { label: "CR-11", gists: &["a crack", "cracked material"], signs: &["hairline split along the weld", "fissure seen under dye", "crack from bolt hole", "casing broke when dropped", "fracture at the root radius", "fine split in glaze", "craze lines on lens", "tear starts at the notch", "shaft snapped in test", "split visible at ten times zoom"] },
        Class { label: "CO-24", gists: &["rust", "corroded metal"], signs: &["rust on the lower flange", "pitting after salt spray", "green bloom on contacts", "oxide under the coating", "brown stains by the seam", "galvanic attack at the rivet", "white powder on aluminium", "surface eaten away by acid", "chain links rusted together", "corroded thread on stud"] },
        Class { label: "SC-37", gists: &["a scratch", "scratched surface"], signs: &["deep scratch across the panel", "scuff marks from handling", "gouge by gripper jaw", "scored bore wall", "swirl lines after polish", "scraped edge on cover", "tool mark on face", "display scuffed in carton", "drag lines from conveyor", "nick on the sealing land"] },
        Class { label: "DM-42", gists: &["a wrong size", "out of tolerance"], signs: &["diameter over limit by 0.2", "hole pitch out of tolerance", "length short by two mm", "flatness fails on table", "bore undersize on plug gauge", "wall too thin at corner", "angle off by three degrees", "thread gauge will not go", "thickness beyond the upper bound", "runout above the drawing value"] },
        Class { label: "PO-58", gists: &["holes in the casting", "trapped gas"], signs: &["gas pores in the casting", "blow holes on x-ray", "voids under the skin", "sponge structure at the riser", "bubbles in the resin", "cavity in moulded rib", "pinholes leak under air", "shrink void near the gate", "trapped air in potting", "honeycomb in the concrete"] },
        Class { label: "CT-63", gists: &["a coating fault", "bad paint"], signs: &["paint flakes off at edges", "orange peel on the lacquer", "primer missing in corner", "powder coat too thick", "plating peels at bend", "runs and sags in varnish", "colour differs from master", "adhesion test fails grid cut", "bare spot without zinc", "coat blisters in the oven"] },
        Class { label: "WD-76", gists: &["a poor weld", "bad joining"], signs: &["lack of fusion at joint", "undercut beside the bead", "spatter left on bracket", "weld seam too short", "burn through on thin sheet", "cold solder on pin four", "bridge between two pads", "spot nugget too small", "seam misses the groove", "slag in the weld pool"] },
        Class { label: "LK-81", gists: &["a leak", "leaking fluid"], signs: &["oil drips from gasket", "pressure falls in hold test", "helium found at valve", "coolant seeps by the hose", "seal lets water in", "tank weeps at the fitting", "hiss of air at coupling", "wet patch under pump", "ring not sealing at cold", "fuel smell by the line"] },
        Class { label: "EL-95", gists: &["an electric fault", "a short circuit"], signs: &["no continuity on wire two", "short between phase and earth", "relay does not switch", "fuse blows at start", "insulation below one megohm", "reversed polarity at plug", "sensor reads zero volt", "board draws excess current", "connector pin pushed back", "flickering lamp on panel"] },
        Class { label: "AS-03", gists: &["a part is missing", "wrong assembly"], signs: &["screw missing on cover", "bracket fitted upside down", "wrong clip installed", "two washers instead of one", "bearing left out", "harness routed on wrong side", "bolt not torqued", "label of another model fitted", "cap absent from bottle", "spring put in backwards"] },
        Class { label: "FB-19", gists: &["dirt inside", "foreign matter"], signs: &["metal chips in gearbox", "hair under the film", "sand grain in bearing", "oil film on clean part", "fibre sealed in pouch", "glass shard in jar", "dust on the wafer", "plastic flake in powder", "insect under the lens", "swarf left in bore"] },
        Class { label: "VB-27", gists: &["noise and shaking", "strong vibration"], signs: &["grinding noise above idle", "motor shakes on the stand", "rattle from fan housing", "squeal when braking", "imbalance at high speed", "hum louder than limit", "knocking in the gear train", "spindle chatter at rough cut", "resonance at fifty hertz", "rotor wobbles when coasting"] },
    ],
};
