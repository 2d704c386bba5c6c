//! Whether anything of a site's update, or of a secret that the protocol does not release, can be found
//! in the coordinator: in its memory, its database, its blobs, its log.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use chancery_proto::{Accumulator, Ring};
use ring::hkdf;

use crate::world::{SITES, World, wait_for};

/// Bytes that must not be found, with what they are.
type Needles = Vec<(String, [u8; 32])>;

/// The first round's folder of a site.
fn round_folder(world: &World, site: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(world.path(site).join("rounds")).ok()?;
    entries.flatten().map(|e| e.path()).find(|p| p.to_string_lossy().ends_with("-1"))
}

fn file(world: &World, site: &str, name: &str) -> Option<Vec<u8>> {
    let path = round_folder(world, site)?.join(name);
    fs::read(path).ok().filter(|bytes| !bytes.is_empty())
}

/// What a site derives from its round's secret (`proto/src/secagg/key.rs`).
fn derived(secret: &[u8], label: &[u8]) -> [u8; 32] {
    struct Len;
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let mut out = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"chancery-secagg-v1 site secret")
        .extract(secret)
        .expand(&[label, b""], Len)
        .unwrap()
        .fill(&mut out)
        .unwrap();
    out
}

/// Windows of 32 bytes of at least nine different ones, from all over `bytes`.
fn windows(bytes: &[u8]) -> Vec<[u8; 32]> {
    bytes
        .chunks_exact(32)
        .filter(|window| {
            let mut sorted = window.to_vec();
            sorted.sort_unstable();
            sorted.dedup();
            sorted.len() >= 9
        })
        .map(|window| window.try_into().unwrap())
        .step_by(7)
        .take(200)
        .collect()
}

fn needles(site: &str, secret: &[u8], update: &[u8]) -> Needles {
    let ring = Ring::for_cohort(14, 1.0, 96, 3);
    let elements = update.len() / 2 - 1;
    assert_eq!(update.len(), ring.packed_len(elements));
    let mut all: Needles = vec![
        (format!("{site}'s round secret"), secret.try_into().unwrap()),
        (format!("{site}'s masking key"), derived(secret, b"masking key")),
        (format!("{site}'s encryption key"), derived(secret, b"encryption key")),
    ];
    let mut add = |what: &str, bytes: &[u8]| {
        let windows = windows(bytes);
        assert!(windows.len() > 20, "{what} of {site} is too flat to be searched for");
        all.extend(windows.into_iter().map(|window| (format!("{site}'s {what}"), window)));
    };
    add("packed update", update);
    let levels: Vec<u8> = update
        .as_chunks::<2>()
        .0
        .iter()
        .flat_map(|raw| i32::from(i16::from_le_bytes(*raw)).to_le_bytes())
        .collect();
    add("quantised update", &levels);
    let ring_elements: Vec<u8> =
        update.as_chunks::<2>().0.iter().flat_map(|raw| [raw[0], raw[1], 0, 0]).collect();
    add("ring elements", &ring_elements);
    let mut sum = Accumulator::new(&ring, elements).unwrap();
    sum.add(update).unwrap();
    let delta: Vec<u8> =
        sum.finish().unwrap().values.iter().flat_map(|x| x.to_le_bytes()).collect();
    add("delta", &delta);
    all
}

/// Searches for all needles at once.
struct Search {
    needles: Needles,
    starts: Vec<bool>,
}

impl Search {
    fn new(needles: Needles) -> Self {
        let mut starts = vec![false; 1 << 16];
        for (_, bytes) in &needles {
            starts[usize::from(u16::from_le_bytes([bytes[0], bytes[1]]))] = true;
        }
        Self { needles, starts }
    }

    fn find(&self, bytes: &[u8]) -> Option<&str> {
        bytes.windows(32).find_map(|window| {
            let start = usize::from(u16::from_le_bytes([window[0], window[1]]));
            if !self.starts[start] {
                return None;
            }
            self.needles.iter().find(|(_, n)| n == window).map(|(what, _)| what.as_str())
        })
    }

    /// Searches every file under a folder.
    fn files(&self, folder: &Path) -> Option<String> {
        fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).find_map(|path| {
            if path.is_dir() {
                return self.files(&path);
            }
            let found = self.find(&fs::read(&path).unwrap_or_default())?;
            Some(format!("{found} in {}", path.display()))
        })
    }

    /// Searches all writable memory of a process. Gives how much that was.
    fn memory(&self, process: u32) -> io::Result<(u64, Option<String>)> {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let memory = fs::File::open(format!("/proc/{process}/mem"))?;
        let mut searched = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") {
                continue;
            }
            let (from, to) = range.split_once('-').unwrap();
            let from = u64::from_str_radix(from, 16).unwrap();
            let to = u64::from_str_radix(to, 16).unwrap();
            // Pieces overlap, so that nothing hides on a border.
            let mut at = from;
            let mut piece = vec![0; 1 << 20];
            while at < to {
                let len = piece.len().min((to - at) as usize);
                let read = memory.read_at(&mut piece[..len], at).unwrap_or(0);
                searched += read as u64;
                if let Some(what) = self.find(&piece[..read]) {
                    return Ok((searched, Some(format!("{what} at {at:x}"))));
                }
                at += if len == piece.len() { len as u64 - 32 } else { len as u64 };
            }
        }
        Ok((searched, None))
    }
}

#[test]
fn nothing_of_an_update_can_be_found_in_the_coordinator() {
    let mut world = World::new();
    let run = world.run(2, 4);
    for site in SITES {
        world.start(site);
    }
    // One site sleeps from the start of its training, so that the others' files can be read.
    wait_for(|| file(&world, "industry", "secret"));
    world.signal("industry", "-STOP");
    let mut all = Needles::new();
    for site in ["hospital", "legal"] {
        wait_for(|| file(&world, site, "facts"));
        let (secret, update) = (file(&world, site, "secret"), file(&world, site, "update"));
        all.extend(needles(site, &secret.unwrap(), &update.unwrap()));
    }
    let search = Search::new(all);
    // The search finds what is there: a site's own folder holds its update.
    assert!(search.files(&world.path("hospital")).is_some());
    world.signal("industry", "-CONT");

    // While the masked updates come in and the sum is opened, and once more after the run.
    let mut looked = 0;
    let mut look = |world: &World| {
        let (searched, found) = search.memory(world.coordinator_id()).unwrap();
        assert_eq!(found, None);
        looked += searched;
    };
    while !world.show(&run).contains("round  1/2") {
        look(&world);
    }
    world.adapter(&run);
    look(&world);
    assert!(looked > 10 << 20, "only {looked} bytes of memory were searched");
    assert_eq!(search.files(&world.path("coordinator")), None);
    assert_eq!(search.find(&fs::read(world.path("coordinator.log")).unwrap()), None);
    // And what the site kept for the round is gone from its own disk.
    assert!(file(&world, "hospital", "secret").is_none());
    assert!(file(&world, "hospital", "update").is_none());
}
