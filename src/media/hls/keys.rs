//! AES-128 keys of segments.   Spec: RFC 8216, sections 4.3.2.4 and 5.2.
//!
//! A key serves a number of segments; each segment's initialization vector is its media sequence number. Keys are
//! derived from one secret, so that no entropy is needed later. They are as secret as the URL that they are served at.

use aes::cipher::{BlockEncryptMut, KeyIvInit, block_padding::Pkcs7};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::rc::Rc;

const BLOCK: usize = 16;

/// A key and the first segment that it is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) sequence: u64,
    pub(super) bytes: [u8; BLOCK],
}

#[derive(Debug)]
pub(super) struct Keys {
    secret: [u8; 32],
    per_key: u32,
    used: u32,
    current: Option<Rc<Key>>,
}

impl Keys {
    pub(super) fn new(secret: [u8; 32], per_key: u32) -> Keys {
        Keys { secret, per_key, used: 0, current: None }
    }

    /// The key of the segment `sequence`, asked for once for each segment in order.
    pub(super) fn next(&mut self, sequence: u64) -> Rc<Key> {
        if let Some(key) = self.current.as_ref().filter(|_| self.used < self.per_key) {
            self.used += 1;
            return key.clone();
        }
        let key = Rc::new(Key { sequence, bytes: derive(&self.secret, sequence) });
        self.used = 1;
        self.current = Some(key.clone());
        key
    }
}

fn derive(secret: &[u8; 32], sequence: u64) -> [u8; BLOCK] {
    let mut key = [0; BLOCK];
    // HMAC takes keys of any length.
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) {
        mac.update(b"hls key ");
        mac.update(&sequence.to_be_bytes());
        let digest = mac.finalize().into_bytes();
        for (to, from) in key.iter_mut().zip(digest) {
            *to = from;
        }
    }
    key
}

impl Key {
    /// The segment `sequence`, encrypted: CBC with PKCS #7 padding.
    pub(super) fn encrypt(&self, sequence: u64, chunks: &[Bytes]) -> Bytes {
        let len: usize = chunks.iter().map(Bytes::len).sum();
        let mut buffer = Vec::with_capacity(len + BLOCK);
        chunks.iter().for_each(|chunk| buffer.extend_from_slice(chunk));
        buffer.resize(len + BLOCK, 0);
        let iv = u128::from(sequence).to_be_bytes();
        let cipher = cbc::Encryptor::<aes::Aes128>::new(&self.bytes.into(), &iv.into());
        // There is always room for the padding.
        let padded = cipher.encrypt_padded_mut::<Pkcs7>(&mut buffer, len).map_or(0, <[u8]>::len);
        buffer.truncate(padded);
        Bytes::from(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::BlockDecryptMut;

    #[test]
    fn a_key_serves_its_segments_and_no_more() {
        let mut keys = Keys::new([7; 32], 3);
        let used: Vec<u64> = (10..18).map(|sequence| keys.next(sequence).sequence).collect();
        assert_eq!(used, [10, 10, 10, 13, 13, 13, 16, 16]);
        assert_ne!(keys.next(18).bytes, keys.next(19).bytes);
        assert_ne!(derive(&[7; 32], 1), derive(&[8; 32], 1));
    }

    #[test]
    fn what_is_encrypted_can_be_read_with_key_and_sequence() {
        let key = Key { sequence: 5, bytes: derive(&[1; 32], 5) };
        for len in [0usize, 1, 15, 16, 17, 188, 376] {
            let clear: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let (a, b) = clear.split_at(len / 3);
            let mut sealed = key.encrypt(6, &[Bytes::copy_from_slice(a), Bytes::copy_from_slice(b)]).to_vec();
            assert_eq!(sealed.len(), (len / 16 + 1) * 16);
            let cipher = cbc::Decryptor::<aes::Aes128>::new(&key.bytes.into(), &6u128.to_be_bytes().into());
            assert_eq!(cipher.decrypt_padded_mut::<Pkcs7>(&mut sealed).unwrap(), clear);
        }
    }
}
