//! What the tests of the codecs share.

/// Bytes written in hexadecimal; white space is ignored.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap()).collect();
    assert_eq!(digits.len() % 2, 0);
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Packs `text` into the file `path`, unless that holds it already. Which of the programs that pack there is makes a
/// difference of a few percent. Tests alone do so, when asked to.
pub(crate) fn pack(path: &std::path::Path, text: &str) {
    let there = std::fs::read(path).unwrap_or_default();
    if super::inflate::gunzip(&there, text.len()).is_some_and(|plain| plain == text.as_bytes()) {
        return;
    }
    let plain = std::env::temp_dir().join(format!("runnel-pack-{}", std::process::id()));
    std::fs::write(&plain, text).unwrap();
    // By way of the output: files that they write themselves are as old as the source, and would not be built in.
    let run = |program: &str, options: &str| {
        let out = std::process::Command::new(program).args([options, "-c"]).arg(&plain).output().ok()?;
        out.status.success().then_some(out.stdout)
    };
    let packed = run("zopfli", "--i200").or_else(|| run("gzip", "-9n"));
    std::fs::remove_file(&plain).unwrap();
    std::fs::write(path, packed.expect("zopfli or gzip")).unwrap();
}

/// The same bytes on every run (xorshift32).
pub(crate) struct Noise(pub(crate) u32);

impl Noise {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 8) as u8).collect()
    }

    /// `seed` with a few bytes changed and its end cut off now and then.
    pub(crate) fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut out = seed.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(out.len().max(1));
            let byte = (self.next() >> 8) as u8;
            if let Some(slot) = out.get_mut(at) {
                *slot = byte;
            }
        }
        if self.below(4) == 0 {
            out.truncate(self.below(out.len() + 1));
        }
        out
    }
}

/// Writes the bit codes that parameter sets are made of.
#[derive(Default)]
pub(crate) struct Bits(Vec<bool>);

impl Bits {
    pub(crate) fn put(&mut self, width: u32, value: u32) -> &mut Self {
        self.0.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    pub(crate) fn ue(&mut self, value: u32) -> &mut Self {
        let code = u64::from(value) + 1;
        let bits = 64 - code.leading_zeros();
        self.put(bits - 1, 0).put(bits, code as u32)
    }

    pub(crate) fn se(&mut self, value: i32) -> &mut Self {
        self.ue(if value > 0 { value as u32 * 2 - 1 } else { value.unsigned_abs() * 2 })
    }

    pub(crate) fn align(&mut self) -> &mut Self {
        self.put(self.0.len().wrapping_neg() as u32 % 8, 0)
    }

    /// The bytes, zero bits filling the last.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.align();
        self.0.chunks(8).map(|byte| byte.iter().fold(0, |all, bit| all << 1 | u8::from(*bit))).collect()
    }
}
