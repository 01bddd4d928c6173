//! From the key of a JSON object to a field, in either spelling: an open-addressed table built once a message. Its keys come
//! from descriptors, so no client can make its chains longer.

use super::types::FieldId;

#[derive(Debug)]
pub(super) struct KeyTable {
    /// A power of two, at least twice as many as there are keys.
    slots: Vec<Option<(Box<[u8]>, FieldId)>>,
}

impl KeyTable {
    /// Of equal keys the first stays.
    pub(super) fn new(keys: impl Iterator<Item = (Vec<u8>, FieldId)>) -> Self {
        let keys: Vec<_> = keys.collect();
        let mut table = Self { slots: vec![None; (keys.len() * 2).next_power_of_two()] };
        for (key, id) in keys {
            let slot = table.slot(&key);
            if table.slots[slot].is_none() {
                table.slots[slot] = Some((key.into(), id));
            }
        }
        table
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<FieldId> {
        self.slots[self.slot(key)].as_ref().map(|(_, id)| *id)
    }

    /// Where the key is, or the free slot where it would be: there always is one.
    fn slot(&self, key: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash(key) as usize & mask;
        while self.slots[slot].as_ref().is_some_and(|(other, _)| **other != *key) {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

/// Length, first and last eight bytes tell the fields of a message apart; what they do not tell apart, probing does.
fn hash(key: &[u8]) -> u64 {
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        let count = bytes.len().min(8);
        word[..count].copy_from_slice(&bytes[..count]);
        u64::from_le_bytes(word)
    };
    let first = word(key);
    let last = word(&key[key.len().saturating_sub(8)..]);
    let mixed = (first ^ last.rotate_left(29) ^ key.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 32
}
