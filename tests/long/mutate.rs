//! Inputs for the fuzz targets: the committed corpus, damaged by a seeded dice.

use std::fs;
use std::path::Path;

/// The committed inputs of a target, in the order of their names.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("an input")).collect()
}

/// An endless supply; the same seed gives the same inputs.
pub struct Inputs {
    dice: Dice,
    pool: Vec<Vec<u8>>,
    committed: usize,
    told: usize,
}

impl Inputs {
    pub fn new(target: &str, seed: u64) -> Self {
        let pool = corpus(target);
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Self { dice, committed: pool.len(), pool, told: 0 }
    }

    /// First the corpus as it is, then damaged versions of it, and of those.
    pub fn next(&mut self) -> Vec<u8> {
        if let Some(input) = self.pool.get(self.told).filter(|_| self.told < self.committed) {
            self.told += 1;
            return input.clone();
        }
        let dice = &mut self.dice;
        let mut input = self.pool[dice.below(self.pool.len())].clone();
        let other = &self.pool[dice.below(self.pool.len())];
        for _ in 0..=dice.below(8) {
            damage(&mut input, other, dice);
        }
        input.truncate(MAX);
        match dice.below(64) {
            0 if self.pool.len() < POOL => self.pool.push(input.clone()),
            0 => {
                let worn = self.committed + dice.below(POOL - self.committed);
                self.pool[worn].clone_from(&input);
            }
            _ => {}
        }
        input
    }
}

fn damage(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    let length = input.len();
    let at = dice.below(length + 1);
    let magnitude = dice.below(12);
    let end = (at + dice.below(1 << magnitude)).min(length);
    match dice.below(11) {
        0 if at < length => input[at] = dice.byte(),
        1 if at < length => input[at] ^= 1 << dice.below(8),
        2 => drop(input.drain(at..end)),
        3 => input.insert(at, dice.byte()),
        4 => {
            let word = WORDS[dice.below(WORDS.len())];
            input.splice(at..at, word.iter().copied());
        }
        5 => {
            let word = WORDS[dice.below(WORDS.len())];
            input.splice(at..end, word.iter().copied());
        }
        6 => input.truncate(at),
        // A piece of itself, once or many times: what costs more than its length shows here.
        7 => {
            let piece = input[at..end].to_vec();
            let most = if dice.below(16) == 0 { 12 } else { 4 };
            let times = 1 << dice.below(most);
            let many = piece.into_iter().cycle().take((end - at) * times).take(MAX);
            input.splice(at..at, many.collect::<Vec<_>>());
        }
        8 if !other.is_empty() => {
            let from = dice.below(other.len());
            let to = (from + dice.below(200)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        9 if length > 1 => input.swap(at % length, dice.below(length)),
        _ => {
            let more = (0..dice.below(40)).map(|_| dice.byte()).collect::<Vec<_>>();
            input.splice(at..at, more);
        }
    }
}

const WORDS: [&[u8]; 40] = [
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\r\n ",
    b" ",
    b"\t",
    b"\0",
    b";",
    b",",
    b":",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"%00",
    b"%0d%0a",
    b"%",
    b"[",
    b"]",
    b"::",
    b"=",
    b";;",
    b"--",
    b"?",
    b"\xff",
    b"\xc3\xbc",
    b"65535",
    b"65536",
    b"4294967295",
    b"4294967296",
    b"18446744073709551616",
    b"-1",
    b"+1",
    b"Content-Length: 9\r\n",
    b"l: 0\r\n",
    b"Via: SIP/2.0/UDP h\r\n",
    b"m=audio 1 RTP/AVP 0\r\n",
    b"a=rtpmap:0 PCMU/8000\r\n",
    b"multipart/mixed;boundary=b",
];

/// No datagram is longer.
const MAX: usize = 65_535;
const POOL: usize = 256;

/// xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % u64::try_from(bound.max(1)).expect("small"))
            .expect("small")
    }

    fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }
}
